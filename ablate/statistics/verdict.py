"""The verdict on each comparison of a family: better, worse, equivalent, inconclusive or blocked.

The order of precedence, the first that holds:

1. *blocked*: a unit lacks a score in one of the two arms, or there are fewer than two units. Missing scores
   are seldom missing at random, so nothing is said until they are there.
2. *equivalent*: a margin was stated and two one-sided tests, Holm-adjusted, place the difference inside it.
   This comes before better and worse: a difference known to be smaller than what matters is not sold as a
   gain.
3. *better* or *worse*: the Holm-adjusted decisive p is at most alpha. Decisive is the larger of the sign-flip
   p over units and, where per-image correctness is stored, the p over units and images, so that the claim
   reaches beyond the test images at hand.
4. *inconclusive*, with the reason.

Holm covers all comparisons given; a blocked one counts with p = 1, so that a lost run never makes the others
easier. For symmetric noise the probability of any *better* or *worse* between arms that are equal is at most
alpha in the family, and for normal noise so is that of any *equivalent* between arms that differ by the
margin or more. A comparison is of one kind or the other; a family that has both kinds may have both errors,
together at most twice alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.effect import cohen_dz, probability_better
from ablate.statistics.equivalence import crossed_tost_p, tost_p
from ablate.statistics.intervals import (
    Interval,
    bca_interval,
    crossed_interval,
    crossed_p,
    t_interval,
)
from ablate.statistics.multiplicity import holm, reached
from ablate.statistics.sign_flip import ENUMERATED, seeds_needed, sign_flip_p, smallest_p

FloatArray = NDArray[np.float64]
Word = Literal["better", "worse", "equivalent", "inconclusive", "blocked"]
Unit = Literal["seed", "replicate"]
_DIGITS = 9  # of recorded numbers, so that another machine's rounding records the same


@dataclass(frozen=True)
class Comparison:
    """One arm against another, unit by unit.

    ``differences`` has one number a unit that both arms have: ``arm`` minus ``against``, turned so that
    larger is better for ``arm``. ``missing`` names the units that lack a score in one of the two. ``cells``
    [units, images] are differences of correctness (-1, 0, 1); None where they are not stored.
    """

    arm: str
    against: str
    differences: tuple[float, ...]
    missing: tuple[str, ...] = ()
    cells: FloatArray | None = field(default=None, compare=False, repr=False)

    @property
    def blocked(self) -> bool:
        return bool(self.missing) or len(self.differences) < 2


@dataclass(frozen=True)
class Verdict:
    """What may be said about a comparison, and the numbers behind it.

    ``why`` is one clause. ``interval`` (t), ``bca`` and ``wide`` (over units and images) are at level 1 -
    alpha, each for itself, not adjusted for the family. ``p`` is the decisive p, ``p_units`` the sign-flip
    p alone, ``p_equivalent`` the Holm-adjusted p of equivalence. None where a number is not defined; the
    numbers of a blocked comparison describe the units that are there and enter no claim.
    """

    comparison: Comparison
    word: Word
    why: str
    mean: float
    interval: Interval | None
    bca: Interval | None
    wide: Interval | None
    p: float | None
    p_holm: float | None
    p_equivalent: float | None
    dz: float | None
    p_better: float | None
    unit: Unit
    p_units: float | None = None


class Looked(TypedDict):
    """One comparison at a look; numbers have 9 significant digits, None where not defined."""

    mean: float | None
    p: float | None
    p_holm: float | None
    p_equivalent: float | None
    settled: bool


@dataclass(frozen=True)
class _Family:
    """The p-values of all comparisons, each list in their order; None for a blocked one."""

    units: list[float | None]
    units_holm: list[float | None]
    decisive: list[float | None]
    holm: list[float | None]
    equivalent: list[float | None]


def judge(
    comparisons: Sequence[Comparison],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    unit: Unit = "seed",
) -> tuple[Verdict, ...]:
    """The verdict on every comparison of the family, in the order given.

    ``alpha`` is the family-wise level (with several looks: the share of the look that ended the study).
    ``margin``, in the metric's units, is the largest difference that does not matter; None: no equivalence is
    claimed. ``unit`` is what was repeated. All scores must be finite.
    """
    p = _family(comparisons, margin)
    found = []
    for i, comparison in enumerate(comparisons):
        word = _word(comparison, p.holm[i], p.equivalent[i], alpha)
        why = _Reason(comparison, len(comparisons), alpha, margin, unit).why(
            word, p.units_holm[i], p.holm[i], p.equivalent[i]
        )
        found.append(_described(comparison, word, why, p, i, alpha, unit))
    return tuple(found)


def settled(
    differences: Mapping[str, Sequence[float]], alpha: float, margin: float | None = None
) -> dict[str, Looked]:
    """What a look finds: per comparison its mean and p-values, and whether it is settled at ``alpha``.

    Settled means better, worse or equivalent by `judge` without per-image correctness. ``alpha`` is the
    look's share. Holm covers all comparisons given; one with fewer than two differences counts with p = 1.
    """
    comparisons = [Comparison(name, "", tuple(d)) for name, d in differences.items()]
    p = _family(comparisons, margin)
    return {
        c.arm: Looked(
            mean=_digits(_mean(c)) if c.differences else None,
            p=_digits(p.decisive[i]),
            p_holm=_digits(p.holm[i]),
            p_equivalent=_digits(p.equivalent[i]),
            settled=_word(c, p.holm[i], p.equivalent[i], alpha) in ("better", "worse", "equivalent"),
        )
        for i, c in enumerate(comparisons)
    }


def _family(comparisons: Sequence[Comparison], margin: float | None) -> _Family:
    units = [None if c.blocked else sign_flip_p(c.differences) for c in comparisons]
    decisive = [None if c.blocked else _decisive(c, p) for c, p in zip(comparisons, units, strict=True)]
    equivalent = [None if c.blocked or margin is None else _equivalence_p(c, margin) for c in comparisons]
    return _Family(units, _holm(units), decisive, _holm(decisive), _holm(equivalent))


def _decisive(c: Comparison, p_units: float | None) -> float | None:
    """The larger p of units alone and of units with images; 1 if the images point the other way."""
    if p_units is None or c.cells is None:
        return p_units
    p_cells = crossed_p(c.cells)
    if p_cells is None:
        return p_units
    agree = float(c.cells.mean()) * _mean(c) > 0
    return max(p_units, p_cells) if agree else 1.0


def _equivalence_p(c: Comparison, margin: float) -> float | None:
    over_units = tost_p(c.differences, margin)
    over_both = None if c.cells is None else crossed_tost_p(c.cells, margin)
    return over_units if over_units is None or over_both is None else max(over_units, over_both)


def _holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm over the whole family: one without a p counts as 1 and stays without."""
    adjusted = holm([1.0 if x is None else x for x in p])
    return [None if x is None else a for x, a in zip(p, adjusted, strict=True)]


