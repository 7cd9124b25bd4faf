"""What became of every trial: the events of a sweep folded into one record a trial.

Both the tables of this room and the MLflow mirror read trials through this fold, so they cannot disagree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.ledger import LEFT_ITS_SLOT, Event
from ablate.spec.changes import changed


@dataclass
class TrialRecord:
    """One trial, as far as the ledger tells. Times are Unix seconds.

    ``state`` is COMPLETE, PRUNED, COLLAPSED or FAILED, and before that RUNNING, WAITING for a slot, or PAUSED
    since the end of its generation or since a rung. ``spec`` is empty and ``spec_hash`` None where the drawn
    parameters make no valid trial. ``replicate`` numbers the independent searches of an arm, and the
    confirmations of what they chose. One that is the ``duplicate_of`` another was not run and has its result;
    one with a ``parent`` went on from the weights of that one, which had been trained for ``inherited``
    epochs.
    """

    trial: str
    stage: str
    arm: str
    seed: int
    params: dict[str, Any]
    spec: dict[str, Any]
    spec_hash: str | None
    asked: float
    duplicate_of: str | None = None
    parent: str | None = None
    inherited: int = 0
    replicate: int = 0
    state: str = "WAITING"
    reason: str = ""
    epochs: int = 0
    started: float | None = None
    ended: float | None = None
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.ended is not None

    @property
    def own_epochs(self) -> int:
        """Epochs that were trained for this trial alone."""
        return 0 if self.duplicate_of else max(0, self.epochs - self.inherited)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of every metric; of a finished trial those that it was finished with."""
        if self.finished:
            return self.final
        return {name: value for _, row in sorted(self.curve.items()) for name, value in row.items()}


def fold_trials(events: Iterable[Event]) -> dict[str, TrialRecord]:
    """Records by trial id, in the order in which trials were asked for."""
    records: dict[str, TrialRecord] = {}
    for event in events:
        fold_event(records, event)
    return records


def fold_event(records: dict[str, TrialRecord], event: Event) -> None:
    """Bring ``records`` up to date with one more event. A trial that restarts loses its later epochs."""
    match event["event"]:
        case "asked":
            records[event["trial"]] = _asked(event)
        case "started":
            record = records[event["trial"]]
            record.state, record.started = "RUNNING", record.started or event["time"]
            record.duplicate_of = None  # that one failed, so this one is run after all
        case "reported":
            record, epoch = records[event["trial"]], event["epoch"]
            record.curve[epoch], record.epochs = event["metrics"], epoch
        case "paused":
            records[event["trial"]].state = "PAUSED"
        case "abandoned" | "retried":
            _rewind(records[event["trial"]], event["epoch"])
        case "resumed":
            for trial, epoch in event["epochs"].items():
                _rewind(records[trial], epoch)
        case "finished":
            record = records[event["trial"]]
            record.state, record.reason = event["state"], event["reason"]
            record.epochs, record.final, record.ended = event["epochs"], event["metrics"], event["time"]


def _asked(event: Event) -> TrialRecord:
    inherited = event["checkpoint"]["epoch"] if event["checkpoint"] else 0
    return TrialRecord(
        trial=event["trial"],
        stage=event["stage"],
        arm=event["arm"],
        seed=event["seed"],
        params=event["params"],
        spec=event["spec"] or {},
        spec_hash=event["spec_hash"],
        asked=event["time"],
        duplicate_of=event["duplicate_of"],
        parent=event["parent"],
        inherited=inherited,
        replicate=event.get("replicate", 0),
        epochs=inherited,
    )


def _rewind(record: TrialRecord, epoch: int) -> None:
    record.curve = {e: row for e, row in record.curve.items() if 0 < e <= epoch}
    if record.state != "PAUSED" or epoch < record.epochs:
        record.state = "WAITING"
    record.epochs = epoch
    record.ended, record.reason, record.final = None, "", {}


def natural_key(trial: str) -> tuple[str, int]:
    """Sort key of trial ids: by letters, then by number, so that t10000 follows t9999."""
    letters = re.match(r"\D*", trial)
    prefix = letters.group() if letters else ""
    return prefix, int(trial[len(prefix) :] or 0)


def slot_seconds(events: Iterable[Event]) -> dict[str, float]:
    """Seconds that each trial held slots; those of a driver that died count up to its last record."""
    held: defaultdict[str, float] = defaultdict(float)
    since: dict[str, float] = {}
    last = 0.0
    for event in events:
        name, now = event["event"], float(event["time"])
        if name == "resumed":
            left, until = list(since), last
        else:
            left, until = [event["trial"]] if name in LEFT_ITS_SLOT else [], now
        for trial in left:
            held[trial] += max(0.0, until - since.pop(trial, until))
        if name == "started":
            since[event["trial"]] = now
        last = now
    return held


def ending(events: Sequence[Event]) -> Event | None:
    """The event that ended the sweep. None if it has not ended, or goes on: a trial was retried, or the
    budget raised."""
    last = (e for e in reversed(events) if e["event"] in ("ended", "asked", "retried"))
    event = next(last, None)
    return event if event is not None and event["event"] == "ended" else None


def opening(events: list[Event]) -> Event:
    """The event that opened the sweep, with its resolved ``sweep`` as changed since. Raises ValueError if
    there is none."""
    if events and events[0]["event"] == "opened":
        sweep = events[0]["sweep"]
        for event in events:
            if event["event"] == "resumed":
                sweep = changed(sweep, event["changes"])
        return {**events[0], "sweep": sweep}
    raise ValueError("the ledger does not begin with an `opened` event: it is not the record of a sweep")
