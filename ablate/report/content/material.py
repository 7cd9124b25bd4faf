"""Everything that a report is made of, read once, so that its parts cannot disagree."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ablate.ledger import Event
from ablate.ledger.record import encode
from ablate.report.analysis.pools import NoAnalysis
from ablate.report.analysis.stopping_audit import Rerun, read_reruns
from ablate.report.analysis.whole import Analysis, analyse
from ablate.report.budgets import Spent, spent
from ablate.report.confirm import Confirmation, declaration
from ablate.report.content.tracked import Tracked, tracked_in
from ablate.report.results import results_table
from ablate.report.summary import Summary, summary_of
from ablate.report.trials import TrialRecord, fold_trials, opening, slot_seconds
from ablate.spec.objective import test_metric
from ablate.spec.sweep import SweepSpec

Row = dict[str, Any]  # one of results.parquet, by the names of its columns

LEDGER = "ledger.jsonl"
PIXELS = "pixels"  # the control that trains nothing and keeps the images as they are

_PANEL = 8  # arms in one figure: as many as there are colours


@dataclass(frozen=True)
class Material:
    """One sweep.

    ``results`` is what ``results.parquet`` holds, ``rows`` its rows by trial, in its order, and ``metrics``
    its columns of metrics: every number of a figure or a table that belongs to a run comes from there.
    ``digest`` is the SHA-256 of the ledger's file as far as it was read, as ``sha256sum`` gives it once the
    sweep is over. ``confirmed`` is None until something was declared to be confirmed; ``no_analysis`` says
    why there is no ``analysis``. ``reruns`` are the stopped trials that an audit ran again, ``no_audit`` why
    they cannot be read, and ``seconds`` those that each trial held a slot.
    """

    folder: Path
    events: list[Event]
    sweep: SweepSpec
    digest: str
    records: dict[str, TrialRecord]
    results: pa.Table
    rows: dict[str, Row]
    metrics: tuple[str, ...]
    searches: dict[str, Spent]
    summary: Summary
    confirmed: Confirmation | None
    analysis: Analysis | None
    no_analysis: str
    reruns: dict[str, Rerun]
    no_audit: str
    seconds: dict[str, float]
    tracked: Tracked | None

    @property
    def name(self) -> str:
        return self.sweep.name

    @property
    def objective(self) -> str:
        """The metric that the search improved, on validation."""
        return self.sweep.search.objective.metric

    @property
    def score(self) -> str:
        """The metric that confirmation compares, on test."""
        return test_metric(self.sweep.search.objective)[0]

    def accuracy(self, stage: str) -> str:
        """The probe that the trials of a stage are shown with: on test in confirmation, else on
        validation."""
        return self.score if stage == "confirm" else self.score.removesuffix(".test") + ".val"

    def arms(self, stage: str) -> tuple[str, ...]:
        """In the order of every figure: the baseline first, or the best, then the others; controls last, raw
        pixels after all, which some figures leave out."""
        found = dict.fromkeys(row["arm"] for row in self.rows.values() if row["stage"] == stage)
        first = self.summary.claims.scores if stage == "confirm" and self.summary.claims else self.sweep.bases
        order = dict.fromkeys([*(arm for arm in first if arm in found), *found])
        return tuple(sorted(order, key=PIXELS.__eq__))

    @property
    def order(self) -> tuple[str, ...]:
        """The arms of all stages, so that an arm looks the same in every figure; empty where they are more
        than there are looks."""
        arms = dict.fromkeys([*self.arms("confirm"), *self.arms("search")])
        return tuple(arms) if len(arms) <= _PANEL else ()

    def of(self, stage: str, arm: str | None = None) -> Iterator[Row]:
        """The rows of a stage, of all arms or of one."""
        for row in self.rows.values():
            if row["stage"] == stage and arm in (None, row["arm"]):
                yield row

    def completed(self, stage: str, arm: str | None = None) -> list[Row]:
        """Those that ran to their end; each configuration of a search once."""
        return [r for r in self.of(stage, arm) if r["state"] == "COMPLETE" and not r["duplicate_of"]]

    @property
    def shown(self) -> str:
        """The stage whose trials are looked into: confirmation, if any of it has been completed."""
        return "confirm" if self.completed("confirm") else "search"

    @property
    def controls(self) -> tuple[str, ...]:
        return self.sweep.confirm.controls if self.sweep.confirm is not None else ()


def material_of(folder: Path, events: list[Event]) -> Material:
    """Read a sweep. Raises ValueError if the events are not the record of one, and pydantic's
    ValidationError if another version of the product recorded it."""
    sweep = SweepSpec.model_validate(opening(events)["sweep"])
    records = fold_trials(events)
    table = results_table(events)
    reruns, no_audit = _reruns(folder)
    analysis, no_analysis = _analysis(events, reruns)
    return Material(
        folder=folder,
        events=events,
        sweep=sweep,
        digest=_digest(folder, events),
        records=records,
        results=table,
        rows={row["trial_id"]: row for row in table.to_pylist()},
        metrics=tuple(json.loads(table.schema.metadata[b"ablate.metrics"])),
        searches=spent(events, records.values()),
        summary=summary_of(folder, events),
        confirmed=Confirmation(folder, events, records.values()) if declaration(events) else None,
        analysis=analysis,
        no_analysis=no_analysis,
        reruns=reruns,
        no_audit=no_audit,
        seconds=dict(slot_seconds(events)),
        tracked=tracked_in(folder),
    )


def _digest(folder: Path, events: list[Event]) -> str:
    """Of the lines that the events were read from; of the events encoded anew if there is no file."""
    try:
        lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    except OSError:
        lines = list(map(encode, events))
    return hashlib.sha256(b"".join(lines[: len(events)])).hexdigest()


def _analysis(events: list[Event], reruns: Mapping[str, Rerun]) -> tuple[Analysis | None, str]:
    try:
        return analyse(events, reruns, with_fanova=False), ""  # which takes longer than all the rest
    except NoAnalysis as error:
        return None, str(error)


def _reruns(folder: Path) -> tuple[dict[str, Rerun], str]:
    """The audited trials; none, and why, if a file of theirs is damaged."""
    try:
        return read_reruns(folder), ""
    except NoAnalysis as error:
        return {}, str(error).replace(f"{folder}{os.sep}", "")  # no path of this machine in a report


def number(row: Row, name: str) -> float | None:
    """A metric or a numeric parameter of a run; None if it has none that is finite."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def panels(arms: Sequence[str], most: int = _PANEL) -> list[tuple[str, ...]]:
    """The arms of each figure, at most ``most``: all in one, or the first, the baseline, beside others."""
    if len(arms) <= most:
        return [tuple(arms)] if arms else []
    first, others, width = arms[0], arms[1:], most - 1
    return [(first, *others[i : i + width]) for i in range(0, len(others), width)]
