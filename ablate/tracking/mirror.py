"""The mirror: a thread that follows a sweep's ledger and brings MLflow up to date with it.

The ledger is the truth and MLflow a copy of it: the mirror never writes to the ledger and no trial ever waits
for it. ``tracking.json`` in the sweep's folder remembers the store, the run ids and the mark: how many of the
ledger's records are in MLflow. The mark is moved after the writing, so a crash repeats some of it, which is
harmless (see ``runs``). While the store is out of reach the mark stands still and the mirror tries again,
more and more rarely; what is missing when a sweep ends is brought in by ``catch_up`` once the store is back.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ablate.durable import replace_file
from ablate.ledger import Event, Ledger, Position
from ablate.report.trials import TrialRecord, fold_event
from ablate.tracking.best import Best, BestPoint
from ablate.tracking.machine import Machine
from ablate.tracking.runs import Point, SweepRuns, sweep_id
from ablate.tracking.store import Store, find_store, hide_password, store_of

_log = logging.getLogger(__name__)
_INTERVAL = 1.0  # seconds between two looks at the ledger
_PATIENCE = (2.0, 60.0)  # seconds until the first attempt after a failure, and between the latest ones
_CATCHING_UP = 3600.0  # seconds; a store that is away gives up long before
_LAST_ATTEMPTS = 3  # at the end of the sweep
_TO_THE_END = 60.0  # seconds for the rest, once the sweep is over
_TOLD_TO_END = 5.0  # the same after Ctrl-C or SIGTERM, for whoever waits
_SLICE = 2000  # records between two savings of the mark
_SHOWN = ("started", "reported", "finished", "retried")  # what a run in MLflow shows of a trial's events


@dataclass(frozen=True)
class Mark:
    """``tracking.json``. ``uri`` is without a password; ``sequence``: records of the ledger that are in this
    store; ``closed``: nothing more will come."""

    uri: str
    experiment: str
    sweep_id: str
    sequence: int
    closed: bool

    @staticmethod
    def load(path: Path) -> Mark | None:
        """The saved mark; None if there is none."""
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        return Mark(**{key: found[key] for key in ("uri", "experiment", "sweep_id", "sequence", "closed")})

    def save(self, path: Path, runs: SweepRuns) -> None:
        """Write it all at once, with the ids of the runs for whoever wants to link to them."""
        content: dict[str, Any] = {
            **vars(self),
            "experiment_id": runs.experiment_id,
            "parent": runs.parent,
            "runs": {trial: child.run_id for trial, child in sorted(runs.children.items())},
        }
        replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


class Mirror:
    """Follows the ledger in ``folder``, a sweep's, from now until ``close``; as a context closes itself, and
    soon if a signal ends it.

    The store is ``uri``, or else $MLFLOW_TRACKING_URI, or else ``mlflow.db`` beside the folder; the
    experiment is ``experiment``, or else the sweep's name. Raises TrackingError for a URI that can never
    work; whatever else goes wrong is logged once and tried again. ``machine``: how busy this machine is, is
    recorded too.
    """

    def __init__(
        self, folder: Path, uri: str | None = None, experiment: str | None = None, *, machine: bool = True
    ) -> None:
        self.folder = folder.absolute()
        self.store = find_store(self.folder.parent, uri)
        self._experiment = experiment
        self._lock = FileLock(self.folder / "tracking.lock")
        self._follower: _Follower | None = None
        self._machine: Machine | None = None
        self._measures = machine
        self._wake, self._closing, self._complete = threading.Event(), False, False
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        told = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit))
        self.close(_TOLD_TO_END if told else _TO_THE_END)

    def close(self, timeout: float = _TO_THE_END) -> bool:
        """Bring in the rest, for at most ``timeout`` seconds. True if MLflow then holds everything."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        if not self._complete:
            _log.warning(
                "MLflow (%s) lacks a part of this sweep; `ablate ui` or `ablate resume %s` brings it in when "
                "the store is back. Nothing is lost: all of it is in %s",
                self.store.shown,
                self.folder.name,
                self.folder,
            )
        return self._complete

    def _run(self) -> None:
        failures = 0
        if self._measures:
            self._machine = Machine()
        while not self._complete:
            closing, started = self._closing, time.monotonic()
            try:
                if self._machine is not None:
                    self._machine.sample()
                self._once(closing)
            except Exception as error:
                failures += 1
                self._follower = None  # the next one looks up what arrived all the same
                if failures == 1:
                    text = "MLflow (%s) cannot be written to; it will be tried again: %s"
                    said = hide_password(" ".join(str(error).split())[:200], self.store.uri)
                    _log.warning(text, self.store.shown, said)
                if closing and failures >= _LAST_ATTEMPTS:
                    break
                pause = _INTERVAL if closing else min(_PATIENCE[0] * 2 ** (failures - 1), _PATIENCE[1])
            else:
                failures = 0
                # Never more than a fifth of the time, however long the ledger or slow the store.
                pause = max(_INTERVAL, 4 * (time.monotonic() - started))
            if not self._complete and self._wake.wait(pause):
                self._wake.clear()
        self._lock.release(force=True)

    def _once(self, closing: bool) -> None:
        if not self._lock.is_locked:
            self._lock.acquire(timeout=0)
        if self._follower is None:
            self._follower = _Follower.attach(self.folder, self.store, self._experiment)
        if self._follower is not None:
            self._follower.drain()
            if self._machine is not None:
                self._follower.runs.log_machine(self._machine.waiting)
                self._machine.waiting.clear()
            if closing:
                self._follower.close()
        self._complete = closing


