"""Whether early stopping stopped the wrong trials: a few of them are trained to the end and looked at again.

Pure: which trials to train again (``pick``), and what their whole curves say (``audit``); ``ablate audit``
does the training. Everything is within an arm, and each stopped trial is judged against its own search.

What a stopped trial would have come to is compared with the final scores of those that its search carried to
the end (completed trials that meet every constraint, each configuration once):

- ``cut-off``: better than the worst of them: it was stopped in favour of a worse one;
- ``median``: better than half of them. This is called a false kill;
- ``best``: better than the best of them: the search would have chosen it.

One that meets not every constraint in the end passes none of these. Where trials wait at ASHA's rungs, one
was stopped at the rung at which it waited until it ended.

Each rate has a Wilson 95% interval; it is of the audited trials, which are spread evenly over the rungs and
so come from late rungs more often than stopped trials do. ``regret`` is how far the best audited trial lies
above the best completed one, at least 0: what was lost at least, as far as one seed can tell, since both are
the largest of several noisy scores.

Kendall's tau-b between the score at a rung and the final score is over all trials whose final score is known:
the completed and the audited. The completed are those that the rungs let through, and so more alike than all
trials are: tau is too small if hardly any trial was audited. Its interval is that of Fisher's z with variance
0.437 / (n - 4) (Fieller, Hartley and Pearson, 1957; it is rough below some ten trials).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ablate.report.analysis.pools import NoAnalysis, Searched, SearchTrial
from ablate.spec.front import feasible
from ablate.spec.scheduler import ASHA, HyperBand

FOLDER = "audit"  # below that of the sweep
LEVEL = 0.95
_CLOCKS = ("views_per_second",)  # readings of a clock, never equal
_MOST_RUNGS = 6
_FEWEST_TAU, _FEWEST_INTERVAL = 3, 6

Threshold = Literal["cut-off", "median", "best"]
THRESHOLDS: tuple[Threshold, ...] = ("cut-off", "median", "best")


@dataclass(frozen=True)
class Rerun:
    """A stopped trial, trained from its beginning to its end. ``curve`` is {epoch: metrics}.

    ``state`` is COMPLETE, COLLAPSED or FAILED. ``made_by`` says how, for whoever wonders about a difference:
    digest of the code, device, threads.
    """

    trial: str
    spec_hash: str
    state: str
    reason: str
    curve: Mapping[int, Mapping[str, float]]
    made_by: Mapping[str, Any]


@dataclass(frozen=True)
class Rate:
    """``count`` of ``trials``, and the Wilson interval of the rate."""

    count: int
    trials: int
    low: float
    high: float


@dataclass(frozen=True)
class RungTau:
    """Kendall's tau-b between the scores at epoch ``rung`` and at the end, over ``trials``, ``audited`` of
    which were stopped. No interval with fewer than six trials."""

    rung: int
    trials: int
    audited: int
    tau: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Audited:
    """One stopped trial.

    ``stopped_at`` and ``final`` are its objective at that epoch and at the end (None: it collapsed);
    ``above`` names the thresholds it passed. ``same``: up to the epoch at which it was stopped the re-run
    reported what the ledger has, bit for bit; if not, ``differing`` names metrics, and ``furthest`` is the
    largest difference of the objective.
    """

    trial: str
    replicate: int
    epoch: int
    stopped_at: float
    final: float | None
    above: tuple[Threshold, ...]
    same: bool
    differing: tuple[str, ...]
    furthest: float


@dataclass(frozen=True)
class ArmAudit:
    """Of one arm: ``stopped`` trials that could be audited, and what the audited ones say.

    ``rates`` and ``regret`` (in units of the objective) are None while nothing was audited, or nothing
    completed to compare with.
    """

    arm: str
    stopped: int
    completed: int
    audited: tuple[Audited, ...]
    failed: tuple[str, ...]
    rates: Mapping[Threshold, Rate] | None
    regret: float | None
    taus: tuple[RungTau, ...]


def auditable(trials: Sequence[SearchTrial]) -> list[SearchTrial]:
    """Those that early stopping ended, run on their own and from their beginning."""
    return [t for t in trials if t.stopped in t.curve and not t.repeat and not t.inherited]


def pick(searched: Searched, per_arm: int, seed: int) -> list[SearchTrial]:
    """Up to ``per_arm`` stopped trials of each arm: at random within a rung, and from all rungs in turn."""
    chosen = []
    for arm in searched.arms:
        rungs: dict[int, list[SearchTrial]] = {}
        for trial in sorted(auditable(searched.of(arm)), key=lambda t: (t.replicate, t.number)):
            rungs.setdefault(trial.stopped or 0, []).append(trial)
        for epoch, trials in rungs.items():
            random.Random(f"{seed} {arm} {epoch}").shuffle(trials)
        queue = [
            (place, epoch, trial) for epoch, trials in rungs.items() for place, trial in enumerate(trials)
        ]
        chosen += [trial for *_, trial in sorted(queue, key=lambda item: item[:2])[:per_arm]]
    return chosen


def audit(searched: Searched, reruns: Mapping[str, Rerun]) -> tuple[ArmAudit, ...]:
    """Every arm, as far as its stopped trials were run again."""
    return tuple(_of_arm(searched, arm, reruns) for arm in searched.arms)


def read_reruns(folder: Path) -> dict[str, Rerun]:
    """What ``ablate audit`` left in a sweep's folder, by trial. Raises NoAnalysis for a damaged file."""
    found = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            rerun = from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoAnalysis(
                f"{path}: not the record of an audited trial ({error}); delete it and run ablate audit again"
            ) from error
        found[rerun.trial] = rerun
    return found


