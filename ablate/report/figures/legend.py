"""Legends: a row of names with their marks, wrapped and shortened to the room there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.report.figures.marks import Look, shape
from ablate.report.figures.svg import element, num, path, plain, rect, text
from ablate.report.figures.text import shorten, width

ROW = 24.0
_GAP, _BEFORE_NAME = 22.0, 8.0
_LINE, _SPOT = 32.0, 16.0  # widths of swatches


@dataclass(frozen=True)
class Entry:
    """A group of a legend: ``line``, ``point`` and ``band`` say what of it the figure shows."""

    name: str
    look: Look
    line: bool = False
    point: bool = False
    band: bool = False

    @property
    def swatch(self) -> float:
        return _LINE if self.line or self.band else _SPOT


def legend(entries: Sequence[Entry], left: float, room: float) -> tuple[list[str], float]:
    """The legend with its upper left corner at ``left``, 0, and its height; nothing for no entries."""
    parts, x, y = [], left, 0.0
    for entry in entries:
        before = entry.swatch + _BEFORE_NAME
        name = shorten(entry.name, room - before)
        wide = before + width(name)
        if x > left and x + wide > left + room:
            x, y = left, y + ROW
        full = element("title", plain(entry.name)) if name != entry.name else ""
        words = text(x + before, y + 17, name)
        parts.append(element("g", full + _swatch(entry, x, y + 12) + words))
        x += wide + _GAP
    return parts, y + ROW if entries else 0.0


def _swatch(entry: Entry, x: float, y: float) -> str:
    wide, look, parts = entry.swatch, entry.look, ""
    if entry.band:
        parts += rect(x, y - 8, wide, 16, f"band {look.colour}")
    if entry.line:
        parts += path(f"M{num(x)} {num(y)}h{num(wide)}", look.line)
    if entry.point:
        parts += shape(x + wide / 2, y, look, 5.5)
    return parts