class _Follower:
    """A connection to MLflow, and the place in the ledger up to where it has been brought in."""

    def __init__(
        self, folder: Path, store: Store, experiment: str | None, events: list[Event], end: Position
    ) -> None:
        self.folder, self._position = folder, end
        opened = events[0]
        self.uri, self.experiment = store.shown, experiment or opened["sweep"]["name"]
        self.runs = SweepRuns(store, self.experiment, opened)
        self.records: dict[str, TrialRecord] = {}
        self.seen: dict[str, int] = {}  # the last epoch of each trial
        self.ended: float | None = None
        self._best = Best(opened["sweep"])
        done = self._done(sweep_id(opened)) if self.runs.found else 0
        for event in events[:done]:
            self._note(event)
        self._waiting = events[done:]

    @classmethod
    def attach(cls, folder: Path, store: Store, experiment: str | None) -> _Follower | None:
        """Connect and go on from the saved mark, if it is of this sweep and store. None: no ledger yet."""
        path = folder / "ledger.jsonl"
        events, end = Ledger.tail(path) if path.exists() else ([], Position())
        return cls(folder, store, experiment, events, end) if events else None

    def _done(self, sweep: str) -> int:
        mark = Mark.load(self.folder / "tracking.json")
        here = (self.uri, self.experiment, sweep)
        return mark.sequence if mark and (mark.uri, mark.experiment, mark.sweep_id) == here else 0

    def drain(self) -> None:
        """Bring in what the ledger has more than MLflow."""
        events, self._position = Ledger.tail(self.folder / "ledger.jsonl", self._position)
        self._waiting += events
        while self._waiting:
            events, self._waiting = self._waiting[:_SLICE], self._waiting[_SLICE:]
            self._bring(events)
            self._save(events[-1]["sequence"] + 1, closed=False)

    def close(self) -> None:
        """The driver is gone: end the parent if the sweep has ended, or else say that it was cut short."""
        if self.ended is not None:
            self.runs.end(self.folder, self.ended)
        else:
            self.runs.interrupt(self.folder)
        self._save(self._position.sequence, closed=True)

    def _save(self, sequence: int, *, closed: bool) -> None:
        mark = Mark(self.uri, self.experiment, self.runs.id, sequence, closed)
        mark.save(self.folder / "tracking.json", self.runs)

    def _bring(self, events: list[Event]) -> None:
        points: dict[str, list[Point]] = {}
        best: list[BestPoint] = []
        for event in events:
            if event["event"] == "reported" and event["epoch"] > self.seen.get(event["trial"], -1):
                point = (event["epoch"], event["time"], event["metrics"])
                points.setdefault(event["trial"], []).append(point)
            best += self._note(event)
        if any(event["event"] == "resumed" for event in events):
            self.runs.reopen()
        again = {event["trial"] for event in events if event["event"] == "retried"}
        for trial in dict.fromkeys(event["trial"] for event in events if event["event"] in _SHOWN):
            folder = self.folder / "trials" / trial
            self.runs.update(self.records[trial], points.get(trial, []), folder, again=trial in again)
        self.runs.log_best(best)

    def _note(self, event: Event) -> list[BestPoint]:
        fold_event(self.records, event)
        if event["event"] == "reported":
            self.seen[event["trial"]] = max(event["epoch"], self.seen.get(event["trial"], -1))
        elif event["event"] in ("asked", "retried"):
            self.ended = None
        elif event["event"] == "ended":
            self.ended = event["time"]
        elif event["event"] == "finished" and (point := self._best.note(self.records[event["trial"]])):
            return [point]
        return []


def catch_up(folder: Path) -> bool:
    """Bring its store up to date with a sweep that no driver runs now; True if it then holds everything.

    Returns False at once if a driver's own mirror is at work on it. Raises TrackingError as ``Mirror`` does.
    """
    (store, experiment), mark = store_of(folder), Mark.load(folder / "tracking.json")
    if mark is not None and mark.closed and mark.uri == store.shown:
        return True
    try:
        with FileLock(folder / "tracking.lock", timeout=0):
            pass
    except Timeout:
        return False
    return Mirror(folder, store.uri, experiment, machine=False).close(_CATCHING_UP)
