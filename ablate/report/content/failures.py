"""Trials that failed or collapsed, slots that died, and what was cancelled: each with its reason."""

from __future__ import annotations

from collections import Counter

from ablate.report.content.material import Material, Row, number
from ablate.report.content.wording import plural, run_cell
from ablate.report.document.blocks import Block, Cell, Code, Paragraph, Section, bullets, table
from ablate.report.words import listed

_BAD = ("FAILED", "COLLAPSED")
_ENDED = ("COMPLETE", "COLLAPSED")


def failures(m: Material) -> Section:
    """Every one of them; or that there were none."""
    bad = [r for r in m.rows.values() if r["state"] in _BAD]
    blocks: list[Block] = []
    if bad:
        rows = [
            [
                run_cell(r["trial_id"]),
                r["stage"],
                r["arm"],
                r["state"].lower(),
                str(r["epochs"]),
                Cell(r["reason"]),
            ]
            for r in bad
        ]
        head = ("trial", "stage", "arm", "ended", "epochs", "reason")
        blocks.append(table("failure-table", "Trials that failed or collapsed, with the reason.", head, rows))
    through = _through_collapse(m)
    if through:
        named = listed([f"{r['trial_id']} ({r['arm']})" for r in through])
        said = f"Collapsed in confirmation, where training goes on and the score counts: {named}."
        blocks.append(Paragraph(said))
    if not bad and not through:
        blocks.append(Paragraph("No trial failed or collapsed."))
    if lines := _lost(m):
        blocks.append(bullets(lines))
    if failed := [r["trial_id"] for r in bad if r["state"] == "FAILED"]:
        blocks.append(Paragraph("To run the failed ones again:"))
        blocks.append(Code(f"ablate retry {m.name} {' '.join(failed)}\nablate resume {m.name}", "sh"))
    return Section("failures", "Trials that failed or collapsed", tuple(blocks))


def _through_collapse(m: Material) -> list[Row]:
    """Trials of confirmation that would have been ended in a search, for the spread of their z."""
    return [row for row in m.of("confirm") if row["state"] in _ENDED and _is_collapsed(m, row)]


def _is_collapsed(m: Material, row: Row) -> bool:
    spread = number(row, "spread.z")
    least: float = m.records[row["trial_id"]].spec["measure"]["collapse"]
    return spread is not None and spread < least


def _lost(m: Material) -> list[str]:
    """Slots that died under a trial, which then went on from its last checkpoint; retries; cancellations."""
    lines = []
    left = [e for e in m.events if e["event"] == "abandoned"]
    reasons = Counter(str(e["reason"]) for e in left if not e.get("preempted"))
    for reason, count in sorted(reasons.items()):
        lines.append(
            f"{plural(count, 'slot')} died, and the trial went on from its last checkpoint: {reason}."
        )
    notices = Counter(str(e["reason"]) for e in left if e.get("preempted"))
    for reason, count in sorted(notices.items()):
        lines.append(f"{plural(count, 'trial')} saved and went on elsewhere: {reason}.")
    retried = [e["trial"] for e in m.events if e["event"] == "retried"]
    if retried:
        lines.append(f"Run again after a failure: {', '.join(dict.fromkeys(retried))}.")
    cancelled = {e["trial"]: e["reason"] for e in m.events if e["event"] == "cancelled"}
    lines += [f"{trial} was stopped by the operator: {reason}." for trial, reason in cancelled.items()]
    if resumed := sum(e["event"] == "resumed" for e in m.events):
        lines.append(f"The driver was started again {plural(resumed, 'time')}; finished trials were kept.")
    return lines
