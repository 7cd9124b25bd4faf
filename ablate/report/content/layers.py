"""What every layer knows of every factor: probe, k-NN and share of variance, before and after the head."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ablate.report.content.evidence import Found, measured, of_arms, values, whose
from ablate.report.content.material import Material, Row, panels
from ablate.report.content.wording import group_cell, spread
from ablate.report.document.blocks import Block, Cell, Folded, Paragraph, Section, Table, slug
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis, Mark, Series

_NAME = re.compile(r"layers\.(.+)\.([^.]+)\.(probe|knn|share)$")
_KINDS = {
    "probe": "Accuracy of a linear probe",
    "knn": "Accuracy of k nearest neighbours",
    "share": "Share of the variance between classes",
}
_ORDER = ("stem", "stage", "h", "head", "z")  # from the image to the loss


def layers(m: Material) -> Found:
    """Layers by factors, one table an arm, and a figure a factor."""
    found = [match for name in measured(m, "layers.") if (match := _NAME.match(name))]
    if not found:
        return "Layers by factors: not measured; `measure.diagnose: [layers]` does."
    names = sorted({match[1] for match in found}, key=_place)
    factors = sorted({match[2] for match in found})
    text = (
        f"Of {whose(m)}: probes of every layer in the order of the forward pass, fitted to at most 1,024 "
        "images. They are for the differences between layers, not for the best accuracy. What h has and z "
        "has not is what the head left out."
    )
    blocks: list[Block] = [
        Paragraph(text),
        *_figures(m, names, factors),
        *_tables(m, "probe", names, factors),
    ]
    for kind in ("knn", "share"):
        tables = tuple(_tables(m, kind, names, factors))
        blocks.append(Folded(f"{_KINDS[kind]}, by layer and factor", tables))
    return Section("layers", "Why: what each layer knows", tuple(blocks))


def _place(layer: str) -> tuple[int, int, str]:
    """Sort key: stem, stages, h, the head's layers, z; others last."""
    name, _, number = layer.partition(".")
    known = _ORDER.index(name) if name in _ORDER else len(_ORDER)
    return known, int(number) if number.isdigit() else 0, layer


def _tables(m: Material, kind: str, names: Sequence[str], factors: Sequence[str]) -> Iterator[Table]:
    for arm, rows in of_arms(m).items():
        body = [
            (Cell(name), *(_cell(m, arm, rows, f"layers.{name}.{factor}.{kind}") for factor in factors))
            for name in names
        ]
        caption = f"{_KINDS[kind]} in {arm}: mean [lowest, highest] over {len(rows)} trials."
        yield Table(f"layers-{kind}-{slug(arm)}", caption, ("layer", *factors), tuple(body))


def _cell(m: Material, arm: str, rows: Sequence[Row], name: str) -> Cell:
    return group_cell(spread(values(rows, name)), m.shown, arm)


def _figures(m: Material, names: Sequence[str], factors: Sequence[str]) -> Iterator[Drawn]:
    arms = of_arms(m)
    shown = panels(tuple(arms))
    for factor in factors:
        for i, panel in enumerate(shown, 1):
            series = [s for arm in panel if (s := _series(arm, arms[arm], names, factor)).marks]
            if not series:
                continue
            yield xy(
                f"layers-{slug(factor)}" + (f"-{i}" if len(shown) > 1 else ""),
                f"Linear probe of {factor} by layer",
                f"Accuracy of a linear probe of {factor} at {', '.join(names)}, by arm.",
                "Line: mean over trials. Band: lowest to highest.",
                x=Axis("layer", categories=tuple(names)),
                y=Axis(f"probe of {factor}, test"),
                series=series,
                narrow=True,
                order=m.order,
            )


def _series(arm: str, rows: Sequence[Row], names: Sequence[str], factor: str) -> Series:
    each = [values(rows, f"layers.{name}.{factor}.probe") for name in names]
    line = tuple(Mark(i, sum(x) / len(x), f"{arm}, {names[i]}") for i, x in enumerate(each) if x)
    band = tuple((float(i), min(x), max(x)) for i, x in enumerate(each) if x)
    return Series(arm, line, "line", band)