def as_json(rerun: Rerun) -> str:
    """Numbers survive exactly."""
    tree = {
        "trial": rerun.trial,
        "spec_hash": rerun.spec_hash,
        "state": rerun.state,
        "reason": rerun.reason,
        "made_by": dict(rerun.made_by),
        "curve": {str(epoch): dict(row) for epoch, row in sorted(rerun.curve.items())},
    }
    return json.dumps(tree, indent=1) + "\n"


def from_json(text: str) -> Rerun:
    """Raises ValueError, KeyError, TypeError or AttributeError for anything else than ``as_json`` writes."""
    tree = json.loads(text)
    curve = {
        int(epoch): {str(name): float(value) for name, value in row.items()}
        for epoch, row in tree["curve"].items()
    }
    return Rerun(tree["trial"], tree["spec_hash"], tree["state"], tree["reason"], curve, tree["made_by"])


def wilson(count: int, trials: int) -> Rate:
    """95% interval of a rate (Wilson, 1927), which keeps its level for few trials and rates of 0 and 1."""
    from scipy.stats import binomtest

    interval = binomtest(count, trials).proportion_ci(LEVEL, method="wilson")
    return Rate(count, trials, float(interval.low), float(interval.high))


def rung_tau(rung: int, pairs: Sequence[tuple[float, float]], audited: int) -> RungTau | None:
    """Of (score at the rung, final score); None below three pairs, or where one of the two does not vary."""
    from scipy.stats import kendalltau, norm

    n = len(pairs)
    if n < _FEWEST_TAU or any(len({pair[i] for pair in pairs}) == 1 for i in (0, 1)):
        return None
    tau = float(kendalltau([a for a, _ in pairs], [b for _, b in pairs]).statistic)
    low = high = None
    if n >= _FEWEST_INTERVAL:
        # A tau of 1 has no z: it is taken as one half of the smallest step below it.
        edge = 1 - 2 / (n * (n - 1))
        middle = math.atanh(max(-edge, min(edge, tau)))
        half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(0.437 / (n - 4))
        low = -1.0 if tau <= -edge else math.tanh(middle - half)
        high = 1.0 if tau >= edge else math.tanh(middle + half)
    return RungTau(rung, n, audited, tau, low, high)


def _of_arm(searched: Searched, arm: str, reruns: Mapping[str, Rerun]) -> ArmAudit:
    trials = searched.of(arm)
    stopped = auditable(trials)
    again = {t.trial: reruns[t.trial] for t in stopped if t.trial in reruns}
    failed = tuple(name for name, rerun in again.items() if rerun.state == "FAILED")
    judged = [t for t in stopped if t.trial in again and t.trial not in failed]
    finals = {t.trial: _final(searched, again[t.trial]) for t in judged}
    merits = {t.trial: _merit(searched, again[t.trial]) for t in judged}
    ended = {r: _completed(trials, r) for r in {t.replicate for t in trials}}
    audited = tuple(
        _audited(searched, t, again[t.trial], merits[t.trial], ended[t.replicate]) for t in judged
    )
    comparable = [t for t in judged if ended[t.replicate]]
    rates = regret = None
    if comparable:
        rates = {name: wilson(sum(name in a.above for a in audited), len(comparable)) for name in THRESHOLDS}
        regret = max(0.0, *(merits[t.trial] - max(ended[t.replicate]) for t in comparable))
    return ArmAudit(
        arm,
        len(stopped),
        sum(map(len, ended.values())),
        audited,
        failed,
        rates,
        regret,
        _taus(searched, trials, again, finals),
    )


