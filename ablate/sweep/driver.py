"""The driver of a sweep: the one object that backends talk to. It decides nothing and runs nothing.

Whatever a slot says goes, in this order, through ``decide``, into the ledger (event and decisions with one
fsync), to the caller, and to subscribers. A driver that dies at any point can be resumed from the ledger.

    runs/<sweep>/sweep.json                       the resolved sweep
    runs/<sweep>/ledger.jsonl                     everything that happened and was decided
    runs/<sweep>/trials/<trial>/                  artifacts of a finished trial
    runs/<sweep>/trials/<trial>/<fence>/          its checkpoints, as written under one driver

Each driver of a sweep has a number, the fence. Workers of a killed driver may go on writing for a while; they
write under its old number, and only checkpoints recorded in the ledger are ever used.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger, plain
from ablate.search import SearchState, TrialState, begin, decide, refold
from ablate.spec.base import flatten
from ablate.spec.identity import code_digest
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.trial import Checkpoint

LEDGER = "ledger.jsonl"
SWEEP = "sweep.json"
_log = logging.getLogger(__name__)


class DriverError(Exception):
    """The sweep cannot be started, resumed or carried on; the message says what to do."""


@dataclass(frozen=True)
class Assignment:
    """A trial for a slot to run. ``checkpoint``: where to go on from; None: from the beginning.

    Artifacts go to ``folder``, checkpoints to ``folder / str(fence)``.
    """

    trial: str
    spec: TrialSpec
    stage: str
    arm: str
    folder: Path
    checkpoint: Checkpoint | None
    fence: int


class Driver:
    """Thread-safe. Holds the sweep's lock until closed; use it as a context manager."""

    def __init__(self, sweep: SweepSpec, runs: Path, *, resuming: bool = False) -> None:
        """Start ``sweep`` in ``runs/<name>/``, or go on with it if ``resuming``.

        Raises DriverError if there is a sweep of that name (or, resuming, another or none), LedgerBusy if
        another driver runs it, LedgerError if its ledger is damaged, ReplayMismatch if the ledger's decisions
        (but for the parameters it drew) cannot be reproduced.
        """
        self.sweep, self.folder = sweep, runs.absolute() / sweep.name
        self._mutex = threading.RLock()
        self._subscribers: list[Callable[[Event], None]] = []
        self._fault: BaseException | None = None
        if resuming and not self.path.exists():
            raise DriverError(f"{self.folder}: there is no sweep to resume")
        self._ledger = Ledger.open(self.path)
        try:
            events = Ledger.read(self.path)
            if events and not resuming:
                raise DriverError(_exists(sweep.name, self.folder))
            self._state = self._continue(events) if events else self._open()
        except BaseException:
            self._ledger.close()
            raise

    @classmethod
    def resume(cls, name: str, runs: Path) -> Driver:
        """Go on with the sweep in ``runs/<name>/`` as it was resolved when it began."""
        path = runs / name / SWEEP
        if not path.exists():
            known = ", ".join(sorted(p.parent.name for p in runs.glob(f"*/{SWEEP}"))) or "none"
            raise DriverError(f"{path.parent}: there is no sweep to resume; in {runs} there are: {known}")
        return cls(SweepSpec.model_validate(json.loads(path.read_text())), runs, resuming=True)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the sweep's lock back. Unfinished trials stay as they are, for ``resume``."""
        with self._mutex:
            if self._fault is None or not isinstance(self._fault, _Closed):
                self._fault = _Closed()
                self._ledger.close()

    @property
    def path(self) -> Path:
        """The ledger."""
        return self.folder / LEDGER

    @property
    def fence(self) -> int:
        return self._state.fence

    @property
    def finished(self) -> bool:
        """Nothing will ever be handed out again."""
        return self._state.ended is not None

    def next(self, slot: str) -> Assignment | None:
        """A trial for this slot; None: nothing to hand out right now (or, if ``finished``, ever again)."""
        with self._turn():
            if slot in self._state.slots:
                held = self._state.slots[slot]
                raise DriverError(
                    f"slot {slot} asks for work while it runs {held}; it must end or abandon it"
                )
            for decision in self._happened({"event": "wanted", "slot": slot}):
                if decision["event"] == "started":
                    return self._assignment(self._state.trials[decision["trial"]])
            return None

    def reported(self, trial: str, epoch: int, metrics: dict[str, float]) -> bool:
        """Record an epoch. False: stop this trial now; it is finished, or no longer this slot's.

        Reporting an epoch again changes nothing. Raises DriverError for an epoch out of turn.
        """
        with self._turn():
            known = self._trial(trial)
            if known.slot is None:
                return False
            if epoch in known.curve:
                return True
            self._check_turn(known, epoch)
            values = {name: float(value) for name, value in metrics.items()}
            self._happened({"event": "reported", "trial": trial, "epoch": epoch, "metrics": values})
            return known.state is None

    def checkpointed(self, trial: str, checkpoint: Checkpoint) -> None:
        """Record a checkpoint that has been written; the trial's earlier ones are then deleted."""
        with self._turn():
            known = self._trial(trial)
            if known.slot is None:
                return
            superseded = [c["path"] for c in known.checkpoints]
            path = self._portable(checkpoint.path)
            self._happened(
                {
                    "event": "checkpointed",
                    "trial": trial,
                    "epoch": checkpoint.epoch,
                    "path": path,
                    "digest": checkpoint.digest,
                    "fence": self.fence,
                }
            )
            for old in superseded:
                if old != path:
                    self._delete(self.folder / old)

    def ended(self, trial: str, state: str, reason: str, metrics: dict[str, float]) -> None:
        """Record how a trial ended: COMPLETE, COLLAPSED or FAILED (PRUNED after a stop is known already).

        Ignored for a trial that is finished or was taken from this slot.
        """
        with self._turn():
            if self._trial(trial).slot is None:
                return
            values = {name: float(value) for name, value in metrics.items()}
            self._happened(
                {"event": "outcome", "trial": trial, "state": state, "reason": reason, "metrics": values}
            )

    def abandoned(self, trial: str, reason: str) -> None:
        """The slot of this trial died. It is handed out again from its last checkpoint, at most
        ``search.MAX_ABANDONED`` times; then it is FAILED."""
        with self._turn():
            known = self._trial(trial)
            if known.slot is None:
                return
            epoch = self._restart_epoch(known)
            self._happened({"event": "abandoned", "trial": trial, "reason": reason, "epoch": epoch})

    def subscribe(self, subscriber: Callable[[Event], None], *, past: bool = False) -> None:
        """Call ``subscriber`` with every event from now on, in order; with ``past``, first with all before.

        It is called while the driver waits, so it must be quick. One that raises is logged and dropped: a
        view of the sweep must not end it.
        """
        with self._mutex:
            self._subscribers.append(subscriber)
            for event in Ledger.read(self.path) if past else []:
                if subscriber in self._subscribers:
                    self._notify(subscriber, event)

    def _open(self) -> SearchState:
        _write_atomically(self.folder / SWEEP, json.dumps(self.sweep.as_dict(), indent=2) + "\n")
        opened = plain(self._opening())
        self._ledger.append(opened)
        return begin(opened)

    def _opening(self) -> Event:
        return {"event": "opened", "sweep": self.sweep.as_dict(), "fence": 1, "made_by": _made_by()}

    def _continue(self, events: list[Event]) -> SearchState:
        _check_same(events[0]["sweep"], plain(self._opening())["sweep"], self.folder)
        self._state, due = refold(events)
        self._ledger.extend(due)
        if self._state.ended is None:
            _warn_of_other_code(events)
            epochs = {t.id: self._restart_epoch(t) for t in self._state.unfinished()}
            fence = self._state.fence + 1
            self._happened({"event": "resumed", "fence": fence, "made_by": _made_by(), "epochs": epochs})
        return self._state

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._mutex:
            if self._fault is not None:
                raise DriverError(
                    f"this driver has stopped: {self._fault}. Resume the sweep."
                ) from self._fault
            yield

    def _happened(self, event: Event) -> list[Event]:
        """Decide, record, tell; returns the decisions. After a failure in here the driver is unusable: its
        state may be ahead of the ledger."""
        try:
            event = plain(event)
            decisions = decide(self._state, event)
            in_vain = event["event"] == "wanted" and not decisions
            records = [] if in_vain else self._ledger.extend([event, *decisions])
        except BaseException as error:
            self._fault = error
            raise
        for record in records:
            for subscriber in list(self._subscribers):
                self._notify(subscriber, record)
        return decisions

    def _notify(self, subscriber: Callable[[Event], None], event: Event) -> None:
        try:
            subscriber(event)
        except Exception:
            _log.exception("a subscriber of the sweep failed at %s and is dropped", event["event"])
            self._subscribers.remove(subscriber)

    def _assignment(self, trial: TrialState) -> Assignment:
        if trial.spec is None:
            raise DriverError(f"{trial.id} has no spec")
        checkpoint = None
        if trial.checkpoints:
            last = trial.checkpoints[-1]
            checkpoint = Checkpoint(last["epoch"], str(self.folder / last["path"]), last["digest"])
        folder = self.folder / "trials" / trial.id
        return Assignment(trial.id, trial.spec, trial.stage, trial.arm, folder, checkpoint, self.fence)

    def _restart_epoch(self, trial: TrialState) -> int:
        """The epoch of the trial's last checkpoint that is still there; 0: it starts again."""
        there = [c["epoch"] for c in trial.checkpoints if (self.folder / c["path"]).exists()]
        if trial.checkpoints and not there:
            _log.warning("%s: its checkpoints are gone; it starts again", trial.id)
        return max(there, default=0)

    def _trial(self, trial: str) -> TrialState:
        if trial not in self._state.trials:
            raise DriverError(f"{self.sweep.name} has no trial {trial!r}")
        return self._state.trials[trial]

    def _check_turn(self, trial: TrialState, epoch: int) -> None:
        before = max([*trial.curve, *(c["epoch"] for c in trial.checkpoints)], default=0)
        expected = before + 1 if trial.last_epoch else 0
        if epoch != expected:
            raise DriverError(f"{trial.id} reported epoch {epoch} where epoch {expected} was due")

    def _delete(self, checkpoint: Path) -> None:
        try:
            checkpoint.unlink(missing_ok=True)
        except OSError as error:  # costs disk, not the sweep
            _log.warning("%s: a superseded checkpoint cannot be deleted: %s", checkpoint, error.strerror)

    def _portable(self, path: str) -> str:
        """Relative to the sweep's folder where possible, so that the folder can be moved."""
        absolute = Path(path).absolute()
        inside = absolute.is_relative_to(self.folder)
        return absolute.relative_to(self.folder).as_posix() if inside else str(absolute)


class _Closed(Exception):
    def __str__(self) -> str:
        return "it was closed"


def _made_by() -> dict[str, str]:
    return {"code": code_digest(), "optuna": version("optuna")}


def _warn_of_other_code(events: list[Event]) -> None:
    made = {e["made_by"]["code"] for e in events if e["event"] in ("opened", "resumed")}
    if made != {code_digest()}:
        _log.warning(
            "the code that trials depend on has changed since this sweep began; its trials may differ"
        )


def _exists(name: str, folder: Path) -> str:
    return (
        f"{folder}: there is a sweep of this name already. To go on with it: `ablate resume {name}`. "
        "To start afresh, give another folder with `--runs`, or another name with `--set name=...`."
    )


def _check_same(recorded: dict[str, Any], given: dict[str, Any], folder: Path) -> None:
    was, now = dict(flatten(recorded)), dict(flatten(given))
    changed = [key for key in {**was, **now} if was.get(key, ...) != now.get(key, ...)]
    if changed:
        raise DriverError(
            f"{folder}: this sweep began with other values of {', '.join(sorted(changed))}. Its results "
            "would not belong together: resume it as it was, or start the new one under another name."
        )


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
