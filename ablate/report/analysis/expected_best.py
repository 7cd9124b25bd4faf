"""The expected best of k random trials, estimated from one pool of n of them, and how arms differ in it.

Two arms that were each searched once cannot be told apart by their two best trials alone: another search
would have found others. Random trials can be resampled instead. For k of n the mean of the best over all
subsets of k trials has a closed form, with scores in increasing order and trial i the best of C(i-1, k-1) of
C(n, k) subsets; unlike the plug-in estimate (Dodge et al., EMNLP 2019) it is unbiased (Tang et al., ACL
2020). The intervals are percentile bootstrap intervals over the pool; k stops at a quarter of the pool, since
above it the best few trials decide everything and the intervals get much too short. (Simulated with pools of
24 and 48 uniform, normal and exponential scores, nominal 95% intervals covered 81 to 96% for one arm, least
with a long tail of good scores, and 90 to 96% for the difference of two equal arms.)

This is approximate (one pool instead of independent searches), on validation, and optimistic (a maximum over
noisy scores). It stands beside a confirmation, never for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.report.analysis.best_so_far import LEVEL
from ablate.report.analysis.pools import Searched, SearchTrial, drawn_evenly

FEWEST = 8
_RESAMPLES = 1000

FloatArray = NDArray[np.float64]
_Key = tuple[int, int]  # replicate, number


@dataclass(frozen=True)
class ExpectedBest:
    """Of one arm: the expected best objective of ``k`` of its ``trials`` random trials, and 95% intervals."""

    arm: str
    trials: int
    k: tuple[int, ...]
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class BestDifference:
    """Expected best of ``k``: ``arm`` minus ``against``, so turned that above 0 ``arm`` is better.

    ``paired``: both arms drew the same parameters, trial by trial, and were resampled together.
    """

    arm: str
    against: str
    k: int
    difference: float
    low: float
    high: float
    paired: bool


@dataclass(frozen=True)
class BestOfK:
    """``refused`` says of which arms nothing can be said, and why."""

    expected: tuple[ExpectedBest, ...]
    differences: tuple[BestDifference, ...]
    refused: tuple[str, ...]


def expected_best(searched: Searched) -> BestOfK:
    """Every arm that has a pool of random trials, and each against the baseline."""
    pools: dict[str, dict[_Key, SearchTrial]] = {}
    refused = []
    for arm in searched.arms:
        trials = [t for t in searched.of(arm) if drawn_evenly(searched.sweep, t) and t.state != "FAILED"]
        if why := _unfit(trials):
            refused.append(f"{arm}: {why}")
        else:
            pools[arm] = {(t.replicate, t.number): t for t in trials}
    base = searched.baseline
    differences = [
        difference
        for arm in pools
        if base in pools and arm != base
        for difference in _differences(pools[arm], pools[base], arm, base)
    ]
    expected = tuple(_expected(searched, arm, _scores(list(pool.values()))) for arm, pool in pools.items())
    return BestOfK(expected, tuple(differences), tuple(refused))


def best_weights(n: int, k: int) -> FloatArray:
    """Weights [n] of scores in increasing order: C(i-1, k-1) / C(n, k) for the i-th, from 1. 1 <= k <= n."""
    ratios = [(i - k + 1) / i for i in range(n - 1, 0, -1)]  # of the weight of i to that of i + 1
    return np.cumprod([k / n, *np.maximum(ratios, 0.0)])[::-1]


def _unfit(trials: list[SearchTrial]) -> str:
    """Why no expectation can be taken over these trials; empty if it can."""
    stopped = sum(t.state == "PRUNED" for t in trials)
    if stopped:
        return f"{stopped} of its random trials were stopped early, so that nobody knows where they would end"
    completed = sum(t.candidate is not None for t in trials)
    if completed < FEWEST:
        return f"needs {FEWEST} completed random trials, has {completed}"
    return ""


def _scores(trials: list[SearchTrial]) -> FloatArray:
    """A collapsed or infeasible trial counts as the worst of the others: it was tried, and is never best."""
    worst = min(t.candidate for t in trials if t.candidate is not None)
    return np.array([worst if t.candidate is None else t.candidate for t in trials])


def _steps(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to a quarter of ``n``."""
    return tuple(2**i for i in range((n // 4).bit_length()))


def _expected(searched: Searched, arm: str, scores: FloatArray) -> ExpectedBest:
    n, rng = len(scores), np.random.default_rng(0)
    steps = _steps(n)
    weights = np.stack([best_weights(n, k) for k in steps], axis=1)
    resampled = np.sort(scores[rng.integers(n, size=(_RESAMPLES, n))], axis=1) @ weights
    low, high = (_shown(searched, ends) for ends in _ends(resampled))
    if searched.sweep.search.objective.mode == "min":
        low, high = high, low
    return ExpectedBest(arm, n, steps, _shown(searched, np.sort(scores) @ weights), low, high)


def _differences(
    ours: dict[_Key, SearchTrial], theirs: dict[_Key, SearchTrial], arm: str, against: str
) -> list[BestDifference]:
    paired = ours.keys() == theirs.keys() and all(ours[key].params == theirs[key].params for key in ours)
    a = _scores([ours[key] for key in sorted(ours)])
    b = _scores([theirs[key] for key in sorted(theirs)])
    rng = np.random.default_rng(0)
    rows = rng.integers(len(a), size=(_RESAMPLES, len(a)))
    others = rows if paired else rng.integers(len(b), size=(_RESAMPLES, len(b)))
    mine, their = np.sort(a[rows], axis=1), np.sort(b[others], axis=1)
    found = []
    for k in _steps(min(len(a), len(b))):
        of_a, of_b = best_weights(len(a), k), best_weights(len(b), k)
        low, high = _ends((mine @ of_a - their @ of_b)[:, None])
        difference = float(np.sort(a) @ of_a - np.sort(b) @ of_b)
        found.append(BestDifference(arm, against, k, difference, float(low[0]), float(high[0]), paired))
    return found


def _ends(resampled: FloatArray) -> tuple[FloatArray, FloatArray]:
    share = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [share, 1 - share], axis=0)
    return low, high


def _shown(searched: Searched, scores: FloatArray) -> tuple[float, ...]:
    return tuple(searched.shown(float(score)) for score in scores)
