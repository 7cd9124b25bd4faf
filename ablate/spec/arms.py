"""Arms: the scientific settings that a sweep compares. Each searches the same space with an equal budget.

They are listed with ``each`` and a ``baseline``, or made of ``factors`` by a ``design``:

==============  ===========================================================================================
full            every combination of levels; the baseline has the first level of every factor
half            of two-level factors, the combinations in which an even number is on the second level:
                main effects are mixed up with effects of the other factors together only
leave-one-out   all factors on their second level (the baseline ``all``), and each in turn on its first
add-one-in      all factors on their first level (the baseline ``none``), and each in turn on its second
==============  ===========================================================================================

Leave-one-out hides what is redundant and add-one-in what only works together; the factorials show both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong

Changes = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
RESERVED = ("best", "search", "pixels", "untrained")
MOST = 64
_FIXED = {
    "seed": "every arm gets the same seeds",
    "data": "arms are compared on the same images",
    "measure": "arms are measured alike",
}


class ArmsSpec(Spec):
    """What is compared. Values are dotted keys of the trial that replace those of ``base``."""

    each: dict[Name, Changes] = Field(
        default_factory=dict, description="name of an arm -> dotted keys replaced in base; may be {}"
    )
    baseline: str | None = Field(None, description="the arm of `each` that the others are compared with")
    factors: dict[Name, dict[Name, Changes]] = Field(
        default_factory=dict, description="name -> level -> dotted keys; the first level is its absence"
    )
    design: Literal["full", "half", "leave-one-out", "add-one-in"] | None = Field(
        None, description="how arms are made of `factors`"
    )
    replicates: int = Field(
        1,
        ge=1,
        le=100,
        description="independent searches of each arm, on seeds of their own; six or more are needed to say "
        "that a kind of head is better, and not only that two configurations differ",
    )

    @model_validator(mode="after")
    def _possible(self) -> ArmsSpec:
        if bool(self.each) == bool(self.factors):
            raise wrong("", "give `each` with a `baseline`, or `factors` with a `design`")
        for at, message in self._of_each() if self.each else self._of_factors():
            raise wrong(at, message)
        for at, name, changes in self._given():
            if why := refused(changes):
                raise wrong(f"{at}.{why[0]}", why[1])
            if name in RESERVED:
                raise wrong(at, f"the names {', '.join(RESERVED)} are taken")
        if (count := self._count()) > MOST:
            raise wrong("", f"at most {MOST} arms, found {count:,}")
        return self

    @property
    def settings(self) -> dict[str, Changes]:
        """The changes of every arm by its name, the baseline first."""
        if self.each:
            return {name: self.each[name] for name in sorted(self.each, key=lambda n: n != self.baseline)}
        return {name: self._merged(levels) for name, levels in self._designed()}

    @property
    def reference(self) -> str:
        """The name of the baseline."""
        return next(iter(self.settings))

    def _of_each(self) -> Iterator[tuple[str, str]]:
        if self.factors or self.design is not None:
            yield "", "`factors` and `design` do not go with `each`"
        if len(self.each) < 2:
            yield "each", "one arm is nothing to compare; give two or more"
        if self.baseline not in self.each:
            yield "baseline", f"must name one of {', '.join(self.each)}, found {self.baseline!r}"

    def _of_factors(self) -> Iterator[tuple[str, str]]:
        if self.baseline is not None:
            yield "baseline", "is given by the design"
        if self.design is None:
            yield "design", "must say how arms are made of factors: full, half, leave-one-out or add-one-in"
        for name, levels in self.factors.items():
            if len(levels) < 2:
                yield f"factors.{name}", "a factor has two levels or more"
            if self.design != "full" and len(levels) > 2:
                yield f"factors.{name}", f"the design {self.design} takes two levels, found {len(levels)}"
        fewest = 3 if self.design == "half" else 1 if self.design == "full" else 2
        if len(self.factors) < fewest:
            yield "factors", f"the design {self.design} takes {fewest} factors or more"
        for (one, keys), (other, more) in combinations(self._keys_of_factors().items(), 2):
            for key in sorted(keys):
                if any(touches(key, k) for k in more):
                    yield f"factors.{other}", f"sets {key}, which {one} sets too: they could not be combined"

    def _keys_of_factors(self) -> dict[str, set[str]]:
        return {name: {k for c in levels.values() for k in c} for name, levels in self.factors.items()}

    def _given(self) -> Iterator[tuple[str, str, Changes]]:
        for name, changes in self.each.items():
            yield f"each.{name}", name, changes
        for factor, levels in self.factors.items():
            for level, changes in levels.items():
                yield f"factors.{factor}.{level}", "", changes

    def _count(self) -> int:
        """Of arms, which are not made for it: a factorial may have more than there is memory for."""
        if self.design == "full":
            return prod(len(levels) for levels in self.factors.values())
        if self.design == "half":
            return 1 << len(self.factors) - 1
        return len(self.each) or len(self.factors) + 1

    def _designed(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(name, factor -> level) of each arm."""
        levels = {factor: list(values) for factor, values in self.factors.items()}
        if self.design in ("full", "half"):
            for picked in product(*(range(len(values)) for values in levels.values())):
                if self.design == "full" or sum(picked) % 2 == 0:
                    chosen = {f: values[i] for (f, values), i in zip(levels.items(), picked, strict=True)}
                    yield ",".join(f"{factor}={level}" for factor, level in chosen.items()), chosen
            return
        usual, other = (1, 0) if self.design == "leave-one-out" else (0, 1)
        yield "all" if usual else "none", {f: values[usual] for f, values in levels.items()}
        for one in levels:
            name = f"without-{one}" if usual else f"only-{one}"
            yield name, {f: values[other if f == one else usual] for f, values in levels.items()}

    def levels(self) -> dict[str, dict[str, str]]:
        """The level of every factor in each arm; empty without factors."""
        return dict(self._designed()) if self.factors else {}

    def _merged(self, levels: Mapping[str, str]) -> Changes:
        return {key: value for f, level in levels.items() for key, value in self.factors[f][level].items()}


def refused(changes: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first key that arms may not differ in, and why."""
    for key in changes:
        for fixed, why in _FIXED.items():
            if touches(key, fixed):
                return key, why
    return None


def touches(one: str, other: str) -> bool:
    """Whether setting one dotted key touches the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
