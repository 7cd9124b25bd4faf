"""How search trials ran and where they were stopped, and whether the wrong ones were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from ablate.report.analysis import document as analysed
from ablate.report.content.material import Material
from ablate.report.content.wording import of_analysis, plural
from ablate.report.document.blocks import Block, Cell, Paragraph, Section, group_id, slug, table
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis, Mark, Series
from ablate.report.trials import TrialRecord

_KINDS = {"COMPLETE": "completed", "PRUNED": "stopped early", "COLLAPSED": "collapsed", "FAILED": "failed"}
_AGAIN, _GOING = "stopped, run again to the end", "under way"
_ORDER = ("completed", "stopped early", _AGAIN, "collapsed", "failed", _GOING)  # colours go by it
_CAPTIONS = {
    "audited": "Stopped trials that were run to their end, by arm, against completed ones of their search.",
    "epoch": "How well the order at an epoch foretells the order at the end, by arm.",
}


def stopping(m: Material) -> Section:
    """Learning curves, where trials were stopped, and the audit of the stopping."""
    blocks: list[Block] = [*_curves(m), *_where(m)]
    if m.no_audit:
        blocks.append(Paragraph(f"What was audited cannot be read: {m.no_audit}."))
    if m.analysis is None:
        blocks.append(Paragraph(f"There is nothing to audit: {m.no_analysis}."))
    else:
        section = analysed.sections(m.analysis)[-1]
        captions = [_CAPTIONS.get(head[1], "") for head, _ in section.tables]
        blocks += of_analysis(section, "audit", captions, lambda row: group_id("search", row[0]))
    return Section("stopping", "Learning curves and early stopping", tuple(blocks))


def _curves(m: Material) -> Iterator[Drawn]:
    for arm in m.arms("search"):
        records = [
            r for r in m.records.values() if (r.stage, r.arm) == ("search", arm) and not r.duplicate_of
        ]
        every = [*(_curve(m, r) for r in records), *(_again(m, r) for r in records)]
        series = sorted((s for s in every if s.marks), key=lambda s: _ORDER.index(s.group))
        if not any(len(s.marks) > 1 for s in series):
            continue
        counts = Counter(s.group for s in series)
        said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        of = "" if len(m.arms("search")) == 1 else f", {arm}"
        yield xy(
            f"curves-{slug(arm)}",
            f"{m.objective} by epoch{of}",
            f"Learning curves of {len(series)} search trials: {said}.",
            "One line a trial, as far as it was trained.",
            x=Axis("epoch"),
            y=Axis(m.objective),
            series=series,
            narrow=True,
        )


def _curve(m: Material, record: TrialRecord) -> Series:
    kind = _KINDS.get(record.state, _GOING)
    points = {e: row[m.objective] for e, row in sorted(record.curve.items()) if m.objective in row}
    return _line(record.trial, record.trial, points, kind)


def _again(m: Material, record: TrialRecord) -> Series:
    rerun = m.reruns.get(record.trial)
    curve = {} if rerun is None else rerun.curve
    points = {e: row[m.objective] for e, row in sorted(curve.items()) if m.objective in row}
    return _line(f"{record.trial}, audited", record.trial, points, _AGAIN)


def _line(name: str, trial: str, points: dict[int, float], kind: str) -> Series:
    finite = tuple(Mark(e, value, trial=trial) for e, value in points.items() if math.isfinite(value))
    return Series(name, finite, "line", faint=True, group=kind)


def _where(m: Material) -> Iterator[Block]:
    """How many trials each epoch of stopping took, by arm."""
    stopped: Counter[tuple[str, int]] = Counter()
    arms = {record.trial: record.arm for record in m.records.values()}
    ended = {record.trial for record in m.records.values() if record.state == "PRUNED"}
    for event in m.events:
        if event["event"] == "stopped" and event["trial"] in ended:
            stopped[arms[event["trial"]], int(event["epoch"])] += 1
    if not stopped:
        return
    epochs = sorted({epoch for _, epoch in stopped})
    rows = []
    for arm in m.arms("search"):
        had = sum(1 for r in m.records.values() if (r.stage, r.arm) == ("search", arm))
        counts = [str(had), *(str(stopped[arm, epoch]) for epoch in epochs)]
        rows.append([Cell(text, group_id("search", arm)) for text in (arm, *counts)])
    head = ("arm", "trials", *(f"stopped at epoch {epoch}" for epoch in epochs))
    yield table("stopped-table", _stopped_caption(sum(stopped.values())), head, rows)


def _stopped_caption(count: int) -> str:
    return f"Where trials were stopped by the scheduler, by arm: {plural(count, 'trial')} in all."
