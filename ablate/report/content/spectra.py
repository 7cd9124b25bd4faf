"""Spectra of h and z, arm over arm: what collapsed, and how far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ablate.report.arrays import FloatArray, read_arrays
from ablate.report.content.evidence import Found, of_arms, whose
from ablate.report.content.material import PIXELS, Material, Row, number, panels
from ablate.report.content.wording import plural
from ablate.report.document.blocks import Block, Paragraph, Section, bullets
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis, Mark, Series
from ablate.report.words import listed

_FLOOR = 1e-8  # below it float32 features hold no information
_POINTS = 96  # of one line, at most
_TRIALS = 8  # of an arm's search, where nothing was confirmed
_OF = {
    "h": "the representation h, which is kept",
    "z": "the embedding z, which the loss sees",
    "h_normalized": "h with rows of length 1",
    "z_normalized": "z with rows of length 1",
}

Spectrum = FloatArray  # [D], relative to the largest, falling
Stored = dict[str, list[Spectrum]]  # arm -> one a trial


def spectra(m: Material) -> Found:
    """Singular values of centred training features, relative to the largest: median and range by arm."""
    chosen = {arm: _chosen(m, rows) for arm, rows in of_arms(m).items() if arm != PIXELS}
    read = {row["trial_id"]: _read(m.folder, row["trial_id"]) for rows in chosen.values() for row in rows}
    without = [trial for trial, found in read.items() if not found]
    if len(without) == len(read):
        return (
            "Spectra: no completed trial has a readable `spectrum.npz` in its folder; `ablate train "
            "trials/TRIAL/spec.json --folder NEW` trains one again and writes it."
        )
    figures = [figure for name in _OF for figure in _figures(m.order, name, chosen, read)]
    said = [
        f"Of {whose(m)}"
        + (f", the best {_TRIALS} of each arm" if m.shown == "search" else "")
        + ". Singular values of the centred training features, divided by the largest. A line that falls off "
        "early is dimensional collapse: few directions carry what there is."
    ]
    if PIXELS in m.arms(m.shown):
        said.append("The control of raw pixels is left out: it has as many dimensions as pixels.")
    if without:
        said.append(f"Without a readable spectrum: {plural(len(without), 'trial')} ({listed(without)}).")
    blocks: list[Block] = [Paragraph(said[0]), *figures, *([bullets(said[1:])] if said[1:] else [])]
    return Section("spectra", "Why: spectra", tuple(blocks))


def _chosen(m: Material, rows: list[Row]) -> list[Row]:
    """All of confirmation; of a search the best few."""
    if m.shown == "confirm":
        return rows
    sign = -1 if m.sweep.search.objective.mode == "max" else 1
    known = [row for row in rows if number(row, m.objective) is not None]
    return sorted(known, key=lambda row: sign * (number(row, m.objective) or 0.0))[:_TRIALS]


def _read(folder: Path, trial: str) -> dict[str, Spectrum]:
    """By name; empty where the file is not there or not whole, and without those that are all zero."""
    found = read_arrays(folder / "trials" / trial / "spectrum.npz")
    return {name: np.maximum(x / x.max(), _FLOOR) for name, x in found.items() if x.max() > 0}


def _figures(
    order: Sequence[str], name: str, chosen: dict[str, list[Row]], read: dict[str, dict[str, Spectrum]]
) -> Iterator[Drawn]:
    stored: Stored = {}
    for arm, rows in chosen.items():
        if found := [read[row["trial_id"]][name] for row in rows if name in read[row["trial_id"]]]:
            stored[arm] = found
    shown = panels(tuple(stored))
    for i, panel in enumerate(shown, 1):
        id = f"spectra-{name.replace('_', '-')}" + (f"-{i}" if len(shown) > 1 else "")
        series = [s for arm in panel for s in _series(arm, stored[arm])]
        yield xy(
            id,
            f"Spectrum of {_OF[name]}",
            f"Singular values of {name} by rank, relative to the largest: {_described(panel, stored)}.",
            "Line: the median trial at each rank. Band: lowest to highest trial.",
            x=Axis("dimension, by singular value"),
            y=Axis("singular value / largest", log=True),
            series=series,
            narrow=True,
            order=order,
        )


def _series(arm: str, found: Sequence[Spectrum]) -> Iterator[Series]:
    """One line for each width of features: trials of a search may differ in it."""
    widths = sorted({len(values) for values in found})
    for width in widths:
        stack = np.stack([values for values in found if len(values) == width])
        places = _places(width)
        low, middle, high = stack.min(0), np.median(stack, 0), stack.max(0)
        line = tuple(Mark(float(i + 1), float(middle[i])) for i in places)
        band = tuple((float(i + 1), float(low[i]), float(high[i])) for i in places)
        name = arm if len(widths) == 1 else f"{arm}, {width} dimensions"
        yield Series(name, line, "line", band if len(stack) > 1 else (), group=arm)


def _places(width: int) -> list[int]:
    """Ranks at which a spectrum is drawn, from 0: all of a short one; of a long one the first, which differ
    most, and then even steps to the last."""
    if width <= _POINTS:
        return list(range(width))
    first = _POINTS // 4
    return [*range(first), *(round(float(at)) for at in np.linspace(first, width - 1, _POINTS - first))]


def _described(panel: Sequence[str], stored: Stored) -> str:
    """How many dimensions hold more than a hundredth of the largest singular value, in the median trial."""
    parts = []
    for arm in panel:
        counts = [int((values > 0.01).sum()) for values in stored[arm]]
        parts.append(f"{arm} has {int(np.median(counts))} above a hundredth")
    return "; ".join(parts)
