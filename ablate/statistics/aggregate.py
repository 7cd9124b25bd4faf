"""Arms over several data sets: the aggregates of Agarwal et al. (2021), with stratified bootstrap intervals.

Scores are [seeds, datasets] and must be comparable between data sets (accuracies, or scores normalised so
that 1 is the target). The bootstrap draws seeds anew within each data set, for each data set apart; data
sets are not drawn anew, so an interval is about these data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.effect import probability_better_unpaired
from ablate.statistics.intervals import Interval

FloatArray = NDArray[np.float64]


def iqm(scores: FloatArray) -> float:
    """Mean of the middle half of all scores of ``scores`` [seeds, datasets] (interquartile mean)."""
    from scipy import stats

    return float(stats.trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))


def optimality_gap(scores: FloatArray, target: float = 1.0) -> float:
    """Mean shortfall below ``target`` of ``scores`` [seeds, datasets]; a score above it has none."""
    return float(target - np.minimum(scores, target).mean())


def performance_profile(scores: FloatArray, thresholds: Sequence[float] | FloatArray) -> FloatArray:
    """Share of ``scores`` [seeds, datasets] above each of ``thresholds``, in [0, 1]."""
    flat = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    above = flat.size - np.searchsorted(flat, np.asarray(thresholds, dtype=np.float64), side="right")
    return np.asarray(above / flat.size, dtype=np.float64)


def probability_of_improvement(a: FloatArray, b: FloatArray) -> float:
    """P(a seed of ``a`` beats a seed of ``b``), ties half, averaged over data sets; both [seeds, datasets].

    The numbers of seeds may differ. Seeds are not paired: every pair counts. ValueError where the data sets
    differ in number.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} data sets against {second.shape[1]}")
    pairs = zip(first.T, second.T, strict=True)
    return float(np.mean([probability_better_unpaired(x, y) for x, y in pairs]))


def stratified_interval(
    statistic: Callable[..., float],
    *scores: FloatArray,
    level: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval of ``statistic(*scores)``; None where an arm has fewer than two seeds.

    ``scores`` are one matrix [seeds, datasets] an arm, drawn anew independently. With fewer than about ten
    seeds it is too narrow: read it as a lower bound on the uncertainty.
    """
    band = stratified_band(statistic, *scores, level=level, repetitions=repetitions, seed=seed)
    return None if band is None else Interval(float(band[0]), float(band[1]))


def stratified_band(
    statistic: Callable[..., float | FloatArray],
    *scores: FloatArray,
    level: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray] | None:
    """`stratified_interval` of a statistic with many values, such as a profile: lows and highs, pointwise."""
    if any(len(matrix) < 2 for matrix in scores):
        return None
    rng = np.random.default_rng(seed)
    found = np.stack([np.asarray(statistic(*(_redrawn(m, rng) for m in scores))) for _ in range(repetitions)])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def _redrawn(scores: FloatArray, rng: np.random.Generator) -> FloatArray:
    """As many seeds as there are, with replacement, for each data set apart."""
    rows = rng.integers(0, len(scores), size=scores.shape)
    return np.take_along_axis(np.asarray(scores, dtype=np.float64), rows, axis=0)