def _word(c: Comparison, p_holm: float | None, p_equivalent: float | None, alpha: float) -> Word:
    if c.blocked or p_holm is None:
        return "blocked"
    if p_equivalent is not None and reached(p_equivalent, alpha):
        return "equivalent"
    if reached(p_holm, alpha):
        return "better" if _mean(c) > 0 else "worse"
    return "inconclusive"


@dataclass(frozen=True)
class _Reason:
    """Words for why a verdict is what it is."""

    comparison: Comparison
    family: int
    alpha: float
    margin: float | None
    unit: Unit

    def why(
        self, word: Word, units_holm: float | None, p_holm: float | None, p_equivalent: float | None
    ) -> str:
        if word == "blocked":
            return self._blocked()
        if word == "equivalent":
            sign = "; its sign is established as well" if self._is_established(p_holm) else ""
            return f"the difference is smaller than {self.margin:g}, {self._scope()}{sign}"
        if word in ("better", "worse"):
            return f"the difference is established {self._scope()}"
        return self._inconclusive(units_holm, p_equivalent)

    def _is_established(self, p: float | None) -> bool:
        return p is not None and reached(p, self.alpha)

    @property
    def _units(self) -> str:
        n = len(self.comparison.differences)
        return f"{n} {self.unit}" if n == 1 else f"{n} {self.unit}s"

    def _scope(self) -> str:
        """What the claim is about: two configurations or two whole arms, these test images or such ones."""
        what = "for these two configurations" if self.unit == "seed" else "for independent searches"
        cells = self.comparison.cells
        if cells is None or min(cells.shape) < 2:
            return f"{what} on this test set, over {self._units}"
        return f"{what}, over {self._units} and the test images"

    def _blocked(self) -> str:
        missing = self.comparison.missing
        if missing:
            units = self.unit if len(missing) == 1 else f"{self.unit}s"
            return f"no score in one of the two for {units} {', '.join(missing)}"
        return f"{self._units if self.comparison.differences else f'no {self.unit}'}: no spread to judge by"

    def _inconclusive(self, units_holm: float | None, p_equivalent: float | None) -> str:
        n = len(self.comparison.differences)
        if not reached(smallest_p(n) * self.family, self.alpha):
            return self._too_few(n)
        if self._is_established(units_holm):
            return "a difference is established on these test images only, not for others like them"
        if p_equivalent is not None:
            return f"neither a difference is established nor that it is smaller than {self.margin:g}"
        return "a difference is not established"

    def _too_few(self, n: int) -> str:
        family = "" if self.family == 1 else f" in {self.family} comparisons"
        start = f"cannot conclude with {n} {self.unit}s{family} at alpha {self.alpha:.3g}"
        if not reached(smallest_p(ENUMERATED + 1) * self.family, self.alpha):
            return start
        return f"{start}; {seeds_needed(self.alpha, self.family)} would be needed"


def _described(c: Comparison, word: Word, why: str, p: _Family, i: int, alpha: float, unit: Unit) -> Verdict:
    level = 1 - alpha
    return Verdict(
        comparison=c,
        word=word,
        why=why,
        mean=_mean(c),
        interval=t_interval(c.differences, level),
        bca=bca_interval(c.differences, level),
        wide=None if c.cells is None else crossed_interval(c.cells, level),
        p=p.decisive[i],
        p_holm=p.holm[i],
        p_equivalent=p.equivalent[i],
        dz=cohen_dz(c.differences),
        p_better=probability_better(c.differences),
        unit=unit,
        p_units=p.units[i],
    )


def _mean(c: Comparison) -> float:
    return float(np.mean(c.differences)) if c.differences else float("nan")


def _digits(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.{_DIGITS}g}")
