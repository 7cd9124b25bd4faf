"""How good the best trial was after so much of the budget, and how much of that was luck of the order.

The observed course is that of the ledger: trials in the order in which they finished. Around it lies a
pointwise band: the same number of trials is drawn from the search's own with replacement, in random order,
1,000 times, each trial with its score and its cost, and the best so far of each resample is noted.

What the band means depends on how the trials came about (``standing``):

- ``exact``: independent draws, each run to its end. Trials are then exchangeable, and a resample is a search
  of the same kind, of what these n trials tell of all possible ones (the plug-in principle of the bootstrap).
- ``near``: quasi-random and grid designs. They cover the space more evenly than independent draws do, so that
  the band is somewhat too wide.
- ``descriptive``: a sampler that learns, or early stopping. A trial then depends on those before it; the band
  says what these same trials would have shown in another order, not what another search would have.

No resample is better than the best trial, but another search may be: of exchangeable trials, the best of k
further ones exceeds the best of n with probability k / (n + k). So the band is a forecast of another search
only far below n, on its good side; on the other side it is one everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ablate.report.analysis.pools import Pool, Searched, by_hand

LEVEL = 0.95
_RESAMPLES, _CELLS = 1000, 10_000_000  # fewer resamples of very large searches: memory
_POINTS = 40  # budgets at which a course is given, at most

Standing = Literal["exact", "near", "descriptive"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """The best objective after each ``budget`` (in its own direction; None: nothing was completed by then).

    ``low``, ``middle`` and ``high`` are the 2.5%, 50% and 97.5% points over resamples.
    """

    budget: tuple[int, ...]
    best: tuple[float | None, ...]
    low: tuple[float | None, ...]
    middle: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class BestSoFar:
    """One search: its course against trials finished, and against epochs trained for finished trials."""

    arm: str
    replicate: int
    by_trials: Course
    by_epochs: Course
    standing: Standing
    why: str


def best_so_far(searched: Searched) -> tuple[BestSoFar, ...]:
    """The course of every search. Equal ledgers give equal numbers."""
    return tuple(_of_pool(searched, pool) for pool in searched.pools)


def _of_pool(searched: Searched, pool: Pool) -> BestSoFar:
    scores = np.array([-np.inf if t.candidate is None else t.candidate for t in pool.trials])
    costs = np.array([t.epochs for t in pool.trials], dtype=np.int64)
    n = len(scores)
    resamples = max(100, min(_RESAMPLES, _CELLS // n))
    picked = np.random.default_rng(0).integers(n, size=(resamples, n))
    best = np.maximum.accumulate(scores[picked], axis=1)
    spent = np.cumsum(costs[picked], axis=1)
    counts = _budgets(n)
    epochs = _budgets(int(costs.sum()))
    standing, why = standing_of(searched, pool)
    return BestSoFar(
        pool.arm,
        pool.replicate,
        _course(searched, counts, _after(np.maximum.accumulate(scores), counts), best[:, counts - 1]),
        _course(
            searched,
            epochs,
            _within(np.maximum.accumulate(scores)[None], np.cumsum(costs)[None], epochs)[0],
            _within(best, spent, epochs),
        ),
        standing,
        why,
    )


def standing_of(searched: Searched, pool: Pool) -> tuple[Standing, str]:
    """What a resample of the trials of ``pool`` stands for, and why."""
    kind = searched.sweep.search.sampler.kind
    if searched.stops_early:
        return "descriptive", "which trials are stopped early depends on those before them"
    if any(by_hand(searched.sweep, trial) for trial in pool.trials):
        return "descriptive", "some points were given by hand"
    if kind == "random":
        return "exact", "independent random draws, each run to its end"
    if kind in ("qmc", "grid", "exhaustive"):
        return "near", f"{kind} covers the space more evenly than independent draws"
    return "descriptive", f"{kind} learns from the trials before"


def _budgets(total: int) -> NDArray[np.int64]:
    """Up to 40 whole numbers from 1 to ``total``, which is among them."""
    return np.unique(np.linspace(1, max(total, 1), min(_POINTS, max(total, 1))).round().astype(np.int64))


def _after(best: FloatArray, counts: NDArray[np.int64]) -> FloatArray:
    return best[counts - 1]


def _within(best: FloatArray, spent: NDArray[np.int64], budgets: NDArray[np.int64]) -> FloatArray:
    """Best so far [resamples, budgets] of ``best`` and ``spent`` [resamples, trials]; -inf: nothing yet."""
    columns = []
    for budget in budgets:
        done = (spent <= budget).sum(axis=1)
        reached = best[np.arange(len(best)), np.maximum(done - 1, 0)]
        columns.append(np.where(done > 0, reached, -np.inf))
    return np.stack(columns, axis=1)


def _course(
    searched: Searched, budgets: NDArray[np.int64], observed: FloatArray, resampled: FloatArray
) -> Course:
    share = (1 - LEVEL) / 2
    # Without interpolation: between -inf (nothing yet) and a number there is nothing.
    low, middle, high = np.quantile(resampled, [share, 0.5, 1 - share], axis=0, method="inverted_cdf")
    if searched.sweep.search.objective.mode == "min":
        low, high = high, low

    def shown(scores: FloatArray) -> tuple[float | None, ...]:
        return tuple(searched.shown(float(s)) if np.isfinite(s) else None for s in scores)

    return Course(tuple(int(b) for b in budgets), shown(observed), shown(low), shown(middle), shown(high))
