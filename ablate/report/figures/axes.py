"""Axes: their names, ticks and grid, and the room that these take around what is plotted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ablate.report.figures.scales import Scale, Tick, minor_ticks
from ablate.report.figures.svg import element, num, path, plain, text
from ablate.report.figures.text import LINE, fits, shorten, width, wrap

TICK = 14.0  # font size of ticks
_SLANT = 35.0  # degrees of names too long to stand side by side
_LONGEST_SLANTED = 190.0


@dataclass(frozen=True)
class Axis:
    """``label`` names what is measured, with its unit. ``categories``: the values are their indices, and
    fractions lie between them. ``log``: a logarithmic scale, for positive values."""

    label: str
    log: bool = False
    categories: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.label} (log scale)".strip() if self.log else self.label


@dataclass(frozen=True)
class Box:
    """The rectangle within the axes."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left


def scale_of(axis: Axis, values: Iterable[float], start: float, end: float) -> Scale:
    """The scale of an axis that shows ``values``.

    ValueError: there are none, or they cannot be drawn on it.
    """
    if not axis.categories:
        return Scale.of(values, axis.label, start, end, axis.log)
    low, high = -0.5, len(axis.categories) - 0.5
    outside = next((v for v in values if not low <= v <= high), None)
    if outside is not None:
        raise ValueError(f"{axis.label}: {outside:g} is the index of no category")
    return Scale(low, high, start, end)


def category_ticks(axis: Axis) -> list[Tick]:
    return [Tick(float(i), name) for i, name in enumerate(axis.categories)]


@dataclass(frozen=True)
class Names:
    """Names under places ``at`` of the drawing: side by side in ``lines``, or slanted if these are none."""

    at: tuple[float, ...]
    full: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    @property
    def height(self) -> float:
        if self.lines:
            return LINE * max(map(len, self.lines), default=0)
        longest = max(min(width(name, TICK), _LONGEST_SLANTED) for name in self.full)
        return longest * math.sin(math.radians(_SLANT)) + TICK

    def draw(self, top: float) -> list[str]:
        """The names, below ``top``."""
        if self.lines:
            return [self._upright(i, top + 14) for i in range(len(self.at))]
        return [self._slanted(x, top + 10, name) for x, name in zip(self.at, self.full, strict=True)]

    def _upright(self, i: int, y: float) -> str:
        lines = self.lines[i]
        return "".join(text(self.at[i], y + LINE * k, line, "tick middle") for k, line in enumerate(lines))

    def _slanted(self, x: float, y: float, name: str) -> str:
        room = min(_LONGEST_SLANTED, (x + 2) / math.cos(math.radians(_SLANT)))
        short = shorten(name, room, TICK)
        turn = f"rotate(-{num(_SLANT)} {num(x + 4)} {num(y)})"
        return whole(name, (short,), text(x + 4, y, short, "tick end", turn))


def names_under(at: Sequence[float], full: Sequence[str], room: float) -> Names:
    """Names that have ``room`` units each, in up to three lines, or else slanted, as many as can be read."""
    if all(fits(name, room, 3, TICK) for name in full):
        lines = tuple(tuple(wrap(name, room, 3, TICK)) for name in full)
        return Names(tuple(at), tuple(full), lines)
    apart = at[1] - at[0] if len(at) > 1 else LINE
    every = math.ceil(LINE / apart)
    return Names(tuple(at[::every]), tuple(full[::every]), ())


def whole(name: str, shown: Sequence[str], drawn: str) -> str:
    """``drawn`` with the whole ``name`` on hovering, if it had to be shortened."""
    cut = "".join(shown).replace(" ", "") != name.replace(" ", "")
    return element("g", element("title", plain(name)) + drawn) if cut else drawn


def left_room(ticks: Sequence[Tick]) -> float:
    """What tick labels left of the plot take; long names of categories are shortened to the limit of this."""
    return min(max((width(t.label, TICK) for t in ticks), default=0.0), 180.0) + 12


def draw_left(scale: Scale, ticks: Sequence[Tick], box: Box) -> list[str]:
    """Ticks of the vertical axis, with lines of the grid."""
    places = [scale.at(t.value) for t in ticks]
    grid = "".join(f"M{num(box.left)} {num(y)}h{num(box.width)}" for y in places)
    small = minor_ticks(scale.low, scale.high) if scale.log else []
    minor = "".join(f"M{num(box.left - 4)} {num(scale.at(v))}h4" for v in small)
    found = [path(d, kind) for d, kind in ((grid, "grid"), (minor, "rule")) if d]
    for y, tick in zip(places, ticks, strict=True):
        short = shorten(tick.label, left_room(ticks) - 12, TICK)
        found.append(whole(tick.label, (short,), text(box.left - 8, y + 5, short, "tick end")))
    return found


def within(scale: Scale, edge: float) -> tuple[Scale, list[Tick]]:
    """A horizontal scale and its ticks, made shorter if the last one would reach beyond ``edge``."""
    most = max(2, min(round((scale.end - scale.start) / 65), 8))
    ticks = scale.spaced(lambda label: width(label, TICK) + 14, most)
    over = max((scale.at(t.value) + width(t.label, TICK) / 2 - (edge - 2) for t in ticks), default=0.0)
    return replace(scale, end=scale.end - max(over, 0.0)), ticks


def draw_bottom(scale: Scale, ticks: Sequence[Tick], box: Box) -> list[str]:
    """The horizontal axis: its line, and its ticks with their numbers."""
    y = box.bottom
    marks = "".join(f"M{num(scale.at(t.value))} {num(y)}v6" for t in ticks)
    small = minor_ticks(scale.low, scale.high) if scale.log else []
    marks += "".join(f"M{num(scale.at(v))} {num(y)}v3" for v in small)
    line = path(f"M{num(box.left)} {num(y)}h{num(box.width)}{marks}", "rule")
    return [line, *(text(scale.at(t.value), y + 22, t.label, "tick middle") for t in ticks)]


def draw_title(words: str, middle: float, top: float, room: float) -> tuple[list[str], float]:
    """The name of a horizontal axis around ``middle``, below ``top``, within ``room``; and its height."""
    lines = wrap(words, room, 2) if words else []
    drawn = [text(middle, top + 15 + LINE * i, line, "middle") for i, line in enumerate(lines)]
    return drawn, LINE * len(lines)
