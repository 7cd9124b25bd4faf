"""The driver of a sweep: the one object that backends talk to. It decides nothing and runs nothing.

Whatever a slot says goes, in this order, through ``decide``, into the ledger (event and decisions with one
fsync), to the caller, and to subscribers. A driver that dies at any point can be resumed from the ledger. The
same way go what the clock says (budgets in hours) and what an operator asks for, at each ``tick``.

    runs/<sweep>/sweep.json                       the resolved sweep, as it is now
    runs/<sweep>/ledger.jsonl                     everything that happened and was decided
    runs/<sweep>/trials/<trial>/                  artifacts of a finished trial, and its log.txt (``logs``)
    runs/<sweep>/trials/<trial>/<fence>/          its checkpoints, as written under one driver;
    runs/<sweep>/trials/<trial>/<fence>-<n>/      on Ray: under its n-th hand-out of a trial

Each driver of a sweep has a number, the fence. Workers of a killed driver, or on a node that was cut off, may
go on writing for a while; they write under their old number, and only checkpoints recorded in the ledger are
ever used.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.durable import make_folder, sync, write_durably
from ablate.ledger import Event, Ledger, Log, StoreError, plain
from ablate.search import TrialState, begin, decide, refold
from ablate.search.warm import WarmStartError, read_warm
from ablate.spec.changes import ADVICE, as_measured, changed, differences, forbidden
from ablate.spec.identity import code_digest
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.requests import Request
from ablate.sweep.spent import Spent
from ablate.trial import Checkpoint

if TYPE_CHECKING:
    from ablate.sweep.storage import SweepStorage

LEDGER = "ledger.jsonl"
SWEEP = "sweep.json"
_log = logging.getLogger(__name__)


class DriverError(Exception):
    """The sweep cannot be started, resumed or carried on; the message says what to do."""


class Order(Enum):
    """What a slot is to do with its trial."""

    GO = "go on"
    STOP = "leave this trial: it is finished, or no longer this slot's"
    PAUSE = "save now; once the checkpoint is recorded the trial has left its slot"


@dataclass(frozen=True)
class Assignment:
    """A trial for a slot to run. ``checkpoint``: where to go on from; None: from the beginning.

    Artifacts go to ``folder``, checkpoints to ``folder / str(fence)`` or, on Ray, a folder of each hand-out
    (see ``Work.checkpoints``). ``lineage`` names the trials from
    whose weights it goes on, the oldest first: {trial, spec_hash, epochs: those it was trained for until
    another went on from it}.
    """

    trial: str
    spec: TrialSpec
    stage: str
    arm: str
    folder: Path
    checkpoint: Checkpoint | None
    fence: int
    lineage: tuple[dict[str, Any], ...] = ()


def _no_requests() -> list[Request]:
    return []


class Driver:
    """Thread-safe. Holds the sweep's lock until closed; use it as a context manager."""

    def __init__(
        self,
        sweep: SweepSpec,
        runs: Path,
        *,
        resuming: bool = False,
        changes: SweepSpec | None = None,
        open_log: Callable[[Path], Log] = Ledger.open,
        clock: Callable[[], float] = time.time,
        requests: Callable[[], Sequence[Request]] = _no_requests,
        storage: SweepStorage | None = None,
        settle: Callable[[SweepSpec, Path], SweepSpec] | None = None,
    ) -> None:
        """Start ``sweep`` in ``runs/<name>/``, or go on with it if ``resuming``.

        ``changes`` is the sweep as it is to be from now on (``spec.changes`` says what may differ); ``clock``
        gives Unix seconds; ``requests`` takes what operators left; ``storage`` holds the checkpoints that are
        not here. ``settle(sweep, folder)`` is called once, when a sweep begins, and returns it as it is to be
        recorded (``sweep.packing``); whatever it raises is raised, and nothing has begun.

        Raises DriverError if there is a sweep of that name (or, resuming, another or none, or one that may
        not change so) or nothing is to ``settle`` its ``resources.gpus: auto``, LedgerBusy if another driver
        runs it, LedgerError if its ledger is damaged, ReplayMismatch if the ledger's decisions (but for the
        parameters it drew) cannot be reproduced.
        """
        self.sweep, self.folder = sweep, runs.absolute() / sweep.name
        self._clock, self._requests, self._storage = clock, requests, storage
        self._mutex = threading.RLock()
        self._subscribers: list[Callable[[Event], None]] = []
        self._fault: BaseException | None = None
        self._spent = Spent()
        self._draining = False
        self._resumed = not resuming  # or else this driver has no fence of its own yet
        if resuming and open_log == Ledger.open and not self.path.exists():
            raise DriverError(f"{self.folder}: there is no sweep to resume")
        self._ledger = open_log(self.path)
        try:
            events = self._ledger.events()
            if events and not resuming:
                raise DriverError(_exists(sweep.name, self.folder))
            if events:
                self._continue(events, changes)
            else:
                self.sweep = changes or sweep
                self._open(settle)
        except BaseException:
            self._ledger.close()
            raise

    @classmethod
    def resume(cls, name: str, runs: Path, **options: Any) -> Driver:
        """Go on with the sweep in ``runs/<name>/``; ``options`` are those of :class:`Driver`."""
        path = runs / name / SWEEP
        if not path.exists():
            known = ", ".join(sorted(p.parent.name for p in runs.glob(f"*/{SWEEP}"))) or "none"
            raise DriverError(f"{path.parent}: there is no sweep to resume; in {runs} there are: {known}")
        sweep = SweepSpec.model_validate(json.loads(path.read_text()))
        return cls(sweep, runs, resuming=True, **options)

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
        """Nothing will be handed out any more, unless an operator has a trial run again."""
        return self._state.ended is not None

    @property
    def draining(self) -> bool:
        """An operator wants this driver to end: running trials are to be saved, and nothing new begun."""
        return self._draining

    def drain(self) -> None:
        """End as if an operator had asked for a pause. Only sets a flag: a signal may come at any moment."""
        self._draining = True

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

    def reported(self, trial: str, epoch: int, metrics: dict[str, float]) -> Order:
        """Record an epoch; reporting it again changes nothing. Raises DriverError for one out of turn."""
        with self._turn():
            known = self._trial(trial)
            if known.slot is not None and epoch not in known.curve:
                self._check_turn(known, epoch)
                values = {name: float(value) for name, value in metrics.items()}
                self._happened({"event": "reported", "trial": trial, "epoch": epoch, "metrics": values})
            return _order(known)

    def checkpointed(self, trial: str, checkpoint: Checkpoint) -> Order:
        """Record a checkpoint that has been written: GO, or STOP if the trial has left its slot.

        Checkpoints that nobody needs any more are then deleted.
        """
        with self._turn():
            known = self._trial(trial)
            if known.slot is not None:
                self._happened(
                    {
                        "event": "checkpointed",
                        "trial": trial,
                        "epoch": checkpoint.epoch,
                        "path": self._portable(checkpoint.path),
                        "digest": checkpoint.digest,
                        "fence": self.fence,
                        **({"step": checkpoint.step} if checkpoint.step else {}),
                    }
                )
            return _order(known)

    def ended(self, trial: str, state: str, reason: str, metrics: dict[str, float]) -> None:
        """Record how a trial ended: COMPLETE, COLLAPSED or FAILED (PRUNED after a stop is known already).

        Ignored for a trial that is finished or was taken from this slot. Raises DriverError for HALTED (see
        ``TrialFailure``): this driver stops with the trial unfinished.
        """
        with self._turn():
            if self._trial(trial).slot is None:
                return
            if state == "HALTED":
                self._fault = DriverError(f"{reason}. Nothing recorded is lost: see to it, then resume")
                raise self._fault
            values = {name: float(value) for name, value in metrics.items()}
            self._happened(
                {"event": "outcome", "trial": trial, "state": state, "reason": reason, "metrics": values}
            )

    def abandoned(self, trial: str, reason: str, *, preempted: bool = False) -> None:
        """The slot of this trial died. It is handed out again from its last checkpoint, at most
        ``search.MAX_ABANDONED`` times; then it is FAILED. ``preempted``: it left because its node will be
        taken away, which does not count."""
        with self._turn():
            known = self._trial(trial)
            if known.slot is None:
                return
            epoch = self._restart_epoch(known)
            event = {"event": "abandoned", "trial": trial, "reason": reason, "epoch": epoch}
            self._happened(event | ({"preempted": True} if preempted else {}))

    def tick(self) -> None:
        """Look at the clock and at what operators want. To be called at least once a second."""
        with self._turn():
            self._look_at_budgets()
            for request in self._requests():
                try:
                    self._carry_out(request)
                except DriverError as error:
                    _log.warning("ignored a request: %s", error)

    def halt(self, by: str, reason: str, *, running: str, confirm: bool) -> None:
        """End the search (``by``, ``running``, ``confirm``: see ``ledger.events``).

        Raises DriverError if there is nothing to end.
        """
        with self._turn():
            state = self._state
            searching = state.searching or any(t.stage == "search" for t in state.unfinished())
            if self.finished or (confirm and not searching):
                raise DriverError(f"{self.sweep.name}: its search is over")
            self._happened(
                {"event": "halted", "by": by, "reason": reason, "running": running, "confirm": confirm}
            )

    def cancel(self, trial: str, reason: str = "stopped by the operator") -> None:
        """End one trial as PRUNED. Raises DriverError if it is not under way."""
        with self._turn():
            if (known := self._trial(trial)).state is not None:
                raise DriverError(f"{trial} has ended already: {known.state}")
            self._happened({"event": "cancelled", "trial": trial, "reason": reason})

    def retry(self, trial: str) -> None:
        """Have a FAILED trial run again, from its last checkpoint if it is there; an ended sweep goes on.

        What the sweep has chosen stays chosen. Raises DriverError if the trial did not fail or cannot run.
        """
        with self._turn():
            known = self._trial(trial)
            if known.state != "FAILED":
                raise DriverError(f"{trial} is {known.state or 'under way'}; only a FAILED trial runs again")
            if known.spec is None:
                raise DriverError(f"{trial} cannot run: its configuration is impossible")
            epoch = self._restart_epoch(known)
            if epoch < known.inherited:
                raise DriverError(f"{trial} cannot run: the weights of {known.parent}, its start, are gone")
            self._happened({"event": "retried", "trial": trial, "epoch": epoch})
            if not self._resumed:
                self._resume({})

    def subscribe(self, subscriber: Callable[[Event], None], *, past: bool = False) -> None:
        """Call ``subscriber`` with every event from now on, in order; with ``past``, first with all before.

        It is called while the driver waits, so it must be quick. One that raises is logged and dropped: a
        view of the sweep must not end it.
        """
        with self._mutex:
            self._subscribers.append(subscriber)
            for event in self._ledger.events() if past else []:
                if subscriber in self._subscribers:
                    self._notify(subscriber, event)

    def _open(self, settle: Callable[[SweepSpec, Path], SweepSpec] | None) -> None:
        if settle is None and self.sweep.resources.gpus == "auto":
            raise DriverError(
                f"{self.folder}: this sweep has not begun, for resources.gpus is auto and not measured yet. "
                f"`ablate resume {self.sweep.name}` measures it, or takes a number: --set resources.gpus=1"
            )
        warm = self._read_warm()
        self._write_sweep()
        if settle is not None and (settled := settle(self.sweep, self.folder)) != self.sweep:
            self.sweep = settled
            self._write_sweep()
        opened: Event = {
            "event": "opened",
            "sweep": self.sweep.as_dict(),
            "fence": 1,
            "made_by": _made_by(self.sweep),
            "warm": warm,
        }
        opened = plain(opened)
        for record in self._ledger.extend([opened]):
            self._spent.see(record)
        self._state = begin(opened)

    def _read_warm(self) -> list[dict[str, Any]]:
        try:
            warm = read_warm(self.sweep, code_digest(self.sweep))
        except WarmStartError as error:
            raise DriverError(str(error)) from error
        for note in warm.notes:
            _log.warning("warm start: %s", note)
        return warm.trials

    def _continue(self, events: list[Event], changes: SweepSpec | None) -> None:
        if not self._inside(self.folder / "trials"):
            raise DriverError(
                f"{self.folder / 'trials'} is a link out of the sweep's folder, where nothing is read or "
                "deleted; link the whole folder of runs instead"
            )
        self._state, due = refold(events)
        recorded = self._state.sweep
        _check_same(events, as_measured(self.sweep, recorded), self.folder)
        new = plain(differences(recorded.as_dict(), as_measured(changes or recorded, recorded).as_dict()))
        self._check_changes(new)
        for record in [*events, *self._ledger.extend(due)]:
            self._spent.see(record)
        self.sweep = recorded
        if self._state.ended is None or new:
            _warn_of_other_code(events, self.sweep)
            self._resume(new)
        self._write_sweep()

    def _resume(self, changes: dict[str, Any]) -> None:
        """Take a fence, and take note that nobody runs anything."""
        self._resumed = True
        epochs = {t.id: self._restart_epoch(t) for t in self._state.unfinished()}
        self._happened(
            {
                "event": "resumed",
                "fence": self._state.fence + 1,
                "made_by": _made_by(self.sweep),
                "epochs": epochs,
                "changes": changes,
            }
        )
        self.sweep = self._state.sweep

    def _check_changes(self, changes: dict[str, Any]) -> None:
        state = self._state
        chosen = ", ".join(s.chosen["trial"] for s in state.searches.values() if s.chosen)
        if reasons := forbidden(changes):
            listed = "; ".join(f"{key} ({reason})" for key, reason in reasons.items())
            raise DriverError(f"{self.folder}: a sweep that has begun may not change {listed}. {ADVICE}")
        larger = [key for key in changes if key.startswith("search.")]
        if larger and state.confirmed:
            raise DriverError(
                f"{self.folder}: {', '.join(larger)} cannot change any more: the search is over, and its "
                f"choice ({chosen}) is being confirmed or was. A new sweep may go on from what this one "
                f"knows, with `search.warm_start: [{self.folder}]`."
            )
        if "search.trials" in changes and self.sweep.search.scheduler.kind == "pbt":
            raise DriverError(f"{self.folder}: search.trials cannot change under PBT: it is the population")

    def _write_sweep(self) -> None:
        _write(self.folder / SWEEP, json.dumps(self.sweep.as_dict(), indent=2) + "\n")

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
        self._delete_discarded()
        for record in records:
            self._spent.see(record)
            for subscriber in list(self._subscribers):
                self._notify(subscriber, record)
        return decisions

    def _look_at_budgets(self) -> None:
        budget, state = self.sweep.search.budget, self._state
        if (budget.hours, budget.gpu_hours, budget.arm_hours) == (None, None, None) or not state.any_open:
            return
        now, resources = self._clock(), self.sweep.resources
        gpus = resources.workers * resources.gpu_share
        for by, limit, spent in (
            ("hours", budget.hours, self._spent.hours(now)),
            ("gpu_hours", budget.gpu_hours, self._spent.slot_hours(now) * gpus),
        ):
            if limit is not None and spent >= limit and state.any_open:
                reason = f"{spent:.3g} {by.replace('gpu_', 'GPU ')} were spent, of {limit:g} budgeted"
                self.halt(by, reason, running="finish", confirm=True)
        self._look_at_each_search(now)

    def _look_at_each_search(self, now: float) -> None:
        limit = self.sweep.search.budget.arm_hours
        for key, spent in self._spent.hours_by_search(now).items() if limit is not None else ():
            if limit is not None and spent >= limit and self._state.open(self._state.searches[key]):
                reason = f"{spent:.3g} hours of slots were spent, of {limit:g} budgeted"
                self._happened({"event": "spent", "arm": key[0], "replicate": key[1], "reason": reason})

    def _carry_out(self, request: Request) -> None:
        match request.kind:
            case "pause":
                self._draining = True
            case "stop":
                self.halt("operator", "stopped by the operator", running="stop", confirm=request.confirm)
            case "cancel" if request.trial is not None:
                self.cancel(request.trial)
            case "retry" if request.trial is not None:
                self.retry(request.trial)

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
        if (start := self._start(trial)) is not None:
            path = str(self.folder / start["path"])
            checkpoint = Checkpoint(start["epoch"], path, start["digest"], start.get("step", 0))
        return Assignment(
            trial=trial.id,
            spec=trial.spec,
            stage=trial.stage,
            arm=trial.arm,
            folder=self.folder / "trials" / trial.id,
            checkpoint=checkpoint,
            fence=self.fence,
            lineage=self._lineage(trial),
        )

    def _lineage(self, trial: TrialState) -> tuple[dict[str, Any], ...]:
        if trial.parent is None:
            return ()
        parent = self._state.trials[trial.parent]
        link = {"trial": parent.id, "spec_hash": parent.spec_hash, "epochs": trial.inherited}
        return (*self._lineage(parent), link)

    def _start(self, trial: TrialState) -> Event | None:
        """The checkpoint that the trial goes on from; None: its beginning. There may be several after so many
        epochs, written at the end of the last and within the next."""
        latest = [c for c in reversed(trial.checkpoints) if c["epoch"] == trial.epochs]
        fitting = [c for c in latest if self._inside(self.folder / c["path"])]
        there = (c for c in fitting if self._there(self.folder / c["path"]))
        return next(there, fitting[0] if fitting and trial.epochs else None)

    def _restart_epoch(self, trial: TrialState) -> int:
        """The epochs of the trial's last checkpoint that is still there; 0 also where it starts again."""
        there = [c["epoch"] for c in trial.checkpoints if self._there(self.folder / c["path"])]
        if trial.checkpoints and not there:
            _log.warning("%s: its checkpoints are gone; it starts again", trial.id)
        return max(there, default=0)

    @property
    def stored(self) -> bool:
        """Whether checkpoints and artifacts go to a storage that all machines reach."""
        return self._storage is not None

    def _trial(self, trial: str) -> TrialState:
        if trial not in self._state.trials:
            raise DriverError(f"{self.sweep.name} has no trial {trial!r}")
        return self._state.trials[trial]

    def _check_turn(self, trial: TrialState, epoch: int) -> None:
        before = max([*trial.curve, *(c["epoch"] for c in trial.checkpoints)], default=0)
        expected = before + 1 if trial.last_epoch else 0
        if epoch != expected:
            raise DriverError(f"{trial.id} reported epoch {epoch} where epoch {expected} was due")

    def _delete_discarded(self) -> None:
        """Best effort: what stays costs disk, not the sweep."""
        named = [self.folder / path for path in self._state.take_discarded()]
        paths = [path for path in named if self._inside(path)]
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a superseded checkpoint cannot be deleted: %s", error)
        if self._storage is not None and paths:
            try:
                self._storage.delete(paths)
            except StoreError as error:
                _log.warning("superseded checkpoints cannot be deleted: %s", error)

    def _there(self, checkpoint: Path) -> bool:
        if not self._inside(checkpoint):
            return False
        return checkpoint.exists() or (self._storage is not None and self._storage.exists(checkpoint))

    def _inside(self, path: Path) -> bool:
        """Whether it is this sweep's to read and delete: the ledger may have been written by others, and the
        folder unpacked with links in it."""
        return path.resolve().is_relative_to(self.folder.resolve())

    def _portable(self, path: str) -> str:
        """Relative to the sweep's folder where possible, so that the folder can be moved."""
        absolute = Path(path).absolute()
        inside = absolute.is_relative_to(self.folder)
        return absolute.relative_to(self.folder).as_posix() if inside else str(absolute)


