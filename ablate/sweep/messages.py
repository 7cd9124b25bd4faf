"""What slots, the desk and the ranks of a gang say to each other. Values only; nothing here runs anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ablate.spec.trial import TrialSpec

# --- a slot asks the desk -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who asks: a slot, in one life of its process. A slot that Tune restarts begins another life."""

    slot: str
    life: str


@dataclass(frozen=True)
class SlotUp:
    """The slot's process has started; ``process`` is its Ray handle, by which it can be ended. ``remarks``:
    what its operator should know of its node."""

    process: Any
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noticed:
    """These nodes will be taken away (node -> why), the slot's own among them: it wants no work. A rank of a
    gang is told so out of turn."""

    notices: Mapping[str, str]


@dataclass(frozen=True)
class Worn:
    """The slot ends its process, which Tune then starts again: it has run long enough."""

    reason: str


@dataclass(frozen=True)
class WantLease:
    """A place for a gang; answered with Lease when the cluster has one, or with LEAVE."""


@dataclass(frozen=True)
class GangUp:
    """The gang runs in this Ray placement group."""

    group: str


@dataclass(frozen=True)
class GangGone:
    """The slot no longer has a gang."""


@dataclass(frozen=True)
class WantWork:
    """A trial; answered with Work as soon as there is one, or with LEAVE.

    ``node``: where the slot's process runs; ``kills``: processes killed there so far for want of memory.
    """

    node: str = ""
    kills: int = 0


@dataclass(frozen=True)
class Beat:
    """The trial moves: ``count`` grows with every command and every step of training. Not answered."""

    trial: str
    count: int


@dataclass(frozen=True)
class Reported:
    trial: str
    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Checkpointed:
    trial: str
    fence: int
    checkpoint: Any  # ablate.trial.Checkpoint, which the desk only passes on


@dataclass(frozen=True)
class Ended:
    trial: str
    state: str
    reason: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Crashed:
    """The workers of the trial died under it."""

    trial: str
    reason: str


@dataclass(frozen=True)
class Preempted:
    """The trial has left the slot, because these nodes will be taken away (node -> why)."""

    trial: str
    notices: Mapping[str, str]


@dataclass(frozen=True)
class Unreadable:
    """The checkpoint that the trial was to go on from is missing or damaged."""

    trial: str
    path: str
    reason: str


AboutTrial = Reported | Checkpointed | Ended | Crashed | Preempted | Unreadable
Request = SlotUp | Noticed | Worn | WantLease | GangUp | GangGone | WantWork | Beat | AboutTrial

# --- the desk answers -----------------------------------------------------------------------------------


class Verdict(Enum):
    GO = "go on"
    STOP = "this trial is no longer yours: ask for work"
    SAVE = "write a checkpoint, say where, then leave"
    PAUSE = "write a checkpoint, say where, then ask for work: this trial waits"
    LEAVE = "write nothing more and leave"


@dataclass(frozen=True)
class Lease:
    """A place for a gang, but not on the nodes ``avoid``."""

    avoid: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """One trial to run from ``checkpoint``, or from its beginning if that is None. ``hand_out`` numbers the
    times that this driver gave anybody a trial."""

    trial: str
    spec: TrialSpec
    stage: str
    arm: str
    folder: Path
    checkpoint: Any
    fence: int
    lineage: tuple[dict[str, Any], ...] = ()
    hand_out: int = 0

    @property
    def checkpoints(self) -> Path:
        """Where they are written: nobody else does, not even a slot that has lost this trial unawares."""
        return self.folder / f"{self.fence}-{self.hand_out}"


Reply = Verdict | Lease | Work

# --- a slot tells its worker, or every rank of its gang -------------------------------------------------


@dataclass(frozen=True)
class Start:
    """Make the trial ready; answers whether it is already done, or NoCheckpoint."""

    work: Work


@dataclass(frozen=True)
class NoCheckpoint:
    """The trial's checkpoint cannot be used; the trial is gone."""

    path: str
    reason: str


@dataclass(frozen=True)
class Step:
    """One epoch, or what is left of it; answers Stepped or Interrupted."""


@dataclass(frozen=True)
class Stepped:
    epoch: int
    metrics: dict[str, float]
    done: bool


@dataclass(frozen=True)
class Interrupted:
    """Nodes of the trial will be taken away (node -> why, as far as the rank knows), and so the epoch was
    left; ``begun``: after steps of it."""

    begun: bool
    notices: Mapping[str, str]


@dataclass(frozen=True)
class Save:
    """Write a checkpoint into ``folder``; answers the pointer."""

    folder: Path


@dataclass(frozen=True)
class Finish:
    """Read the test split and write artifacts; answers the test metrics."""


@dataclass(frozen=True)
class Rest:
    """Forget the trial, if there still is one; answers Rested."""


@dataclass(frozen=True)
class Rested:
    """A worker between two trials: the node it runs on, the bytes it holds, and how many processes the kernel
    has killed there so far for want of memory."""

    node: str
    memory: int
    kills: int


@dataclass(frozen=True)
class Hello:
    """Answers the id of the Ray placement group that the rank runs in."""


@dataclass(frozen=True)
class Close:
    """Return from the train loop; answers nothing."""


Command = Start | Step | Save | Finish | Rest | Hello | Close


@dataclass(frozen=True)
class Failed:
    """A command that ended its trial: ``state`` is COLLAPSED or FAILED."""

    state: str
    reason: str


@dataclass(frozen=True)
class Run:
    """One command to one rank. A reply counts only if it carries the same (gang, trial, sequence)."""

    gang: str
    trial: str
    sequence: int
    command: Command


@dataclass(frozen=True)
class Ran:
    gang: str
    trial: str
    sequence: int
    answer: Any


MakeTrial = Callable[..., Any]  # has the signature of ablate.trial.TrialRun


@dataclass(frozen=True)
class SlotPlan:
    """All that a slot needs to know for its whole life."""

    post: str  # name of the Post actor
    sweep: str
    run: str  # unique to this run of the driver
    workers: int
    cpus: int
    gpus: float
    checkpoint_every: int
    stall: float  # seconds without a step after which a trial is given up
    max_trials: int  # that a process runs before it is started afresh
    max_growth: int  # bytes that it may hold more than after its first trial, before it is started afresh
    cache: Path
    scratch: Path
    working_directory: Path
    make_trial: MakeTrial | None  # None: ablate.trial.TrialRun
    carry: bool = False  # whether files come and go through Ray where the driver's folder is not shared

    @property
    def folder(self) -> Path:
        """That of the sweep, on the driver's machine."""
        return self.scratch.parent
