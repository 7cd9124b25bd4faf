"""What became of every trial: the events of a sweep folded into one record a trial.

Both the tables of this room and the MLflow mirror read trials through this fold, so they cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class TrialRecord:
    """One trial, as far as the ledger knows it. Times are Unix seconds."""

    trial: str
    stage: str
    arm: str
    seed: int
    params: dict[str, Any]
    spec: dict[str, Any]
    spec_hash: str
    asked: float
    state: str = "WAITING"
    reason: str = ""
    epochs: int = 0
    started: float | None = None
    ended: float | None = None
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    reported: dict[int, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.ended is not None

    @property
    def metrics(self) -> dict[str, float]:
        """The last value reported of every metric, and the final ones over them."""
        last: dict[str, float] = {}
        for epoch in sorted(self.curve):
            last |= self.curve[epoch]
        return last | self.final


def fold_trials(events: Iterable[Event]) -> dict[str, TrialRecord]:
    """Records by trial id, in the order in which trials were asked for.

    A trial that was interrupted and resumed may report an epoch again; the first report counts. States
    beside those of finished trials (COMPLETE, PRUNED, COLLAPSED, FAILED) are WAITING and RUNNING.
    """
    records: dict[str, TrialRecord] = {}
    for event in events:
        kind = event["event"]
        if kind == "asked":
            records[event["trial"]] = _asked(event)
        elif kind in ("started", "reported", "finished"):
            _advance(records[event["trial"]], event)
    return records


def _asked(event: Event) -> TrialRecord:
    return TrialRecord(
        trial=event["trial"],
        stage=event["stage"],
        arm=event["arm"],
        seed=event["seed"],
        params=event["params"],
        spec=event["spec"],
        spec_hash=event["spec_hash"],
        asked=event["time"],
    )


def _advance(record: TrialRecord, event: Event) -> None:
    if event["event"] == "started":
        record.started = record.started or event["time"]
        record.state = "RUNNING"
    elif event["event"] == "reported":
        if event["epoch"] not in record.curve:
            record.curve[event["epoch"]] = _numbers(event["metrics"])
            record.reported[event["epoch"]] = event["time"]
            record.epochs = max(record.epochs, event["epoch"])
    else:
        record.state, record.reason = event["state"], event["reason"] or ""
        record.epochs, record.ended = event["epochs"], event["time"]
        record.final = _numbers(event["metrics"] or {})


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}


def natural_key(trial: str) -> tuple[str, int, str]:
    """Sort key of trial ids: by letters, then by number, so that t10000 follows t9999."""
    match = re.fullmatch(r"(\D*)(\d*)(.*)", trial)
    letters, number, rest = match.groups() if match else (trial, "", "")
    return letters, int(number or 0), rest


def opening(events: list[Event]) -> Event:
    """The event that opened the sweep, with its resolved ``sweep``. Raises ValueError if there is none."""
    for event in events:
        if event["event"] == "opened":
            return event
    raise ValueError("the ledger holds no `opened` event: this is not the record of a sweep")
