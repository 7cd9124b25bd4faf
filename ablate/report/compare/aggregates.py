"""Arms over several data sets: each measured by one sweep, and summed up over all.

The aggregates are those of ``ablate.statistics.aggregate``. Data sets are not drawn anew: what is said holds
for these data sets, and for no other. Each counts as much as any other. The sweeps searched apart, so the
luck of one search for each arm and data set is in every number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.report.compare.side import Side, shared
from ablate.statistics.aggregate import (
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_band,
    stratified_interval,
)
from ablate.statistics.intervals import Interval
from ablate.statistics.verdict import Unit

FloatArray = NDArray[np.float64]

_THRESHOLDS = 50  # of a profile, over the range of all scores


@dataclass(frozen=True)
class OverData:
    """One arm: the mean of its scores on each data set, the mean of the middle half of all scores (``iqm``),
    the mean shortfall below 1 (``gap``), with stratified 95% bootstrap intervals over ``units`` seeds (or
    replicates) a data set."""

    arm: str
    units: int
    means: tuple[float, ...]
    iqm: float
    iqm_interval: Interval | None
    gap: float
    gap_interval: Interval | None
    profile: tuple[float, ...]
    band: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Improvement:
    """P(a unit of ``arm`` has a better score than one of ``against``), averaged over the data sets."""

    arm: str
    against: str
    probability: float
    interval: Interval | None


@dataclass(frozen=True)
class Aggregates:
    """``sides`` are the letters of the sweeps, one for each data set; ``thresholds`` are those of the
    profiles; ``unit`` is what was repeated, a replicate being the mean over its seeds. ``refused`` says of
    which arms nothing is said, and why; ``notes`` what was left out."""

    sides: tuple[str, ...]
    unit: Unit
    arms: tuple[OverData, ...]
    improvements: tuple[Improvement, ...]
    thresholds: tuple[float, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...]


def aggregates(sides: Sequence[Side]) -> Aggregates | None:
    """Of the arms that all ``sides`` confirmed, which measured different data sets. Those whose data are not
    known are left out; None if fewer than two are left."""
    without = [f"{side.letter} is left out: {side.why_no_digest}" for side in sides if not side.digest]
    sides = [side for side in sides if side.digest]
    if len(sides) < 2:
        return None
    letters, unit = tuple(side.letter for side in sides), _unit(sides)
    matrices, refused, notes = _matrices(sides, unit)
    thresholds = _thresholds(matrices.values())
    return Aggregates(
        sides=letters,
        unit=unit,
        arms=tuple(_over_data(arm, scores, thresholds) for arm, scores in matrices.items()),
        improvements=tuple(_improvements(sides, matrices)),
        thresholds=thresholds,
        refused=tuple(refused),
        notes=(*without, *notes),
    )


def _unit(sides: Sequence[Side]) -> Unit:
    units = {side.found.unit for side in sides if side.found is not None}
    return "replicate" if units == {"replicate"} else "seed"


def _matrices(sides: Sequence[Side], unit: Unit) -> tuple[dict[str, FloatArray], list[str], list[str]]:
    """Scores [units, data sets] by arm, and in words what is not there and what was left out."""
    found: dict[str, FloatArray] = {}
    refused, notes = [], []
    for arm in shared([side.arms for side in sides]):
        columns = [list(side.values((arm,), seeds=unit == "seed").values()) for side in sides]
        if why := [value.why for column in columns for value in column if value.number is None]:
            refused.append(f"{arm}: {'; '.join(why)}")
            continue
        count = min(map(len, columns))
        if more := {s.letter: len(c) for s, c in zip(sides, columns, strict=True) if len(c) > count}:
            had = ", ".join(f"{n} of {letter}" for letter, n in more.items())
            notes.append(f"{arm}: the first {count} were used where there are more ({had})")
        scores = [[value.number for value in column[:count]] for column in columns]
        found[arm] = sides[0].sign * np.array(scores, dtype=np.float64).T
    return found, refused, notes


def _thresholds(matrices: Iterable[FloatArray]) -> tuple[float, ...]:
    scores = np.array([score for matrix in matrices for score in matrix.ravel()])
    if not scores.size:
        return ()
    low, high = math.floor(100 * scores.min()) / 100, math.ceil(100 * scores.max()) / 100
    return tuple(round(float(t), 4) for t in np.linspace(low, high, _THRESHOLDS + 1))


def _over_data(arm: str, scores: FloatArray, thresholds: Sequence[float]) -> OverData:
    band = stratified_band(lambda m: performance_profile(m, thresholds), scores)
    return OverData(
        arm=arm,
        units=len(scores),
        means=tuple(float(mean) for mean in scores.mean(axis=0)),
        iqm=iqm(scores),
        iqm_interval=stratified_interval(iqm, scores),
        gap=optimality_gap(scores),
        gap_interval=stratified_interval(optimality_gap, scores),
        profile=tuple(float(share) for share in performance_profile(scores, thresholds)),
        band=() if band is None else tuple((float(a), float(b)) for a, b in zip(*band, strict=True)),
    )


def _improvements(sides: Sequence[Side], matrices: dict[str, FloatArray]) -> list[Improvement]:
    """Of the comparisons that all sweeps declared."""
    both = [pair for pair in sides[0].comparisons if all(pair in side.comparisons for side in sides)]
    sign = sides[0].sign
    return [
        Improvement(
            arm,
            against,
            probability_of_improvement(sign * matrices[arm], sign * matrices[against]),
            stratified_interval(probability_of_improvement, sign * matrices[arm], sign * matrices[against]),
        )
        for arm, against in both
        if arm in matrices and against in matrices
    ]
