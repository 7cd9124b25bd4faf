"""Differences between two sweeps: of the scores of a shared arm, and of what an arm gains over another.

Nothing here was declared before the results were known, so nothing here is a verdict. What the numbers are
about depends on what was repeated:

- the same data, and at least two units with equal seeds: units are compared as pairs. As far as the settings
  are equal, equal seeds share the border of train and validation, initial weights, order and views.
- the same data, but fewer such units: unpaired, by Welch's t interval, for these test images only.
- other data: scores are not subtracted. What an arm gains over another within each sweep is a difference
  already; two gains are compared unpaired, over seeds, for these two test sets only.

Each sweep searched once (or once a replicate), so a difference holds the luck of two searches and everything
that is set differently, not one setting alone. Arms are the same by name; what an arm itself sets may differ
as well, and is noted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablate.report.compare.side import Arms, Side, Value, shared
from ablate.report.correctness import Correctness
from ablate.statistics.effect import probability_better_unpaired
from ablate.statistics.intervals import Interval
from ablate.statistics.multiplicity import benjamini_hochberg
from ablate.statistics.sign_flip import smallest_p
from ablate.statistics.verdict import Comparison, Unit, judge

LEVEL = 0.95
_FEWEST = 2  # units with a spread

Units = dict[tuple[int, ...], Value]


@dataclass(frozen=True)
class Difference:
    """``other`` minus ``reference`` (letters of sweeps), turned so that larger is better for ``other``.

    ``arms`` is one arm, or two where the first's gain over the second is compared. ``units`` counts those of
    the reference and the other sweep that were used; they are pairs if ``paired``. ``interval`` is over units
    at 95%, ``wide`` over units and test images. ``p`` is the sign-flip p, or that of units and images if it
    is larger, after Benjamini and Hochberg over all differences of a kind between the two sweeps (controls
    apart), and ``least_p`` the smallest that so many pairs could have given before; None where there are no
    pairs. ``p_better`` is the share of units (unpaired: of all pairs of units) in which the
    other sweep has the larger. ``points`` are the differences of pairs, ``seeds`` what names them, and
    ``trials`` those of the other sweep.
    ``same_specs``: the trials compared have equal specs, so that only code and machine can differ.
    ``unlike`` are arms that the sweeps call alike and define in two ways. ``notes`` say what was left out.
    ``why_none``: why there are no numbers, "" if there are.
    """

    arms: Arms
    reference: str
    other: str
    paired: bool
    unit: Unit
    units: tuple[int, int] = (0, 0)
    mean: float | None = None
    interval: Interval | None = None
    wide: Interval | None = None
    p: float | None = None
    least_p: float | None = None
    p_better: float | None = None
    points: tuple[float, ...] = ()
    seeds: tuple[tuple[int, ...], ...] = ()
    trials: tuple[str, ...] = ()
    same_specs: bool = False
    unlike: Arms = ()
    notes: tuple[str, ...] = ()
    why_none: str = ""

    @property
    def name(self) -> str:
        return " - ".join(self.arms)

    @property
    def headline(self) -> Interval | None:
        """The widest claim that was measured: over images too, if it can be."""
        return self.wide or self.interval


def of_scores(reference: Side, other: Side) -> tuple[Difference, ...]:
    """Of every arm that both confirmed, controls too, if both measured the same data; else none."""
    if not same_data(reference, other):
        return ()
    found = [_difference(reference, other, (arm,)) for arm in shared((reference.arms, other.arms))]
    controls = {*reference.controls, *other.controls}
    arms = [d for d in found if d.arms[0] not in controls]
    return (*_family(arms), *_family([d for d in found if d not in arms]))


def of_gains(reference: Side, other: Side) -> tuple[Difference, ...]:
    """Of every comparison that both declared."""
    both = [pair for pair in reference.comparisons if pair in other.comparisons]
    return _family([_difference(reference, other, pair) for pair in both])


def same_data(one: Side, other: Side) -> bool:
    """Whether both are known to have been made of the same images; ``data.validation`` may differ."""
    return one.digest != "" and one.digest == other.digest


def _difference(reference: Side, other: Side, arms: Arms) -> Difference:
    unit, seeds = _unit(reference, other, arms[0])
    values = (reference.values(arms, seeds=seeds), other.values(arms, seeds=seeds))
    both = [key for key in values[0] if key in values[1]]
    paired = same_data(reference, other) and len(both) >= _FEWEST
    unlike = tuple(arm for arm in arms if reference.changes(arm) != other.changes(arm))
    empty = Difference(arms, reference.letter, other.letter, paired, unit, unlike=unlike)
    if paired:
        return _paired(empty, (reference, other), values, both)
    return _unpaired(empty, values)


def _unit(reference: Side, other: Side, arm: str) -> tuple[Unit, bool]:
    """What was repeated in both: replicates, or else the seeds of the first ones."""
    units = {_own_unit(side, arm) for side in (reference, other)}
    return ("replicate", False) if units == {"replicate"} else ("seed", True)


def _own_unit(side: Side, arm: str) -> Unit:
    assert side.found is not None
    return "seed" if arm in side.controls else side.found.unit


def _paired(
    empty: Difference, sides: tuple[Side, Side], values: tuple[Units, Units], both: Sequence[tuple[int, ...]]
) -> Difference:
    why = [why for key in both for why in _gaps(values, key)]
    if why:
        return replace(empty, why_none="; ".join(dict.fromkeys(why)))
    pairs = [(values[0][key], values[1][key]) for key in both]
    points = tuple(_number(b) - _number(a) for a, b in pairs)
    cells = _cells(sides, empty.arms, both, empty.unit)
    (found,) = judge(
        [Comparison(sides[1].letter, sides[0].letter, points, (), cells)], alpha=1 - LEVEL, unit=empty.unit
    )
    return replace(
        empty,
        units=(len(both), len(both)),
        mean=found.mean,
        interval=found.interval,
        wide=found.wide,
        p=found.p,
        least_p=smallest_p(len(both)),
        p_better=found.p_better,
        points=points,
        seeds=tuple(both),
        trials=tuple(value.trials[0] for _, value in pairs),
        same_specs=all(a.specs == b.specs for a, b in pairs),
        notes=_left_out(sides, values, both),
    )


def _unpaired(empty: Difference, values: tuple[Units, Units]) -> Difference:
    why = [value.why for units in values for value in units.values() if value.number is None]
    if why:
        return replace(empty, why_none="; ".join(dict.fromkeys(why)))
    scores = [np.array([_number(value) for value in units.values()]) for units in values]
    counts = (len(scores[0]), len(scores[1]))
    if min(counts) < _FEWEST:
        return replace(empty, units=counts, why_none=f"fewer than two {empty.unit}s in one of the sweeps")
    return replace(
        empty,
        units=counts,
        mean=float(scores[1].mean() - scores[0].mean()),
        interval=welch_interval(scores[1], scores[0]),
        p_better=probability_better_unpaired(scores[1], scores[0]),
    )


def welch_interval(a: NDArray[np.float64], b: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """t interval of the difference of the means of two independent samples, of two or more each, whose
    variances may differ (Welch 1947)."""
    from scipy import stats

    mean = float(a.mean() - b.mean())
    parts = [float(x.var(ddof=1)) / x.size for x in (a, b)]
    variance = sum(parts)
    if variance == 0:
        return Interval(mean, mean)
    shares = [(part / variance) ** 2 / (x.size - 1) for part, x in zip(parts, (a, b), strict=True)]
    half = float(stats.t.ppf((1 + level) / 2, 1 / sum(shares))) * math.sqrt(variance)
    return Interval(mean - half, mean + half)


def _cells(
    sides: tuple[Side, Side], arms: Arms, both: Sequence[tuple[int, ...]], unit: Unit
) -> NDArray[np.float64] | None:
    """Differences of per-image correctness [units, images], the other sweep's minus the reference's."""
    if sides[0].sign < 0:
        return None  # correctness is better if larger
    correct = Correctness(sides[0].folder, sides[0].metric[0])
    found = []
    for arm in arms:
        folders = [_folders(side, arm, both, unit) for side in sides]
        pairs = [list(zip(b, a, strict=True)) for a, b in zip(*folders, strict=True)]
        found.append(correct.differences(pairs))
    known = [each for each in found if each is not None]
    if len(known) < len(found) or len({each.shape for each in known}) > 1:
        return None
    return known[0] if len(known) == 1 else known[0] - known[1]


def _folders(side: Side, arm: str, both: Sequence[tuple[int, ...]], unit: Unit) -> list[list[str]]:
    """The trials of an arm in each unit, by the absolute paths of their folders: they lie in two sweeps."""
    parts = {part.seeds: part for part in side.parts(arm, seeds=unit == "seed")}
    trials = [[side.trial(arm, parts[key], seed) for seed in key] for key in both]
    return [[str((side.folder / "trials" / trial).absolute()) for trial in unit] for unit in trials]


def _gaps(values: tuple[Units, Units], key: tuple[int, ...]) -> list[str]:
    return [units[key].why for units in values if units[key].number is None]


def _left_out(
    sides: tuple[Side, Side], values: tuple[Units, Units], both: Sequence[tuple[int, ...]]
) -> tuple[str, ...]:
    more = {side.letter: len(units) - len(both) for side, units in zip(sides, values, strict=True)}
    return tuple(f"{n} of {letter} have no partner" for letter, n in more.items() if n)


def _number(value: Value) -> float:
    assert value.number is not None
    return value.number


def _family(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """With the p of pairs adjusted for all that there are."""
    p = [difference.p for difference in found if difference.p is not None]
    adjusted = iter(benjamini_hochberg(p))
    return tuple(d if d.p is None else replace(d, p=next(adjusted)) for d in found)
