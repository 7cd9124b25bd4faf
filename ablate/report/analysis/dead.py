"""Parameters that the objective does not depend on, as far as the trials can tell.

The trials of an arm are put into groups by the parameter: its values, or four of equal size along its range.
How much of the variation of the objective lies between the groups is then estimated, with a test, and with an
upper bound at 95% (one-way analysis of variance of the objective's normal scores, that is of its ranks; the
bound by inverting the noncentral F distribution). Groups see an optimum inside the range as well as a trend.

A parameter is ``dead`` only if the bound is below a tenth: that no relation was seen proves little, and with
fewer than 64 trials in two groups, or 78 in four, none can get there. It is then ``unseen``, and the bound
says what may have been missed.

Where trials were stopped early, those that completed are the good ones, among which a relation can hide. All
trials are then compared where all still ran: at the first epoch of early stopping. A parameter that acts only
later is looked for among the completed trials too, and is not dead if it is seen there.

With a sampler that learns, trials are not a random sample of the space: a parameter that it has settled on
early looks more dead than it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablate.report.analysis.importance import usable
from ablate.report.analysis.pools import Searched, SearchTrial, drawn_evenly, varied
from ablate.spec.space import Choice, Distribution, IntRange

FEWEST = 12
LEVEL = 0.95
MOST_DEAD = 0.1  # of the variation: what a dead parameter may explain at most
_GROUPS, _FEW_VALUES = 4, 6

Word = Literal["dead", "unseen", "related"]


@dataclass(frozen=True)
class Relation:
    """Of one parameter in one arm with the objective ``at`` some point of training ("the end", "epoch 2").

    ``explained`` is the share of the variation between groups, ``p`` of the test that there is none,
    ``p_at_end`` that of the completed trials where ``at`` is not the end. ``word``: ``related`` if either p
    is at most .05, and else ``dead`` if ``bound``, the upper 95% bound of the share, is below a tenth, or
    ``unseen``. There is no bound where a relation was seen.
    """

    arm: str
    key: str
    at: str
    trials: int
    groups: int
    explained: float
    bound: float | None
    p: float
    p_at_end: float | None
    word: Word
    even: bool


@dataclass(frozen=True)
class Relations:
    """``refused`` names arms and keys with too few trials."""

    found: tuple[Relation, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Variance:
    groups: int
    trials: int
    explained: float
    f: float
    p: float


def relations(searched: Searched) -> Relations:
    """Every parameter of every arm that has enough trials."""
    found: list[Relation] = []
    refused: list[str] = []
    for arm in searched.arms:
        values, at = _objective(searched, arm)
        late = {t.trial: t.score for t in usable(searched, arm) if t.score is not None}
        for key, entry in varied(searched.sweep.space).items():
            having = [t for t in searched.of(arm) if t.trial in values and key in t.params]
            if not having:
                continue
            early = _variance(entry, key, having, values)
            if early is None:
                refused.append(f"{arm}, {key}: needs {FEWEST} trials in two groups, has {len(having)}")
                continue
            ended = [t for t in having if t.trial in late]
            end = None if at == "the end" else _variance(entry, key, ended, late)
            seen = early.p <= 1 - LEVEL or (end is not None and end.p <= 1 - LEVEL)
            bound = None if seen else upper_bound(early.f, early.groups, early.trials)
            found.append(
                Relation(
                    arm=arm,
                    key=key,
                    at=at,
                    trials=early.trials,
                    groups=early.groups,
                    explained=early.explained,
                    bound=bound,
                    p=early.p,
                    p_at_end=None if end is None else end.p,
                    word="related" if bound is None else "dead" if bound < MOST_DEAD else "unseen",
                    even=all(drawn_evenly(searched.sweep, t) for t in having),
                )
            )
    return Relations(tuple(found), tuple(refused))


def upper_bound(f: float, groups: int, trials: int) -> float:
    """The share of the variation, 0 to 1, with which a statistic as small as ``f`` has a chance of 5% only.

    An ``f`` below 1, its value without any relation, counts as 1: it is luck, and not evidence. ``f`` must
    not be significant: far out the noncentral F distribution is not computed well.
    """
    from scipy.optimize import brentq
    from scipy.stats import ncf

    between, within = groups - 1, trials - groups
    statistic = max(f, 1.0)

    def chance(noncentrality: float) -> float:
        return float(ncf.cdf(statistic, between, within, noncentrality)) - (1 - LEVEL)

    top = float(trials)
    while chance(top) > 0:
        top *= 2
    found = float(brentq(chance, 0.0, top, xtol=1e-6))
    return found / (found + trials)


def _objective(searched: Searched, arm: str) -> tuple[dict[str, float], str]:
    """Scores by trial where they compare, and where that is. A collapsed trial is worse than all others."""
    trials = [t for t in searched.of(arm) if not (t.repeat or t.inherited or t.state == "FAILED")]
    # One that the operator ended before its first report says nothing, and must not set the epoch.
    pruned = [t for t in trials if t.state == "PRUNED" and t.curve]
    if not pruned:
        scores = {t.trial: t.score for t in trials if t.score is not None}
        return _with_collapsed(scores, trials), "the end"
    first = min(t.stopped if t.stopped is not None else max(t.curve) for t in pruned)
    at = {t.trial: t.curve[first] for t in trials if first in t.curve}
    return _with_collapsed(at, trials), f"epoch {first}"


def _with_collapsed(scores: dict[str, float], trials: Sequence[SearchTrial]) -> dict[str, float]:
    collapsed = [t.trial for t in trials if t.state == "COLLAPSED" and t.trial not in scores]
    return scores | dict.fromkeys(collapsed, -math.inf)


def _variance(
    entry: Distribution, key: str, having: Sequence[SearchTrial], values: Mapping[str, float]
) -> _Variance | None:
    """None with too few trials, or one group only."""
    if len(having) < FEWEST:
        return None
    labels = group_labels(entry, [t.params[key] for t in having])
    scores = normal_scores([values[t.trial] for t in having])
    groups = [scores[labels == label] for label in np.unique(labels)]
    k, n = len(groups), len(scores)
    if k < 2 or n - k < 2:
        return None
    total = float(((scores - scores.mean()) ** 2).sum())
    if total == 0:  # all equal: nothing depends on anything
        return _Variance(k, n, 0.0, 0.0, 1.0)
    between = float(sum(len(g) * (g.mean() - scores.mean()) ** 2 for g in groups))
    within = max(total - between, 1e-12 * total)
    f = (between / (k - 1)) / (within / (n - k))
    from scipy.stats import f as f_distribution

    return _Variance(k, n, between / total, f, float(f_distribution.sf(f, k - 1, n - k)))


def group_labels(entry: Distribution, values: Sequence[Any]) -> NDArray[np.int64]:
    """A group [n] for each value: one for each of a few different values, or else four along the range."""
    if isinstance(entry, Choice):
        return np.array([_place(entry, value) for value in values], dtype=np.int64)
    numbers = np.array(values, dtype=np.float64)
    distinct = np.unique(numbers)
    if isinstance(entry, IntRange) and len(distinct) <= _FEW_VALUES:
        return np.searchsorted(distinct, numbers).astype(np.int64)
    ends = np.quantile(numbers, np.arange(1, _GROUPS) / _GROUPS)
    return np.searchsorted(ends, numbers, side="left").astype(np.int64)


def _place(entry: Choice, value: Any) -> int:
    same = [isinstance(v, bool) == isinstance(value, bool) and v == value for v in entry.choice]
    return same.index(True)


def normal_scores(values: Sequence[float]) -> NDArray[np.float64]:
    """Blom's normal scores [n] of the ranks of ``values``; ties share the mean rank."""
    from scipy.stats import norm, rankdata

    ranks = rankdata(np.array(values, dtype=np.float64))
    scores: NDArray[np.float64] = norm.ppf((ranks - 0.375) / (len(ranks) + 0.25))
    return scores
