"""The search space: dotted trial keys, their distributions, conditions and roles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ablate.spec.base import Spec

Scalar = str | bool | int | float | None
Role = Literal["scientific", "nuisance"]


class _Entry(Spec):
    when: dict[str, Any] | None = Field(
        None, description="drawn only if every named key has the value, or one of the values, given"
    )
    role: Role | None = Field(None, description="scientific: what the question is about; nuisance: to be tuned")


class Choice(_Entry):
    choice: Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        if len({repr(v) for v in self.choice}) < len(self.choice):
            raise ValueError(f"choice repeats a value: {list(self.choice)}")
        return self


class IntRange(_Entry):
    int: Annotated[tuple[int, int], Field(strict=False)]
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        low, high = self.int
        if low > high:
            raise ValueError(f"int must be [low, high] with low <= high, found [{low}, {high}]")
        if self.log and (low < 1 or self.step != 1):
            raise ValueError("log needs low >= 1 and step 1")
        return self


class FloatRange(_Entry):
    float: Annotated[tuple[float, float], Field(strict=False)]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        low, high = self.float
        if low > high:
            raise ValueError(f"float must be [low, high] with low <= high, found [{low}, {high}]")
        if self.log and low <= 0:
            raise ValueError(f"log needs low > 0, found {low}")
        return self


_KINDS: dict[str, type[_Entry]] = {"choice": Choice, "int": IntRange, "float": FloatRange}


def _pick(value: Any) -> Any:
    """Choose the distribution by the one of ``choice``, ``int``, ``float`` that is given."""
    if isinstance(value, _Entry):
        return value
    named = [k for k in _KINDS if isinstance(value, dict) and k in value]
    if len(named) != 1:
        raise ValueError("a space entry needs exactly one of choice, int, float")
    return _KINDS[named[0]].model_validate(value)


Distribution = Annotated[Choice | IntRange | FloatRange, BeforeValidator(_pick)]
