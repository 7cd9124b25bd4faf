"""Verdicts calculated anew from ``results.parquet`` and ``correct.npz``, with pandas and scipy only.

Shares no code with the package: what it and ``claims_of`` agree on was calculated twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from scipy import stats

Pair = tuple[str, str]  # arm, against
Array = np.ndarray[Any, Any]


class Found(TypedDict):
    """``p`` is the decisive one, ``wide`` the interval over units and images."""

    word: str
    mean: float
    interval: tuple[float, float]
    wide: tuple[float, float]
    p: float
    p_holm: float


def recalculated(
    folder: Path, metric: str, comparisons: list[Pair], seeds: int, alpha: float, margin: float | None
) -> dict[str, Found]:
    """By "arm - against"; all ``comparisons`` are one family, on the first ``seeds`` of each replicate.

    Larger is better, and nothing may be missing.
    """
    table = pd.read_parquet(folder / "results.parquet")
    rows = table[table["stage"] == "confirm"]
    rows = rows[rows.groupby("replicate")["seed"].rank("dense") <= seeds]
    units = {pair: _units(folder, rows, metric, pair) for pair in comparisons}
    p = {pair: _p(d, cells) for pair, (d, cells) in units.items()}
    same = {pair: _tost(d, cells, margin) for pair, (d, cells) in units.items()}
    p_holm, same_holm = _holm(p), _holm(same)
    found: dict[str, Found] = {}
    for pair, (d, cells) in units.items():
        word = "inconclusive"
        if p_holm[pair] <= alpha:
            word = "better" if d.mean() > 0 else "worse"
        if margin is not None and same_holm[pair] <= alpha:
            word = "equivalent"
        interval = stats.t.interval(1 - alpha, len(d) - 1, d.mean(), stats.sem(d))
        found[" - ".join(pair)] = {
            "word": word,
            "mean": float(d.mean()),
            "interval": (float(interval[0]), float(interval[1])),
            "wide": _wide(cells, alpha),
            "p": p[pair],
            "p_holm": p_holm[pair],
        }
    return found


def _units(folder: Path, rows: pd.DataFrame, metric: str, pair: Pair) -> tuple[Array, Array]:
    """Differences [units] and differences of correctness [units, images]; a unit is a replicate or a seed."""
    by = ["replicate"] if rows["replicate"].nunique() > 1 else ["replicate", "seed"]
    rows = rows[rows["arm"].isin(pair)]
    scores = rows.pivot(index=["replicate", "seed"], columns="arm", values=metric)
    trials = rows.pivot(index=["replicate", "seed"], columns="arm", values="trial_id")
    arm, against = pair
    d = (scores[arm] - scores[against]).groupby(level=by).mean().to_numpy()
    probe = metric.removesuffix(".test")
    correct = [
        _correct(folder, trials.loc[i, arm], probe) - _correct(folder, trials.loc[i, against], probe)
        for i in trials.index
    ]
    return d, pd.DataFrame(correct, index=trials.index).groupby(level=by).mean().to_numpy()


def _correct(folder: Path, trial: str, probe: str) -> Array:
    return np.asarray(np.load(folder / "trials" / trial / "correct.npz")[probe].astype(float))


def _crossed(cells: Array) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom with units and images both samples."""
    n, e = cells.shape
    a, b = stats.sem(cells.mean(1)) ** 2, stats.sem(cells.mean(0)) ** 2
    spread = a**2 / (n - 1) + b**2 / (e - 1)
    return float(cells.mean()), float(np.sqrt(a + b)), (a + b) ** 2 / spread if spread > 0 else n - 1


def _wide(cells: Array, alpha: float) -> tuple[float, float]:
    mean, error, freedom = _crossed(cells)
    half = stats.t.ppf(1 - alpha / 2, freedom) * error
    return mean - float(half), mean + float(half)


def _p(d: Array, cells: Array) -> float:
    flips = stats.permutation_test(
        (np.round(d, 12),), np.mean, permutation_type="samples", n_resamples=2**16, rng=0
    )
    mean, error, freedom = _crossed(cells)
    if error == 0:
        return float(flips.pvalue)
    return max(float(flips.pvalue), float(2 * stats.t.sf(abs(mean) / error, freedom)))


def _tost(d: Array, cells: Array, margin: float | None) -> float:
    if margin is None:
        return 1.0
    if np.ptp(d) == 0:
        return 0.0 if abs(d.mean()) < margin else 1.0
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    mean, error, freedom = _crossed(cells)
    sides = [stats.t.sf((mean + margin) / error, freedom), stats.t.sf((margin - mean) / error, freedom)]
    return max(float(above), float(below), *map(float, sides))


def _holm(p: dict[Pair, float]) -> dict[Pair, float]:
    found, least = {}, 0.0
    for rank, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, value * (len(p) - rank)))
        found[pair] = least
    return found
