"""How sparse the heads became, and whether it cost accuracy."""

from __future__ import annotations

from ablate.report.content.evidence import Found, by_arm, measured, points_by_arm, whose
from ablate.report.content.material import Material, number
from ablate.report.document.blocks import Paragraph, Section
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis

_MEASURES = {
    "head.zeros": "share of the head's weights that are zero",
    "head.active_inputs": "inputs of the head whose weights are not all zero, a count",
    "head.hoyer": "Hoyer's sparsity of the weights, 0 (all alike) to 1 (a single one)",
}


def sparsity(m: Material) -> Found:
    """Accuracy against each measure of sparsity that differs between trials, and their table."""
    there = {name: said for name, said in _MEASURES.items() if name in measured(m, "head.")}
    if not there:
        return "Sparsity: no trial looked into has a head with weights; `head` of a kind with weights has it."
    figures = [f for name in there for stage in ("confirm", "search") if (f := _figure(m, stage, name))]
    lines = "; ".join(f"`{name}`: {said}" for name, said in there.items())
    table = by_arm(m, "sparsity-table", "Sparsity of the trained heads.", {n: n for n in there})
    same = "" if figures else " It is the same in all trials, so that there is nothing to set it against."
    text = f"Of {whose(m)}. {lines}.{same}"
    return Section("sparsity", "Why: sparsity and accuracy", (Paragraph(text), *figures, table))


def _figure(m: Material, stage: str, name: str) -> Drawn | None:
    """None where fewer than two trials differ in it."""
    accuracy = m.accuracy(stage)
    series = points_by_arm(m, stage, lambda row: number(row, name), accuracy)
    if len({mark.x for s in series for mark in s.marks}) < 2:
        return None
    of = "confirmation, on test" if stage == "confirm" else "the search, on validation"
    return xy(
        f"sparsity-{name.removeprefix('head.').replace('_', '-')}-{stage}",
        f"{accuracy} against {name}",
        f"{accuracy} of {sum(len(s.marks) for s in series)} trials against {name}, {_MEASURES[name]}.",
        f"One point a completed trial of {of}.",
        x=Axis(name),
        y=Axis(accuracy),
        series=series,
        narrow=True,
        order=m.order,
    )
