"""Which parameters decided how good a trial was: within an arm, never across arms.

PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv 2304.10255) compares how a parameter is distributed among the
best trials with how it is among all. Optuna's form takes conditional parameters in (arXiv 2601.20800): a
parameter is judged within the trials that have it, weighted by how much of the best they are. fANOVA (Hutter
et al., ICML 2014) is added where it is valid: where all trials have the same parameters, and there are many.

Only COMPLETE trials count, since those that were stopped ended at another fidelity; each configuration
counts once, and none that went on from another's weights. Two things bias what is left, and ``notes`` says
which apply: a sampler that learns puts its trials where it believes them good, and early stopping lets the
good ones through. Where at least 20 of the completed trials were drawn evenly over the space, only those are
used.

Ranks are given with the 95% interval over resamples of the trials: where two intervals overlap widely, the
order of the two is not known. Neither measure is a test; ``dead`` has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablate.report.analysis.best_so_far import LEVEL
from ablate.report.analysis.pools import Searched, SearchTrial, by_hand, drawn_evenly, varied
from ablate.spec.space import Distribution

FEWEST = 10
EVENLY = 20  # evenly drawn trials that are preferred to all
FEWEST_FANOVA = 50
_TOP, _IN_TOP = 0.1, 5  # Optuna advises at least five trials in the top share
_RESAMPLES = {"PED-ANOVA": 100, "fANOVA": 30}
_TREES, _TREES_RESAMPLED = 32, 8  # a tree takes a hundredth of a second and more

Method = Literal["PED-ANOVA", "fANOVA"]


@dataclass(frozen=True)
class Share:
    """One parameter: its share of the importance of all, its rank (1: the most important; ties share the
    mean), and how many of the trials have it."""

    key: str
    share: float
    rank: float
    rank_low: float
    rank_high: float
    trials: int


@dataclass(frozen=True)
class Importance:
    """Of one arm by one method, the most important parameter first.

    ``top`` is the share of the trials that PED-ANOVA takes for the best; ``refused`` says why there are no
    ``shares``.
    """

    arm: str
    method: Method
    trials: int
    top: float | None
    shares: tuple[Share, ...]
    notes: tuple[str, ...]
    refused: str


def importances(searched: Searched, *, with_fanova: bool = True) -> tuple[Importance, ...]:
    """PED-ANOVA for every arm, and, if wanted, fANOVA for those where it is valid."""
    return tuple(found for arm in searched.arms for found in _of_arm(searched, arm, with_fanova))


def usable(searched: Searched, arm: str) -> tuple[SearchTrial, ...]:
    """The trials of an arm that ran to their end from their own beginning, each configuration once."""
    return tuple(t for t in searched.of(arm) if t.score is not None and not t.repeat and not t.inherited)


def _of_arm(searched: Searched, arm: str, with_fanova: bool) -> list[Importance]:
    every = usable(searched, arm)
    evenly = tuple(t for t in every if drawn_evenly(searched.sweep, t))
    used = evenly if len(evenly) >= EVENLY else every
    space = {k: e for k, e in varied(searched.sweep.space).items() if any(k in t.params for t in used)}
    if len(space) < 2:
        return [_refused(arm, used, "fewer than two parameters vary")]
    if len(used) < FEWEST:
        return [_refused(arm, used, f"needs {FEWEST} completed trials, has {len(used)}")]
    if len({t.score for t in used}) == 1:
        return [_refused(arm, used, "all trials ended with the same objective")]
    notes = _notes(searched, arm, used, space)
    found = [_ped_anova(arm, used, space, notes)]
    valid = len(used) >= FEWEST_FANOVA and all(space.keys() <= t.params.keys() for t in used)
    if with_fanova and valid:
        found.append(_fanova(arm, used, space, notes))
    return found


def _notes(
    searched: Searched, arm: str, used: Sequence[SearchTrial], space: Mapping[str, Distribution]
) -> tuple[str, ...]:
    sweep, every = searched.sweep, usable(searched, arm)
    notes = []
    even = sum(drawn_evenly(sweep, t) for t in used)
    if even < len(used):
        given = sum(by_hand(sweep, t) for t in used)
        who = "whoever gave points" if even + given == len(used) else sweep.search.sampler.kind
        notes.append(
            f"biased: {who} puts trials where they are expected to be good "
            f"(drawn evenly: {even} of {len(used)})"
        )
    elif len(used) < len(every):
        notes.append(f"of the {len(used)} trials drawn evenly over the space, not of all {len(every)}")
    stopped = sum(t.state == "PRUNED" for t in searched.of(arm))
    if stopped:
        notes.append(f"biased: {stopped} trials were stopped early, the others are those that did well")
    if partial := [key for key in space if not all(key in t.params for t in used)]:
        notes.append(f"conditional, judged within the trials that have it: {', '.join(partial)}")
    return tuple(notes)


def _ped_anova(
    arm: str, used: Sequence[SearchTrial], space: Mapping[str, Distribution], notes: tuple[str, ...]
) -> Importance:
    from ablate.report.analysis import optuna_study

    top = max(_TOP, _IN_TOP / len(used))
    trials = optuna_study.frozen(*_columns(used), space)
    shares = _shares("PED-ANOVA", trials, list(space), lambda t, _: optuna_study.ped_anova(t, top), used)
    return Importance(arm, "PED-ANOVA", len(used), top, shares, notes, "")


def _fanova(
    arm: str, used: Sequence[SearchTrial], space: Mapping[str, Distribution], notes: tuple[str, ...]
) -> Importance:
    from ablate.report.analysis import optuna_study

    def evaluate(trials: Sequence[Any], resampled: bool) -> dict[str, float]:
        return optuna_study.fanova(trials, _TREES_RESAMPLED if resampled else _TREES)

    trials = optuna_study.frozen(*_columns(used), space, logarithms=True)
    shares = _shares("fANOVA", trials, list(space), evaluate, used)
    return Importance(arm, "fANOVA", len(used), None, shares, notes, "")


def _columns(used: Sequence[SearchTrial]) -> tuple[list[Mapping[str, Any]], list[float]]:
    return [t.params for t in used], [t.score for t in used if t.score is not None]


def _shares(
    method: Method,
    trials: Sequence[Any],
    keys: list[str],
    evaluate: Callable[[Sequence[Any], bool], dict[str, float]],
    used: Sequence[SearchTrial],
) -> tuple[Share, ...]:
    """``evaluate(trials, resampled)`` gives the share of every parameter that some trial has."""
    found = evaluate(trials, False)
    shares = np.array([found.get(key, 0.0) for key in keys])
    rng, n = np.random.default_rng(0), len(trials)
    resampled = []
    for _ in range(_RESAMPLES[method]):
        again = evaluate([trials[i] for i in rng.integers(n, size=n)], True)
        resampled.append(_ranks(np.array([again.get(key, 0.0) for key in keys])))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.stack(resampled), [tail, 1 - tail], axis=0, method="inverted_cdf")
    ranks = _ranks(shares)
    order = sorted(range(len(keys)), key=lambda i: (ranks[i], i))
    return tuple(
        Share(
            keys[i],
            float(shares[i]),
            float(ranks[i]),
            float(low[i]),
            float(high[i]),
            sum(keys[i] in t.params for t in used),
        )
        for i in order
    )


def _ranks(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the largest; ties share the mean."""
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(-shares)
    return ranks


def _refused(arm: str, used: Sequence[SearchTrial], why: str) -> Importance:
    return Importance(arm, "PED-ANOVA", len(used), None, (), (), why)
