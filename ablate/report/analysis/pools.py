"""The search trials of a sweep by arm and replicate, in the form in which every analysis takes them.

Within a pool trials are compared with one another; across arms only ``expected_best`` compares, whole pools.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.ledger import Event
from ablate.report.trials import TrialRecord, ending, fold_trials, opening
from ablate.spec.front import feasible
from ablate.spec.sampler import CMAES, GP, NSGA2, QMC, TPE, Exhaustive, Grid, RandomSampler
from ablate.spec.space import Choice, Distribution, IntRange
from ablate.spec.sweep import SweepSpec


class NoAnalysis(ValueError):
    """There is nothing to analyse; the message says what is missing."""


@dataclass(frozen=True)
class SearchTrial:
    """One finished search trial. Scores are the objective, so turned that larger is better.

    ``score`` is that of a COMPLETE trial, None without a finite one; ``feasible`` whether its constraints
    hold. ``epochs`` were trained for it alone. ``curve`` is {epoch: score}, ``rows`` {epoch: every metric
    reported}. ``stopped`` is the epoch at which early stopping ended it. A ``repeat`` took the result of an
    equal configuration and was not run; one that ``inherited`` went on from another's weights.
    """

    trial: str
    arm: str
    replicate: int
    number: int
    params: Mapping[str, Any]
    spec: Mapping[str, Any]
    state: str
    score: float | None
    feasible: bool
    epochs: int
    curve: Mapping[int, float]
    rows: Mapping[int, Mapping[str, float]]
    stopped: int | None
    repeat: bool
    inherited: bool

    @property
    def candidate(self) -> float | None:
        """Its score, if the search could have chosen it."""
        return self.score if self.feasible else None


@dataclass(frozen=True)
class Pool:
    """One search: its finished trials in the order in which they finished."""

    arm: str
    replicate: int
    trials: tuple[SearchTrial, ...]

    @property
    def name(self) -> str:
        return f"{self.arm} #{self.replicate}"


@dataclass(frozen=True)
class Searched:
    """All searches of a sweep, the baseline's first; those without a finished trial are left out."""

    sweep: SweepSpec
    pools: tuple[Pool, ...]
    ended: bool

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pool.arm for pool in self.pools))

    @property
    def baseline(self) -> str | None:
        """The arm that the others are compared with; None in a sweep without arms."""
        return None if self.sweep.arms is None else self.sweep.arms.reference

    def of(self, arm: str) -> tuple[SearchTrial, ...]:
        """The trials of an arm, of all its replicates."""
        return tuple(trial for pool in self.pools if pool.arm == arm for trial in pool.trials)

    def shown(self, score: float) -> float:
        """A score in the objective's own direction."""
        return score if self.sweep.search.objective.mode == "max" else -score

    @property
    def stops_early(self) -> bool:
        """Whether a scheduler may stop trials, or any was stopped by whomever."""
        pruned = any(t.state == "PRUNED" for pool in self.pools for t in pool.trials)
        return pruned or self.sweep.search.scheduler.kind != "none"


def read_search(events: list[Event]) -> Searched:
    """The searches that a ledger tells of.

    Raises NoAnalysis if no search trial has finished, and pydantic's ValidationError for the record of a
    version of the product that this one cannot read.
    """
    if not events or events[0]["event"] != "opened":
        raise NoAnalysis("the ledger holds no sweep yet: nothing has been run")
    sweep = SweepSpec.model_validate(opening(events)["sweep"])
    asked = {e["trial"]: e for e in events if e["event"] == "asked" and e["stage"] == "search"}
    stopped = {e["trial"]: int(e["epoch"]) for e in events if e["event"] == "stopped"}
    order = {e["trial"]: i for i, e in enumerate(events) if e["event"] == "finished"}
    records = fold_trials(events)
    finished = sorted((name for name in asked if records[name].finished), key=order.__getitem__)
    if not finished:
        raise NoAnalysis("no search trial has finished yet: nothing to analyse")
    pools: dict[tuple[str, int], list[SearchTrial]] = {
        (arm, replicate): [] for arm in sweep.bases for replicate in range(sweep.replicates)
    }
    for name in finished:
        trial = _trial(records[name], asked[name], stopped.get(name), sweep)
        pools.setdefault((trial.arm, trial.replicate), []).append(trial)
    found = tuple(Pool(arm, replicate, tuple(t)) for (arm, replicate), t in pools.items() if t)
    return Searched(sweep, found, ending(events) is not None)


def _trial(record: TrialRecord, asked: Event, stopped: int | None, sweep: SweepSpec) -> SearchTrial:
    objective = sweep.search.objective
    sign = 1.0 if objective.mode == "max" else -1.0
    last = record.metrics.get(objective.metric, math.nan)
    complete = record.state == "COMPLETE" and math.isfinite(last)
    values = {epoch: row.get(objective.metric, math.nan) for epoch, row in sorted(record.curve.items())}
    return SearchTrial(
        trial=record.trial,
        arm=record.arm,
        replicate=int(asked.get("replicate", 0)),
        number=int(asked["number"]),
        params=record.params,
        spec=record.spec,
        state=record.state,
        score=sign * last if complete else None,
        feasible=complete and feasible(sweep.search, record.metrics),
        epochs=record.own_epochs,
        curve={epoch: sign * value for epoch, value in values.items() if math.isfinite(value)},
        rows=record.curve,
        stopped=stopped if record.state == "PRUNED" else None,
        repeat=record.duplicate_of is not None,
        inherited=record.parent is not None,
    )


def by_hand(sweep: SweepSpec, trial: SearchTrial) -> bool:
    """Whether it is one of ``search.points``, which somebody chose."""
    return trial.number < len(sweep.search.points)


def drawn_evenly(sweep: SweepSpec, trial: SearchTrial) -> bool:
    """Whether its parameters were drawn over the whole space, whatever the results so far.

    So are all trials of random search, quasi-random sequences and shuffled grids, and of the other samplers
    the first, as many as their ``startup``, unless they knew trials of earlier sweeps. Points given by hand
    and children of a population are not.
    """
    search = sweep.search
    if by_hand(sweep, trial) or trial.inherited:
        return False
    match search.sampler:
        case RandomSampler() | QMC() | Grid() | Exhaustive():
            return True
        case TPE(startup=startup) | GP(startup=startup) | CMAES(startup=startup):
            return not search.warm_start and trial.number < startup
        case NSGA2(population=population):
            return not search.warm_start and trial.number < population


def varied(space: Mapping[str, Distribution]) -> dict[str, Distribution]:
    """The keys of a space that have more than one value."""
    return {key: entry for key, entry in space.items() if not _single(entry)}


def _single(entry: Distribution) -> bool:
    if isinstance(entry, Choice):
        return len(entry.choice) == 1
    low, high = entry.int if isinstance(entry, IntRange) else entry.float
    return low == high


def in_words(trials: tuple[SearchTrial, ...]) -> str:
    """``9 complete, 15 pruned``."""
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items())) or "none"
