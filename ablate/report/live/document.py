"""The report of a sweep with what goes on now in front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ablate.ledger import Event
from ablate.report.document.blocks import (
    Block,
    Cell,
    Document,
    Paragraph,
    Section,
    bullets,
    run_id,
    table,
)
from ablate.report.live.follow import Seen
from ablate.report.trials import TrialRecord, ending, fold_trials, opening

ReportOf = Callable[[Path, list[Event]], Document]
_SHOWN = 20  # trials under way


def document_of(folder: Path, seen: Seen, report_of: ReportOf) -> Document:
    """The report as ``report_of`` makes it, or why there is none yet."""
    if seen.error:
        return _without(folder, "The ledger cannot be read", [seen.error])
    if not folder.is_dir():
        return _without(folder, "The sweep is gone", [f"{folder} is not there any more."])
    if not seen.events:
        return _without(folder, "Nothing has happened yet", [_driving(folder, seen)])
    events = list(seen.events)
    report = report_of(folder, events)
    now = _now(folder, seen)
    return replace(
        report,
        answer=(now[0], *report.answer),
        sections=(*([Section("now", "Under way", now[1:])] if now[1:] else []), *report.sections),
        facts=(*report.facts, ("last event", _time(events[-1]["time"]))),
    )


def failed(folder: Path, error: Exception) -> Document:
    """Said instead of the report where it cannot be made."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return _without(
        folder,
        "The report could not be made",
        [what, "The sweep is not touched by this. It is tried again when the ledger grows."],
    )


def _without(folder: Path, why: str, lines: list[str]) -> Document:
    return Document(
        title=folder.name, question=f"{folder.name}: {why[0].lower()}{why[1:]}", answer=(bullets(lines),),
        sections=(), facts=(),
    )  # fmt: skip


def _now(folder: Path, seen: Seen) -> tuple[Block, ...]:
    """In one paragraph, and a table of the trials under way."""
    records = fold_trials(seen.events)
    objective = opening(list(seen.events))["sweep"]["search"]["objective"]["metric"]
    running = [r for r in records.values() if r.state == "RUNNING"] if seen.driver else []
    ended = sum(r.finished for r in records.values())
    text = f"{_driving(folder, seen)} {ended} of the {len(records)} trials asked for so far have ended."
    if not running:
        return (Paragraph(text),)
    rows = [_row(r, objective) for r in running[:_SHOWN]]
    more = len(running) - len(rows)
    caption = f"Trials that run now{f'; {more} more are not shown' if more else ''}."
    head = ["trial", "stage", "arm", "seed", "epoch", objective]
    return (Paragraph(text), table("table-running", caption, head, rows))


def _row(r: TrialRecord, objective: str) -> list[str | Cell]:
    value = r.metrics.get(objective)
    epochs = r.spec["optim"]["epochs"] if r.spec else 0
    score = "-" if value is None else f"{value:.4f}"
    return [Cell(r.trial, run_id(r.trial)), r.stage, r.arm, str(r.seed), f"{r.epochs} of {epochs}", score]


def _driving(folder: Path, seen: Seen) -> str:
    """Whether anything more will happen, and what to do if it will not."""
    if seen.driver is not None:
        return f"Running: {seen.driver}."
    end = ending(seen.events) if seen.events else None
    if end is not None:
        return f"Ended: {end['reason']}." if end["reason"] else "Ended: all was done."
    elsewhere = ""
    if (folder / "storage.json").exists():
        elsewhere = " It is kept in shared storage too: a driver on another machine is not seen from here."
    command = f"ablate resume {folder.name} --runs {folder.parent}"
    return f"No driver is at work: nothing more happens until `{command}`.{elsewhere}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
