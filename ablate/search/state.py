"""What is known of a sweep at one moment: the fold of its external events, and nothing else.

Only a state made to go on from a ledger also knows the parameters recorded there (``replay.refold``).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.ledger import Event
from ablate.search.asha import Rung
from ablate.search.confirm import Arms, SearchKey, Step
from ablate.search.median import Level
from ablate.search.sampler import Study
from ablate.spec.scheduler import PBT, promotes
from ablate.spec.space import Scalar
from ablate.spec.streams import stream_seed
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec


class InvalidEvent(ValueError):
    """An event that cannot have happened in this state."""


@dataclass
class TrialState:
    """One trial. ``state`` is None until it has finished; ``slot`` is None while nobody runs it."""

    id: str
    number: int
    stage: str
    arm: str
    replicate: int  # of the independent searches of its arm
    seed: int
    params: dict[str, Scalar]
    spec: TrialSpec | None  # None: the drawn parameters make no valid trial
    spec_hash: str | None
    duplicate_of: str | None = None  # it is not run and takes the result of this one
    parent: str | None = None  # it went on from the weights of this one
    inherited: int = 0  # epochs of training that it was given with them
    bracket: int = 0  # of HyperBand
    slot: str | None = None
    curve: dict[int, dict[str, float]] = field(default_factory=dict)  # dropped when finished, unless FAILED
    checkpoints: list[Event] = field(default_factory=list)  # a child's first is its parent's
    best: Event | None = None  # of its own checkpoints the one of the best measured epoch
    abandoned: int = 0
    epochs: int = 0
    paid: int = 0  # the furthest epoch it ever reported: what it costs of a budget in epochs
    pausing: bool = False  # at the end of its generation or a rung: leaves its slot with the next checkpoint
    paused: int | None = None  # it waits there, after so many epochs
    released: int = 0  # the end of the last generation, or the last rung, that it came through
    alone: bool = False  # outside the population: it runs to its end without the others
    children: list[str] = field(default_factory=list)
    state: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        return 0 if self.spec is None else self.spec.optim.epochs

    def is_start(self, checkpoint: Event) -> bool:
        """Whether it is not its own, but its parent's, with which it began."""
        return self.parent is not None and checkpoint["epoch"] <= self.inherited and "step" not in checkpoint

    def latest(self) -> dict[str, float]:
        """The last value of each metric on the curve."""
        return {name: value for _, metrics in sorted(self.curve.items()) for name, value in metrics.items()}

    def rewind(self, epoch: int) -> None:
        """Forget what came after ``epoch``: it will be run and reported again."""
        self.slot, self.pausing, self.epochs = None, False, epoch
        self.curve = {e: m for e, m in self.curve.items() if e <= epoch and epoch > 0}
        self.checkpoints = [c for c in self.checkpoints if c["epoch"] <= epoch]
        if self.best is not None and self.best["epoch"] > epoch:
            self.best = None
        if self.paused is not None and self.paused > epoch:
            self.paused = None


@dataclass
class Search:
    """One search: of one arm, by a study of its own. Its trials are compared with one another only.

    A sweep without arms has a single one, whose arm is called "search".
    """

    arm: str
    replicate: int
    base: TrialSpec
    study: Study
    planned: int  # trials it may ask for
    asked: int = 0
    recorded: dict[int, dict[str, Scalar]] = field(default_factory=dict)  # see ``replay.refold``
    originals: dict[str, str] = field(default_factory=dict)  # spec hash -> the trial that is run
    curves: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)  # PRUNED -> what was told
    paid: int = 0  # epochs of all its trials
    rungs: dict[tuple[int, int], Rung] = field(default_factory=dict)  # (bracket, epoch)
    dealt: list[float] = field(default_factory=list)  # expected epochs of each bracket of HyperBand
    levels: dict[int, Level] = field(default_factory=dict)  # epoch -> running means
    ending: int = 0  # trials that waited at a rung and are about to be ended, one after another
    holes: int = 0  # members of the population that failed or collapsed and are not replaced yet
    closed: Event | None = None
    chosen: Event | None = None

    @property
    def key(self) -> SearchKey:
        return self.arm, self.replicate

    @property
    def searching(self) -> bool:
        """Whether it may still ask for trials."""
        return self.closed is None and self.asked < self.planned

    @property
    def cut(self) -> bool:
        """Whether it was closed for good, and not because there is nothing left to try."""
        return self.closed is not None and self.closed["by"] != "exhausted"


