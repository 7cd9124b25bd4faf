"""Horizontal bars with intervals, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablate.report.document.blocks import Figure
from ablate.report.figures.axes import Box, draw_bottom, draw_title, whole, within
from ablate.report.figures.marks import Look, looks
from ablate.report.figures.scales import Scale, aligned, decimals, domain
from ablate.report.figures.svg import WIDTH, exact, figure, finite, num, path, rect, text, titled
from ablate.report.figures.text import BOLD, LINE, shorten, width, wrap

_EDGE, _GAP = 4.0, 10.0
_MOST_NAMES, _MOST_NOTES = 240.0, 200.0
_THICK, _BETWEEN, _HEAD = 18.0, 10.0, 30.0


@dataclass(frozen=True)
class Bar:
    """A bar from zero to ``value``; ``low`` to ``high`` is its interval, a short ``note`` stands after it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def numbers(self) -> list[float]:
        return [v for v in (self.value, self.low, self.high) if v is not None]


def bars(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    label: str,
    groups: Mapping[str, Sequence[Bar]],
    order: Sequence[str] = (),
) -> Figure:
    """Bars below the name of each group, all on one axis named ``label``. ``order``: see ``looks``.

    ValueError: there are no bars, a group has none, or a number is not finite.
    """
    for name, group in groups.items():
        if not group:
            raise ValueError(f"{title}: {name or 'the only group'} has no bars")
        for bar in group:
            finite(bar.numbers, f"{title}: {bar.name}")
    if not groups:
        raise ValueError(f"{title}: there are no bars to draw")
    chart = _Chart({name: tuple(group) for name, group in groups.items()}, label, looks(groups, order))
    parts, height = chart.draw()
    return figure(id, title, description, caption, width=WIDTH, height=height, parts=parts)


@dataclass(frozen=True)
class _Chart:
    groups: dict[str, tuple[Bar, ...]]
    label: str
    looked: dict[str, Look]

    def draw(self) -> tuple[list[str], float]:
        """The parts of the drawing, and how high it all is."""
        every = [bar for group in self.groups.values() for bar in group]
        places = decimals([v for bar in every for v in (bar.value, 0.0)])
        names = min(max(width(bar.name) for bar in every), _MOST_NAMES)
        after = min(max(width(_said(bar, places)) for bar in every), _MOST_NOTES)
        left, right = _EDGE + names + _GAP, WIDTH - _EDGE - after - _GAP
        scale, ticks = within(Scale(*_domain(every, self.label), left, right), WIDTH)
        rows, bottom = self._rows(scale, names, places)
        box = Box(left, _EDGE, right, bottom)
        grid = "".join(f"M{num(scale.at(t.value))} {num(box.top)}V{num(bottom)}" for t in ticks)
        parts = [path(grid, "grid")] if grid else []
        parts += [*rows, path(f"M{num(scale.at(0))} {num(box.top)}V{num(bottom)}", "rule")]
        parts += draw_bottom(scale, ticks, box)
        middle = (left + right) / 2
        room = 2 * min(middle, WIDTH - middle) - 2 * _EDGE
        named, height = draw_title(self.label, middle, bottom + 28, room)
        return [*parts, *named], bottom + 28 + height + 6

    def _rows(self, scale: Scale, names: float, places: int | None) -> tuple[list[str], float]:
        """All groups, and where they end."""
        parts, y = [], _EDGE
        for name, group in self.groups.items():
            if name:
                short = shorten(name, (WIDTH - 2 * _EDGE) / BOLD)
                parts.append(whole(name, (short,), text(_EDGE, y + 19, short, "head halo")))
                y += _HEAD
            for bar in group:
                lines = wrap(bar.name, names, 2)
                height = max(_THICK, LINE * len(lines)) + _BETWEEN
                parts.append(_row(bar, lines, scale, self.looked[name], y + height / 2, places))
                y += height
        return parts, y


def _domain(every: Sequence[Bar], label: str) -> tuple[float, float]:
    """From zero, or below, to the longest bar or interval."""
    low, high = domain([0.0, *(v for bar in every for v in bar.numbers)], label)
    negative = any(v < 0 for bar in every for v in bar.numbers)
    positive = any(v > 0 for bar in every for v in bar.numbers)
    return low if negative else 0.0, high if positive or not negative else 0.0


def _said(bar: Bar, places: int | None) -> str:
    return f"{aligned(bar.value, places)}  {bar.note}".rstrip()


def _row(bar: Bar, lines: Sequence[str], scale: Scale, look: Look, y: float, places: int | None) -> str:
    """One bar around ``y``: its name, itself, its interval, and what it says after that."""
    ends = sorted((scale.at(0), scale.at(bar.value)))
    drawn = rect(ends[0], y - _THICK / 2, ends[1] - ends[0], _THICK, f"bar {look.colour}")
    numbers = {"data_value": exact([bar.value])}
    if bar.low is not None and bar.high is not None:
        low, high = scale.at(bar.low), scale.at(bar.high)
        caps = f"M{num(low)} {num(y - 4)}v8M{num(high)} {num(y - 4)}v8"
        drawn += path(f"M{num(low)} {num(y)}H{num(high)}{caps}", "reach")
        numbers |= {"data_low": exact([bar.low]), "data_high": exact([bar.high])}
    first = y + 5 - LINE * (len(lines) - 1) / 2
    name = "".join(text(scale.start - _GAP, first + LINE * i, line, "end") for i, line in enumerate(lines))
    said = _said(bar, places)
    short = shorten(said, _MOST_NOTES)
    after = text(max(scale.at(v) for v in (0.0, *bar.numbers)) + 8, y + 5, short, "halo")
    title = f"{bar.name}: {said}"
    return whole(bar.name, lines, name) + titled(title, drawn, **numbers) + whole(said, (short,), after)
