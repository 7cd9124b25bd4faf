"""Trials that failed or collapsed, slots that died, and what was cancelled: each with its reason."""

from __future__ import annotations

from collections import Counter

from ablate.report.content.material import Material
from ablate.report.content.wording import plural, run_cell
from ablate.report.document.blocks import Block, Cell, Code, Paragraph, Section, bullets, table

_BAD = ("FAILED", "COLLAPSED")


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
    else:
        blocks.append(Paragraph("No trial failed or collapsed."))
    if lines := _lost(m):
        blocks.append(bullets(lines))
    if any(r["state"] == "COLLAPSED" for r in bad):
        blocks.append(
            Paragraph("A collapsed trial of confirmation keeps its real score; a failed one has none.")
        )
    if failed := [r["trial_id"] for r in bad if r["state"] == "FAILED"]:
        blocks.append(Paragraph("To run the failed ones again:"))
        blocks.append(Code(f"ablate retry {m.name} {' '.join(failed)}\nablate resume {m.name}", "sh"))
    return Section("failures", "Trials that failed or collapsed", tuple(blocks))


def _lost(m: Material) -> list[str]:
    """Slots that died under a trial, which then went on from its last checkpoint; retries; cancellations."""
    lines = []
    reasons = Counter(str(e["reason"]) for e in m.events if e["event"] == "abandoned")
    for reason, count in sorted(reasons.items()):
        lines.append(
            f"{plural(count, 'slot')} died, and the trial went on from its last checkpoint: {reason}."
        )
    retried = [e["trial"] for e in m.events if e["event"] == "retried"]
    if retried:
        lines.append(f"Run again after a failure: {', '.join(dict.fromkeys(retried))}.")
    cancelled = {e["trial"]: e["reason"] for e in m.events if e["event"] == "cancelled"}
    lines += [f"{trial} was stopped by the operator: {reason}." for trial, reason in cancelled.items()]
    if resumed := sum(e["event"] == "resumed" for e in m.events):
        lines.append(f"The driver was started again {plural(resumed, 'time')}; finished trials were kept.")
    return lines
