"""What can be said of a sweep by looking at its folder: reads only, while a driver writes or long after."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablate.ledger import Ledger, LedgerError
from ablate.ledger.lock import held_by
from ablate.report.trials import TrialRecord
from ablate.sweep.progress import Progress
from ablate.sweep.requests import Requests

LEDGER = "ledger.jsonl"
LOCK = "ledger.jsonl.lock"
SWEEP = "sweep.json"
STORAGE = "storage.json"


@dataclass(frozen=True)
class Unfinished:
    """A trial that is under way. ``value``: the objective as last reported."""

    trial: str
    state: str
    epoch: int
    epochs: int
    value: float | None


@dataclass(frozen=True)
class Lost:
    """A trial that FAILED or COLLAPSED."""

    trial: str
    state: str
    epoch: int
    reason: str


@dataclass(frozen=True)
class Status:
    """One sweep. ``state``: running (a driver is at work), stopped (``ablate resume`` goes on), ended, or
    damaged (``error`` says what is wrong; the rest is empty).

    ``stage`` is search, confirm or ended. ``counts``: trials by state, where RUNNING are only those that a
    living driver runs. ``best``: the best trial of the search so far, its ``value`` and ``params``;
    ``front``: the Pareto front of several objectives. ``budget``: used and allowed. ``requests``: what an
    operator asked and the driver has not taken up yet. ``storage``: where it is kept too; a driver on
    another machine is not seen from here. ``last``: Unix seconds of the last event.
    """

    name: str
    folder: str
    state: str
    error: str = ""
    driver: str | None = None
    question: str = ""
    stage: str = ""
    done: int = 0
    planned: int = 0
    counts: dict[str, int] | None = None
    objective: str = ""
    best: str | None = None
    value: float | None = None
    params: dict[str, Any] | None = None
    front: tuple[str, ...] = ()
    budget: dict[str, tuple[float, float]] | None = None
    closed: str | None = None
    ended: str | None = None
    seconds_left: float | None = None
    last: float | None = None
    unfinished: tuple[Unfinished, ...] = ()
    lost: tuple[Lost, ...] = ()
    duplicates: dict[str, str] | None = None
    requests: tuple[str, ...] = ()
    storage: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def status_of(folder: Path) -> Status:
    """The status of the sweep in ``folder``. Never raises for what is wrong with its files: see ``error``."""
    driver = held_by(folder / LOCK)
    try:
        progress = progress_of(folder)
    except (LedgerError, OSError, ValueError) as error:
        return Status(folder.name, str(folder), "damaged", error=" ".join(str(error).split()), driver=driver)
    if not progress.sweep:
        return Status(folder.name, str(folder), "running" if driver else "stopped", driver=driver)
    best = progress.best
    return Status(
        name=folder.name,
        folder=str(folder),
        state="running" if driver else "ended" if progress.ended else "stopped",
        driver=driver,
        question=progress.sweep["question"].strip(),
        stage=progress.stage,
        done=progress.done,
        planned=progress.planned,
        counts=_counts(progress, alive=driver is not None),
        objective=progress.objective,
        best=best.trial if best else None,
        value=best.metrics[progress.objective] if best else None,
        params=best.params if best else None,
        front=tuple(progress.front()),
        budget=progress.budget(),
        closed=progress.why_closed or None,
        ended=progress.ended["reason"] if progress.ended else None,
        seconds_left=progress.seconds_left() if driver and not progress.ended else None,
        last=progress.now,
        unfinished=tuple(_unfinished(progress, alive=driver is not None)),
        lost=tuple(Lost(r.trial, r.state, r.epochs, r.reason) for r in progress.lost()),
        duplicates=progress.duplicates,
        storage=_storage(folder),
        requests=tuple(str(request) for request in Requests(folder).waiting()),
    )


def progress_of(folder: Path) -> Progress:
    """The fold of the sweep's ledger; of no events if nothing is recorded yet. Raises LedgerError."""
    progress, path = Progress(), folder / LEDGER
    for event in Ledger.read(path) if path.exists() else []:
        progress.update(event)
    return progress


def _state(record: TrialRecord, *, alive: bool) -> str:
    """A trial that nobody runs any more waits, whatever the last event about it was."""
    return "WAITING" if record.state == "RUNNING" and not alive else record.state


def _counts(progress: Progress, *, alive: bool) -> dict[str, int]:
    counts = progress.counts()
    if not alive:
        counts["WAITING"] += counts.pop("RUNNING", 0)
    return {state: count for state, count in sorted(counts.items()) if count}


def _unfinished(progress: Progress, *, alive: bool) -> list[Unfinished]:
    return [
        Unfinished(
            trial=r.trial,
            state=_state(r, alive=alive),
            epoch=r.epochs,
            epochs=r.spec["optim"]["epochs"] if r.spec else 0,
            value=r.metrics.get(progress.objective),
        )
        for r in progress.records.values()
        if not r.finished
    ]


def _storage(folder: Path) -> str | None:
    note = folder / STORAGE
    return str(json.loads(note.read_text())["url"]) if note.exists() else None
