"""Whether the best trials press against an end of a range, so that the optimum may lie beyond it.

For each arm, numeric key and end, among the trials that have the key:

- the best quarter is taken: completed trials by their score, below them the stopped ones by how far they came
  and then by their score there, below those the collapsed and the infeasible;
- those of them in the outer quarter of the range, on its own scale (linear or logarithmic), are counted, and
  the binomial probability of so many or more is computed for even draws: p. Whole numbers and grids take the
  values at that end that make up a quarter of the draws at most, and at least the end itself;
- the p of all arms, keys and ends together are corrected by Benjamini and Hochberg.

The end is pressed if the corrected p is at most .05 and the outer tenth holds at least twice its share, which
an optimum well inside the outer quarter does not give. Points given by hand are left out. With a sampler that
learns, p is descriptive: it gathers trials where it believes them good, and so makes p too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ablate.report.analysis.pools import Searched, SearchTrial, by_hand, drawn_evenly, varied
from ablate.report.analysis.widen import End, Range
from ablate.spec.grid import levels, value_at
from ablate.spec.sampler import Grid
from ablate.spec.space import Choice, FloatRange, IntRange

FEWEST = 12  # trials with the key: a best quarter of three
LEVEL = 0.05
_WIDE, _NARROW = 0.25, 0.1
_TIMES = 2.0  # the share of the outer tenth that counts as pressed


@dataclass(frozen=True)
class Saturation:
    """One end of one range in one arm.

    Of the ``best`` trials ``outer`` lie in the outer quarter, where even draws put the share ``expected``,
    and ``outermost`` in the outer tenth. ``p_adjusted`` is corrected for all ends looked at. ``even``: all
    these trials were drawn evenly, so that p is what it says.
    """

    arm: str
    key: str
    end: End
    value: float
    trials: int
    best: int
    outer: int
    outermost: int
    expected: float
    p: float
    p_adjusted: float
    pressed: bool
    even: bool


@dataclass(frozen=True)
class Boundaries:
    """``refused`` names arms and keys with too few trials."""

    ends: tuple[Saturation, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Band:
    """The values of a range near one end, and the probability that an even draw is one of them."""

    share: float
    holds: Callable[[float], bool]


def boundaries(searched: Searched) -> Boundaries:
    """Every end of every numeric range in every arm that has enough trials."""
    found: list[Saturation] = []
    refused: list[str] = []
    for arm in searched.arms:
        trials = [t for t in searched.of(arm) if _counts(searched, t)]
        for key, entry in varied(searched.sweep.space).items():
            having = [t for t in trials if key in t.params]
            if isinstance(entry, Choice) or not having:
                continue
            if len(having) < FEWEST:
                refused.append(f"{arm}, {key}: needs {FEWEST} trials, has {len(having)}")
                continue
            found += _ends(searched, arm, key, entry, having)
    return Boundaries(tuple(_corrected(found)), tuple(refused))


def _counts(searched: Searched, trial: SearchTrial) -> bool:
    accident = trial.state == "FAILED"
    return not (accident or trial.repeat or trial.inherited or by_hand(searched.sweep, trial))


def _ends(
    searched: Searched, arm: str, key: str, entry: Range, having: Sequence[SearchTrial]
) -> Iterator[Saturation]:
    from scipy.stats import binom

    best = sorted(having, key=goodness, reverse=True)[: math.ceil(len(having) / 4)]
    values = [float(t.params[key]) for t in best]
    even = all(drawn_evenly(searched.sweep, t) for t in having)
    grid = searched.sweep.search.sampler
    steps = grid.steps if isinstance(grid, Grid) else None
    ends: tuple[End, End] = ("low", "high")
    for end in ends:
        wide, narrow = band(entry, end, _WIDE, steps), band(entry, end, _NARROW, steps)
        outer, outermost = sum(map(wide.holds, values)), sum(map(narrow.holds, values))
        p = float(binom.sf(outer - 1, len(values), wide.share))
        crowded = outermost >= min(1.0, _TIMES * narrow.share) * len(values)
        yield Saturation(
            arm=arm,
            key=key,
            end=end,
            value=float(_bounds(entry)[end == "high"]),
            trials=len(having),
            best=len(values),
            outer=outer,
            outermost=outermost,
            expected=wide.share,
            p=p,
            p_adjusted=p,
            pressed=crowded,
            even=even,
        )


def goodness(trial: SearchTrial) -> tuple[float, ...]:
    """Larger is better: completed trials by score, then the stopped by how far they came, then the others."""
    if trial.candidate is not None:
        return 2.0, trial.candidate
    if trial.state == "PRUNED" and trial.curve:
        last = max(trial.curve)
        return 1.0, float(last), trial.curve[last]
    return (0.0,)


def band(entry: Range, end: End, width: float, steps: int | None = None) -> _Band:
    """The values within ``width`` (of all even draws) of one end; of discrete ones at least the end itself.

    ``steps``: a grid takes so many values of a real range; None: any value of it may be drawn.
    """
    if isinstance(entry, IntRange) and entry.log:
        return _log_whole(entry, end, width)
    if isinstance(entry, IntRange):
        low, high = entry.int
        count = (high - low) // entry.step + 1
        last = low + (count - 1) * entry.step
        taken = max(1, math.floor(width * count + 1e-9))
        edge = low + (taken - 1) * entry.step if end == "low" else last - (taken - 1) * entry.step
        return _Band(taken / count, _side(end, edge))
    if steps is not None:
        values = [float(v) for v in levels(entry, steps) if isinstance(v, (int, float))]
        taken = max(1, math.floor(width * len(values) + 1e-9))
        edge_value = values[taken - 1] if end == "low" else values[-taken]
        return _Band(taken / len(values), _side(end, edge_value))
    at = value_at(entry, width if end == "low" else 1 - width)
    assert isinstance(at, float)
    return _Band(width, _side(end, at))


def _log_whole(entry: IntRange, end: End, width: float) -> _Band:
    """Whole numbers on a log scale: n is drawn with the log-width of [n - 1/2, n + 1/2], as Optuna does."""
    low, high = entry.int
    total = math.log((high + 0.5) / (low - 0.5))
    if end == "low":
        edge = max(low, math.floor((low - 0.5) * math.exp(width * total) - 0.5 + 1e-9))
        return _Band(math.log((edge + 0.5) / (low - 0.5)) / total, _side(end, edge))
    edge = min(high, math.ceil((high + 0.5) * math.exp(-width * total) + 0.5 - 1e-9))
    return _Band(math.log((high + 0.5) / (edge - 0.5)) / total, _side(end, edge))


def _side(end: End, edge: float) -> Callable[[float], bool]:
    return (lambda value: value <= edge) if end == "low" else (lambda value: value >= edge)


def _bounds(entry: Range) -> tuple[float, float]:
    if isinstance(entry, FloatRange):
        return entry.float
    low, high = entry.int
    return low, low + (high - low) // entry.step * entry.step


def _corrected(found: Sequence[Saturation]) -> list[Saturation]:
    if not found:
        return []
    from ablate.statistics.multiplicity import benjamini_hochberg

    adjusted = benjamini_hochberg([s.p for s in found])
    return [
        replace(s, p_adjusted=float(p), pressed=s.pressed and p <= LEVEL)
        for s, p in zip(found, adjusted, strict=True)
    ]
