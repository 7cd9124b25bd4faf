"""The search space: dotted trial keys, their distributions, conditions and roles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ablate.spec.base import Spec, wrong

Scalar = str | bool | int | float | None
_Whole = int  # under this name where a field is called int
Role = Literal["scientific", "nuisance"]


class _Entry(Spec):
    when: dict[str, Any] | None = Field(
        None, description="drawn only if every named key has the value, or one of the values, given"
    )
    role: Role | None = Field(
        None,
        description="scientific: what the question is about; nuisance: to be tuned. A sweep without arms "
        "treats all alike; with arms every key must be a nuisance",
    )


class Choice(_Entry):
    """One of the listed values, none of them closer to another."""

    choice: Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        if len({(isinstance(v, bool), v) for v in self.choice}) < len(self.choice):
            raise wrong("choice", f"repeats a value: {list(self.choice)}")
        return self


class IntRange(_Entry):
    """A whole number, both ends included."""

    int: Annotated[tuple[int, int], Field(strict=False)]
    log: bool = False
    step: Annotated[_Whole, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        low, high = self.int
        if low > high:
            raise wrong("int", f"must be [low, high] with low <= high, found [{low}, {high}]")
        if self.log and (low < 1 or self.step != 1):
            raise wrong("log", f"needs low >= 1 and step 1, found low {low} and step {self.step}")
        return self


class FloatRange(_Entry):
    """A real number; ``log`` draws its logarithm uniformly."""

    float: Annotated[tuple[float, float], Field(strict=False)]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        low, high = self.float
        if low > high:
            raise wrong("float", f"must be [low, high] with low <= high, found [{low}, {high}]")
        if self.log and low <= 0:
            raise wrong("log", f"needs low > 0, found {low}")
        return self


def _named(value: Any) -> str | None:
    """The one of ``choice``, ``int``, ``float`` that a space entry gives."""
    if isinstance(value, _Entry):
        return next(k for k, model in DISTRIBUTIONS.items() if isinstance(value, model))
    named = [k for k in DISTRIBUTIONS if isinstance(value, dict) and k in value]
    return named[0] if len(named) == 1 else None


DISTRIBUTIONS: dict[str, type[_Entry]] = {"choice": Choice, "int": IntRange, "float": FloatRange}

Distribution = Annotated[
    Annotated[Choice, Tag("choice")] | Annotated[IntRange, Tag("int")] | Annotated[FloatRange, Tag("float")],
    Discriminator(
        _named,
        custom_error_type="distribution",
        custom_error_message="a space entry needs exactly one of choice, int, float",
    ),
]
