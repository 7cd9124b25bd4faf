"""Verdicts calculated anew from ``results.parquet`` and ``correct.npz``, with pandas and scipy only.

Shares no code with the package: what it and ``claims_of`` agree on was calculated twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

METRIC, PROBE = "probe.h.test", "probe.h"


@dataclass(frozen=True)
class Found:
    word: str
    mean: float
    interval: tuple[float, float]
    wide: tuple[float, float] | None
    p_holm: float


def recalculated(
    folder: Path, *, alpha: float = 0.05, margin: float | None = None, seeds: int | None = None
) -> dict[tuple[str, str], Found]:
    """By (arm, against). ``seeds``: how many of each replicate count; None: all. Nothing may be missing."""
    sweep = json.loads((folder / "sweep.json").read_text())
    table = pd.read_parquet(folder / "results.parquet")
    rows = table[table["stage"] == "confirm"]
    first = rows.groupby("replicate")["seed"].transform("min")
    rows = rows[rows["seed"] < first + (seeds or 10**6)]
    units = _units(folder, rows, sweep)
    p = {pair: _p(d, cells) for pair, (d, cells) in units.items()}
    same = {pair: _tost(d, cells, margin) for pair, (d, cells) in units.items()}
    p_holm, same_holm = _holm(p), _holm(same)
    found = {}
    for pair, (d, cells) in units.items():
        word = "inconclusive"
        if p_holm[pair] <= alpha:
            word = "better" if d.mean() > 0 else "worse"
        if margin is not None and same_holm[pair] <= alpha:
            word = "equivalent"
        interval = stats.ttest_1samp(d, 0).confidence_interval(1 - alpha)
        wide = None if cells is None else _wide(cells, alpha)
        found[pair] = Found(word, d.mean(), (interval.low, interval.high), wide, p_holm[pair])
    return found


def _units(
    folder: Path, rows: pd.DataFrame, sweep: dict[str, Any]
) -> dict[tuple[str, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]:
    controls = sweep["confirm"]["controls"]
    arms = [arm for arm in rows["arm"].unique() if arm not in controls]
    baseline = sweep["arms"]["baseline"] if sweep["arms"] else "best"
    pairs = [(arm, baseline) if sweep["arms"] else (baseline, arm) for arm in arms if arm != baseline]
    by = ["replicate"] if rows["replicate"].nunique() > 1 else ["replicate", "seed"]
    scores = rows.pivot(index=["replicate", "seed"], columns="arm", values=METRIC)
    trials = rows.pivot(index=["replicate", "seed"], columns="arm", values="trial_id")
    found = {}
    for arm, against in pairs:
        d = (scores[arm] - scores[against]).groupby(level=by).mean().to_numpy()
        cells = pd.DataFrame(
            [_correct(folder, trials.loc[i, arm]) - _correct(folder, trials.loc[i, against])
             for i in trials.index], index=trials.index,
        )  # fmt: skip
        found[arm, against] = (d, cells.groupby(level=by).mean().to_numpy())
    return found


def _correct(folder: Path, trial: str) -> np.ndarray[Any, Any]:
    return np.load(folder / "trials" / trial / "correct.npz")[PROBE].astype(float)


def _crossed(cells: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom with units and images both samples."""
    n, e = cells.shape
    a, b = stats.sem(cells.mean(1)) ** 2, stats.sem(cells.mean(0)) ** 2
    spread = a**2 / (n - 1) + b**2 / (e - 1)
    return cells.mean(), float(np.sqrt(a + b)), (a + b) ** 2 / spread if spread > 0 else n - 1


def _wide(cells: np.ndarray[Any, Any], alpha: float) -> tuple[float, float]:
    mean, error, freedom = _crossed(cells)
    low, high = stats.t.interval(1 - alpha, freedom, mean, error)
    return float(low), float(high)


def _p(d: np.ndarray[Any, Any], cells: np.ndarray[Any, Any] | None) -> float:
    flips = stats.permutation_test(
        (np.round(d, 12),), np.mean, permutation_type="samples", n_resamples=2**16, rng=0
    )
    p = float(flips.pvalue)
    if cells is None:
        return p
    mean, error, freedom = _crossed(cells)
    return max(p, float(2 * stats.t.sf(abs(mean) / error, freedom)))


def _tost(d: np.ndarray[Any, Any], cells: np.ndarray[Any, Any] | None, margin: float | None) -> float:
    if margin is None:
        return 1.0
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    p = float(max(above, below))
    if cells is None:
        return p
    mean, error, freedom = _crossed(cells)
    sides = [stats.t.sf((mean + margin) / error, freedom), stats.t.sf((margin - mean) / error, freedom)]
    return max(p, *map(float, sides))


def _holm(p: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    found, least = {}, 0.0
    for rank, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, value * (len(p) - rank)))
        found[pair] = least
    return found