def _final(searched: Searched, rerun: Rerun) -> float:
    """The score at the end of a re-run; a collapsed one is below all others."""
    if rerun.state != "COMPLETE" or not rerun.curve:
        return -math.inf
    return _score(searched, rerun.curve[max(rerun.curve)])


def _merit(searched: Searched, rerun: Rerun) -> float:
    """The score at the end, if the search could have chosen it; else below all others."""
    ended: dict[str, float] = {}
    for _, row in sorted(rerun.curve.items()):
        ended |= row
    return _final(searched, rerun) if feasible(searched.sweep.search, ended) else -math.inf


def _score(searched: Searched, row: Mapping[str, float]) -> float:
    objective = searched.sweep.search.objective
    value = row.get(objective.metric, math.nan)
    if not math.isfinite(value):
        return -math.inf
    return value if objective.mode == "max" else -value


def _completed(trials: Sequence[SearchTrial], replicate: int) -> list[float]:
    own = [t for t in trials if t.replicate == replicate and not t.repeat and not t.inherited]
    return sorted(t.candidate for t in own if t.candidate is not None)


def _audited(
    searched: Searched, trial: SearchTrial, rerun: Rerun, merit: float, ended: Sequence[float]
) -> Audited:
    assert trial.stopped is not None
    levels: dict[Threshold, float] = {}
    if ended:
        half = len(ended) // 2
        middle = ended[half] if len(ended) % 2 else (ended[half - 1] + ended[half]) / 2
        levels = {"cut-off": ended[0], "median": middle, "best": ended[-1]}
    differing, furthest = _differences(searched, trial, rerun)
    final = _final(searched, rerun)
    return Audited(
        trial=trial.trial,
        replicate=trial.replicate,
        epoch=trial.stopped,
        stopped_at=searched.shown(trial.curve[trial.stopped]),
        final=searched.shown(final) if math.isfinite(final) else None,
        above=tuple(name for name, level in levels.items() if merit > level),
        same=not differing,
        differing=differing,
        furthest=furthest,
    )


def _differences(searched: Searched, trial: SearchTrial, rerun: Rerun) -> tuple[tuple[str, ...], float]:
    """The metrics that the re-run reported otherwise, and the largest difference of the objective."""
    metric = searched.sweep.search.objective.metric
    names: set[str] = set()
    furthest = 0.0
    for epoch, row in trial.rows.items():
        if trial.stopped is None or epoch > trial.stopped:
            continue
        other = rerun.curve.get(epoch, {})
        names |= {n for n in {*row, *other} if n not in _CLOCKS and not _same(row.get(n), other.get(n))}
        if metric in row and metric in other:
            furthest = max(furthest, abs(row[metric] - other[metric]))
    return tuple(sorted(names)), furthest


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _taus(
    searched: Searched,
    trials: Sequence[SearchTrial],
    again: Mapping[str, Rerun],
    finals: Mapping[str, float],
) -> tuple[RungTau, ...]:
    """At the rungs of the scheduler, or else at the first epochs at which trials were stopped."""
    scheduler = searched.sweep.search.scheduler
    rungs: Sequence[int] = sorted({t.stopped for t in trials if t.stopped is not None})[:_MOST_RUNGS]
    if isinstance(scheduler, (ASHA, HyperBand)):
        rungs = scheduler.rungs
    known = [t for t in trials if t.score is not None and not t.repeat and not t.inherited]
    found = []
    for rung in rungs:
        pairs = [(t.curve[rung], t.score) for t in known if rung in t.curve and t.score is not None]
        extra = [
            (_score(searched, again[name].curve[rung]), final)
            for name, final in finals.items()
            if rung in again[name].curve
        ]
        tau = rung_tau(rung, [*pairs, *extra], len(extra))
        found += [tau] if tau is not None else []
    return tuple(found)
