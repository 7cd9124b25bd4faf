"""A copy of a sweep's search as an Optuna study, for optuna-dashboard. The ledger is the truth.

``optuna.journal`` in the sweep's folder is written anew from the ledger each time and then follows it while
the dashboard is open; it may be deleted. The study is named as the sweep and holds the search's trials under
their own numbers (a trial that was retried is there twice), with our trial's name, state and reason as user
attributes. COLLAPSED and FAILED are FAIL there, since they have no value. Confirmation is not part of it: its
scores are on fresh seeds and the test split, and would not compare.

Optuna's own ways into a storage cost a lock and a write to disk for each trial; here the whole journal is
made in memory and written once.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ablate.ledger import Event, Ledger, Position
from ablate.optuna_space import distribution
from ablate.report.trials import TrialRecord, fold_event
from ablate.spec.front import missing, violations
from ablate.spec.sweep import SweepSpec
from ablate.tracking.store import TrackingError
from ablate.tracking.ui import HOST, free_port

JOURNAL = "optuna.journal"
_INTERVAL = 2.0  # seconds between two looks at the ledger
_CONSTRAINTS = "constraints"  # where optuna-dashboard looks for them
_STATES = {
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "COLLAPSED": TrialState.FAIL,
    "FAILED": TrialState.FAIL,
    "WAITING": TrialState.WAITING,
}
_NEWS = ("asked", "started", "reported", "finished", "retried")  # of a trial
_log = logging.getLogger(__name__)


def serve_dashboard(folder: Path, port: int) -> None:
    """Serve optuna-dashboard on loopback on the search of the sweep in ``folder``, until Ctrl-C.

    Another port is taken, and named, if ``port`` is busy. Raises TrackingError if optuna-dashboard is not
    installed (the journal is written all the same), or if one is open on this sweep already.
    """
    try:
        with FileLock(folder / f"{JOURNAL}.open", timeout=0):
            mirror = StudyMirror(folder)
            if importlib.util.find_spec("optuna_dashboard") is None:
                raise TrackingError(
                    f"the search is in {mirror.path}, but what shows it is not installed: "
                    "pip install optuna-dashboard"
                )
            _serve(mirror, port)
    except Timeout:
        raise TrackingError(f"{folder}: a dashboard of this sweep is open already") from None


def _serve(mirror: StudyMirror, port: int) -> None:
    from optuna_dashboard import run_server

    free = free_port(port)
    if free != port:
        print(f"Port {port} is busy; taking {free}.")
    print(f"optuna-dashboard: http://{HOST}:{free}  (Ctrl-C stops it)", flush=True)
    done = threading.Event()
    thread = threading.Thread(target=mirror.follow, args=(done,), name="optuna-mirror", daemon=True)
    thread.start()
    try:
        run_server(mirror.storage, host=HOST, port=free)
    except KeyboardInterrupt:
        pass
    finally:
        done.set()
        thread.join()


class StudyMirror:
    """The study of the sweep in ``folder``, as its ledger is now and, with ``update``, from then on."""

    def __init__(self, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path = folder / JOURNAL
        self._ledger = folder / "ledger.jsonl"
        self._position = Position()
        self._records: dict[str, TrialRecord] = {}
        self._ids: dict[str, int] = {}  # trial -> Optuna's id of it
        self._shown: dict[str, tuple[str, int]] = {}  # trial -> its state and epoch as they are in the study
        self._sweep: SweepSpec | None = None
        self._study = -1
        memory = _Memory()
        self.storage = JournalStorage(memory)
        self.update()
        if self._sweep is None:
            raise TrackingError(f"{folder}: nothing is recorded yet")
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in memory.logs))
        partial.replace(self.path)
        self.storage = JournalStorage(JournalFileBackend(str(self.path)))

    def update(self) -> None:
        """Bring in what the ledger has gained. Raises LedgerError if it is damaged."""
        events, self._position = Ledger.tail(self._ledger, self._position)
        touched: dict[str, None] = {}  # in order
        for event in events:
            fold_event(self._records, event)
            touched |= dict.fromkeys(self._note(event))
        for trial in touched:
            if self._records[trial].stage == "search":
                self._bring(self._records[trial])

    def follow(self, done: threading.Event) -> None:
        """``update`` every few seconds until ``done``. What goes wrong is logged and ends it."""
        try:
            while not done.wait(_INTERVAL):
                self.update()
        except Exception:
            _log.exception("the dashboard no longer follows the sweep; open it anew")

    def _note(self, event: Event) -> Iterable[str]:
        """The trials an event is about; the first one makes the study."""
        if event["event"] == "opened":
            self._sweep = SweepSpec.model_validate(event["sweep"])
            objectives = (self._sweep.search.objective, *self._sweep.search.tradeoffs)
            directions = [
                StudyDirection.MAXIMIZE if o.mode == "max" else StudyDirection.MINIMIZE for o in objectives
            ]
            self._study = self.storage.create_new_study(directions, self._sweep.name)
            self.storage.set_study_user_attr(self._study, "question", self._sweep.question.strip())
            names = [o.metric for o in objectives]
            self.storage.set_study_system_attr(self._study, "study:metric_names", names)
        return [event["trial"]] if event["event"] in _NEWS else []

    def _bring(self, record: TrialRecord) -> None:
        shown = self._shown.get(record.trial)
        if shown is None or (_finished(shown[0]) and shown[0] != record.state):  # new, or retried
            self._ids[record.trial] = self.storage.create_new_trial(self._study, self._frozen(record))
        elif not _finished(shown[0]):
            self._bring_on(record, shown)
        self._shown[record.trial] = (record.state, record.epochs)

    def _bring_on(self, record: TrialRecord, shown: tuple[str, int]) -> None:
        """A trial that is in the study, and was not finished there."""
        identity, frozen = self._ids[record.trial], self._frozen(record)
        if shown[0] == "WAITING" and frozen.state != TrialState.WAITING:
            self.storage.set_trial_state_values(identity, TrialState.RUNNING)
        for epoch, value in frozen.intermediate_values.items():
            if epoch > shown[1]:
                self.storage.set_trial_intermediate_value(identity, epoch, value)
        if record.finished:
            for key, attribute in frozen.user_attrs.items():
                self.storage.set_trial_user_attr(identity, key, attribute)
            for key, attribute in frozen.system_attrs.items():
                self.storage.set_trial_system_attr(identity, key, attribute)
            self.storage.set_trial_state_values(identity, frozen.state, frozen.values)

    def _frozen(self, record: TrialRecord) -> FrozenTrial:
        """The trial as Optuna has it. Parameters outside the space, which PBT may make, are attributes."""
        assert self._sweep is not None
        search, metric = self._sweep.search, self._sweep.search.objective.metric
        entries = {key: distribution(entry) for key, entry in self._sweep.space.items()}
        inside = {k: v for k, v in record.params.items() if k in entries and _holds(entries[k], v)}
        state = _STATES.get(record.state, TrialState.RUNNING)
        complete = state == TrialState.COMPLETE and not missing(search, record.metrics)
        objectives = (search.objective, *search.tradeoffs)
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=[record.metrics[o.metric] for o in objectives] if complete else None,
            datetime_start=None if state == TrialState.WAITING else _date(record.started or record.asked),
            datetime_complete=_date(record.ended) if record.ended is not None else None,
            params=inside,
            distributions={key: entries[key] for key in inside},
            user_attrs={
                "trial": record.trial,
                "state": record.state,
                **({"reason": record.reason} if record.reason else {}),
                **{key: value for key, value in record.params.items() if key not in inside},
            },
            system_attrs={_CONSTRAINTS: violations(search, record.metrics)} if complete else {},
            intermediate_values={e: row[metric] for e, row in sorted(record.curve.items()) if metric in row},
        )


class _Memory(BaseJournalBackend):  # type: ignore[misc]
    """A journal that is written to a file later, at once."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


def _finished(state: str) -> bool:
    return bool(_STATES.get(state, TrialState.RUNNING).is_finished())


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
