"""By what a margin multiplied gradients, by angle and probability: the maps of the decomposition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ablate.report.content.evidence import Found, by_arm, measured, of_arms, values, whose
from ablate.report.content.material import Material, Row
from ablate.report.content.wording import plural
from ablate.report.document.blocks import Block, Folded, Paragraph, Section, slug
from ablate.report.drawing import Drawn, heatmap

_BIN = re.compile(r"margins\.(theta(\d+)_(\d+))\.(p(\d+)_(\d+))\.(share|A|B|AB)$")
_QUANTITIES = {
    "share": "share of anchors",
    "AB": "A B, of the positive's gradient",
    "A": "A, of the angle",
    "B": "B, of the probability",
}
_ONE = 1.0  # a factor that changes nothing
_SUMMARY = {
    "margins.A": "mean of A",
    "margins.B": "mean of B",
    "margins.AB": "mean of A B",
    "margins.theta.q50": "median angle of positives, radians",
    "margins.p.q50": "median probability of positives",
    "margins.beyond": "share of anchors beyond pi - m1",
    "margins.positive_to_negative": "gradient of positives / of negatives",
}


def gradients(m: Material) -> Found:
    """Maps for every arm that has them, and the means."""
    if not measured(m, "margins."):
        return "Gradient decomposition: not measured; `measure.diagnose: [margins]` does, for InfoNCE."
    text = (
        "An anchor's positive lies at an angle theta and has the softmax probability p. A margin "
        "multiplies the positive's gradient by A B and the negatives' by B; 1 changes nothing. Maps are "
        f"means over {whose(m)} that have anchors in a bin; where none has, there is no number. Controls "
        "are in the table only."
    )
    blocks: list[Block] = [Paragraph(text)]
    for name, said in _QUANTITIES.items():
        maps = list(_maps(m, name, said))
        if name in ("share", "AB"):
            blocks += maps
        elif maps:
            blocks.append(Folded(f"Maps of {said}", tuple(maps)))
    there = {name: said for name, said in _SUMMARY.items() if name in measured(m, "margins.")}
    blocks.append(by_arm(m, "gradients-table", "What margins do to gradients.", there))
    return Section("gradients", "Why: gradient decomposition", tuple(blocks))


def _maps(m: Material, quantity: str, said: str) -> Iterator[Drawn]:
    names = measured(m, "margins.theta")
    bins = [found for name in names if (found := _BIN.match(name)) and found[7] == quantity]
    angles = sorted({(int(b[2]), int(b[3])) for b in bins})
    probabilities = sorted({(int(b[5]), int(b[6])) for b in bins})
    for arm, rows in of_arms(m).items():
        if arm in m.controls:
            continue
        cells = [[_mean(rows, angle, p, quantity) for p in probabilities] for angle in angles]
        known = [value for line in cells for value in line if value is not None]
        if not known:
            continue
        yield heatmap(
            f"gradients-{quantity.lower()}-{slug(arm)}",
            f"{arm}: {said}",
            f"{said} of {arm} by angle and probability, from {min(known):.3g} to {max(known):.3g}.",
            f"Mean over {plural(len(rows), 'trial')}.",
            columns=[f"{low}-{high}%" for low, high in probabilities],
            rows=[f"{low}-{high}°" for low, high in angles],
            values=cells,
            label=said,
            x="p of the positive",
            y="angle theta",
            diverging_at=None if quantity == "share" else _ONE,
        )


def _mean(rows: Sequence[Row], angle: tuple[int, int], p: tuple[int, int], quantity: str) -> float | None:
    name = f"margins.theta{angle[0]}_{angle[1]}.p{p[0]}_{p[1]}.{quantity}"
    found = values(rows, name)
    return sum(found) / len(found) if found else None
