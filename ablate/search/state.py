"""What is known of a sweep at one moment: the fold of its external events, and nothing else.

Only a state made to go on from a ledger also knows the parameters recorded there (``replay.refold``).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from ablate.ledger import Event
from ablate.search.asha import Rung
from ablate.search.sampler import Study
from ablate.spec.space import Scalar
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
    seed: int
    params: dict[str, Scalar]
    spec: TrialSpec | None  # None: the drawn parameters make no valid trial
    slot: str | None = None
    curve: dict[int, dict[str, float]] = field(default_factory=dict)  # dropped when finished
    checkpoints: list[Event] = field(default_factory=list)
    abandoned: int = 0
    epochs: int = 0
    state: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def last_epoch(self) -> int:
        return 0 if self.spec is None else self.spec.optim.epochs

    def latest(self) -> dict[str, float]:
        """The last value of each metric on the curve."""
        return {name: value for _, metrics in sorted(self.curve.items()) for name, value in metrics.items()}

    def rewind(self, epoch: int) -> None:
        """Forget what came after ``epoch``: it will be run and reported again."""
        self.slot = None
        self.curve = {e: m for e, m in self.curve.items() if e <= epoch and epoch > 0}
        self.epochs = max(self.curve, default=0)
        self.checkpoints = [c for c in self.checkpoints if c["epoch"] <= epoch]


@dataclass
class SearchState:
    """Changed by ``decide`` only. ``trials`` are in the order they were asked."""

    sweep: SweepSpec
    study: Study
    fence: int
    trials: dict[str, TrialState] = field(default_factory=dict)
    asked: int = 0
    recorded: dict[int, dict[str, Scalar]] = field(default_factory=dict)  # see ``replay.refold``
    waiting: deque[str] = field(default_factory=deque)  # asked, unfinished, run by nobody
    slots: dict[str, str] = field(default_factory=dict)  # slot -> the trial it runs
    unfinished_count: int = 0
    rungs: dict[int, Rung] = field(default_factory=dict)
    arms: dict[str, TrialSpec] = field(default_factory=dict)
    ladder: deque[tuple[str, int]] = field(default_factory=deque)
    chosen: Event | None = None
    ended: Event | None = None

    def unfinished(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.state is None]

    def states(self, stage: str | None = None) -> dict[str, int]:
        """How many finished trials (of one stage) ended in each state."""
        found = [t.state for t in self.trials.values() if t.state and stage in (None, t.stage)]
        return dict(sorted(Counter(found).items()))


def begin(opened: Event) -> SearchState:
    """The state after the opening event. Raises pydantic's ValidationError if the sweep is none."""
    if opened.get("event") != "opened":
        raise InvalidEvent(f"a ledger begins with opened, found {opened.get('event')}")
    sweep = SweepSpec.model_validate(opened["sweep"])
    return SearchState(sweep, Study(sweep.search, sweep.space, sweep.base), opened["fence"])