@dataclass
class SearchState:
    """Changed by ``decide`` only. ``trials`` are in the order they were asked."""

    sweep: SweepSpec
    searches: dict[SearchKey, Search]
    fence: int
    trials: dict[str, TrialState] = field(default_factory=dict)
    converged: dict[str, str] = field(default_factory=dict)  # completed trial -> reason; see ``refold``
    waiting: deque[str] = field(default_factory=deque)  # to be run, and run by nobody
    slots: dict[str, str] = field(default_factory=dict)  # slot -> the trial it runs
    unfinished_count: int = 0
    followers: dict[str, list[str]] = field(default_factory=dict)  # unfinished -> those that take its result
    discarded: dict[str, None] = field(default_factory=dict)  # paths of checkpoints nobody needs any more
    confirming: bool = True  # whether confirmation is to follow, if it is planned at all
    cut: str = ""  # why not everything planned will be done
    arms: Arms = field(default_factory=dict)  # to be confirmed
    ladder: deque[Step] = field(default_factory=deque)
    climbed: dict[Step, str] = field(default_factory=dict)  # steps taken from the ladder -> their trials
    declared: Event | None = None
    looked: list[Event] = field(default_factory=list)
    ended: Event | None = None

    @property
    def searching(self) -> bool:
        """Whether any search may still ask for trials."""
        return any(search.searching for search in self.searches.values())

    def open(self, search: Search) -> bool:
        """Whether further trials of ``search`` may come, or paused ones go on (generations, promotions)."""
        if search.searching or search.cut:
            return search.searching
        scheduler = self.sweep.search.scheduler
        lasting = promotes(scheduler) or (isinstance(scheduler, PBT) and search.closed is None)
        return lasting and any(t.stage == "search" and self.of(t) is search for t in self.unfinished())

    @property
    def any_open(self) -> bool:
        return any(self.open(search) for search in self.searches.values())

    @property
    def asked(self) -> int:
        """Search trials asked for."""
        return sum(search.asked for search in self.searches.values())

    @property
    def confirmed(self) -> int:
        """Confirmation trials asked for."""
        return len(self.trials) - self.asked

    def of(self, trial: TrialState) -> Search:
        """The search that a search trial belongs to."""
        return self.searches[trial.arm, trial.replicate]

    def unfinished(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.state is None]

    def states(self, stage: str | None = None) -> dict[str, int]:
        """How many finished trials (of one stage) ended in each state."""
        found = [t.state for t in self.trials.values() if t.state and stage in (None, t.stage)]
        return dict(sorted(Counter(found).items()))

    def loss(self, metrics: Mapping[str, float]) -> float | None:
        """The objective, turned so that smaller is better; None if it is missing or not finite."""
        objective = self.sweep.search.objective
        value = metrics.get(objective.metric)
        if value is None or not math.isfinite(value):
            return None
        return -value if objective.mode == "max" else value

    def rank(self, trial: TrialState) -> float:
        """The last loss of a trial that has one."""
        loss = self.loss(trial.latest())
        if loss is None:
            raise InvalidEvent(f"{trial.id} {self.without_loss(trial.latest())}")
        return loss

    def value(self, loss: float) -> float:
        """The objective in its own direction."""
        return -loss if self.sweep.search.objective.mode == "max" else loss

    def without_loss(self, metrics: Mapping[str, float]) -> str:
        """Why :meth:`loss` is None."""
        metric = self.sweep.search.objective.metric
        value = metrics.get(metric)
        return f"did not report {metric}" if value is None else f"{metric} was {value}"

    def trim(self, trial: TrialState) -> None:
        """Let go of those of its checkpoints that nobody needs any more."""
        needed = self._needed(trial)
        start = [c for c in trial.checkpoints if trial.is_start(c)]
        own = trial.checkpoints[len(start) :]
        self.discarded |= {c["path"]: None for c in own if c["path"] not in needed}
        kept = [c for c in own if c["path"] in needed]
        trial.checkpoints = kept if trial.state is not None else start + kept

    def _needed(self, trial: TrialState) -> set[str]:
        """Paths of its own checkpoints that it or a child of it may have to go on from, or that are kept."""
        keep = self.sweep.resources.keep
        own = [c for c in trial.checkpoints if not trial.is_start(c)]
        paths = {c["path"] for c in own[-1:] if trial.state is None or "last" in keep}
        if trial.best is not None and "best" in keep:
            paths.add(trial.best["path"])
        children = (self.trials[name] for name in trial.children)
        return paths | {c["path"] for child in children if child.state is None for c in child.checkpoints[:1]}

    def take_discarded(self) -> list[str]:
        """The paths let go of since the last call, but for those recorded anew since; for the driver to
        delete once the events that led to it are on record. After a replay, all that were ever let go of."""
        paths, self.discarded = self.discarded, {}
        return list(paths)


def begin(opened: Event) -> SearchState:
    """The state after the opening event. Raises pydantic's ValidationError if the sweep is none."""
    if opened.get("event") != "opened":
        raise InvalidEvent(f"a ledger begins with opened, found {opened.get('event')}")
    sweep = SweepSpec.model_validate(opened["sweep"])
    bases = sweep.bases  # made anew each time
    searches = [
        _search(sweep, arm, base, replicate, opened.get("warm", ()))
        for replicate in range(sweep.replicates)
        for arm, base in bases.items()
    ]
    return SearchState(sweep, {search.key: search for search in searches}, opened["fence"])


def _search(
    sweep: SweepSpec, arm: str, base: TrialSpec, replicate: int, warm: Sequence[Mapping[str, Any]]
) -> Search:
    """All arms of a replicate have the same seeds, of their trials and of what the sampler draws."""
    plan = sweep.search
    if replicate:
        base = base.model_copy(update={"seed": base.seed + replicate})
        plan = plan.model_copy(update={"seed": stream_seed("replicate", plan.seed, replicate) % 2**31})
    return Search(arm, replicate, base, Study(plan, sweep.space, base, warm), plan.trials)