class _Closed(Exception):
    def __str__(self) -> str:
        return "it was closed"


def _made_by(sweep: SweepSpec) -> dict[str, str]:
    return {"code": code_digest(sweep), "optuna": version("optuna")}


def _warn_of_other_code(events: list[Event], sweep: SweepSpec) -> None:
    made = {e["made_by"]["code"] for e in events if e["event"] in ("opened", "resumed")}
    if made != {code_digest(sweep)}:
        _log.warning(
            "the code that trials depend on has changed since this sweep began; its trials may differ"
        )


def _exists(name: str, folder: Path) -> str:
    return (
        f"{folder}: there is a sweep of this name already. To go on with it: `ablate resume {name}`. "
        "To start afresh, give another folder with `--runs`, or another name with `--set name=...`."
    )


def _check_same(events: list[Event], given: SweepSpec, folder: Path) -> None:
    """``given`` must be the sweep as it began, or as it was after a change (a crash may leave that file)."""
    stage, now = events[0]["sweep"], plain(given.as_dict())
    stages = [stage]
    for event in events:
        if event["event"] == "resumed" and event["changes"]:
            stages.append(stage := changed(stage, event["changes"]))
    if now not in stages:
        raise DriverError(
            f"{folder}: this sweep began with other values of {', '.join(differences(stage, now))}. {ADVICE} "
            f"To change what may: `ablate resume {given.name} --set KEY=VALUE`."
        )


def _order(trial: TrialState) -> Order:
    if trial.slot is None:
        return Order.STOP
    return Order.PAUSE if trial.pausing else Order.GO


def _write(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)  # a ledger need not lie in this folder
        write_durably(path, text.encode(), reserve=0)  # the reserve is for what a sweep cannot do without
        sync(path.parent)
    except OSError as error:
        raise DriverError(f"{path}: cannot be written: {error.strerror}") from error
