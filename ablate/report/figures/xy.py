"""Points, lines with bands, and steps over two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.report.document.blocks import Figure
from ablate.report.figures.axes import (
    Axis,
    Box,
    category_ticks,
    draw_bottom,
    draw_left,
    draw_title,
    left_room,
    names_under,
    scale_of,
    within,
)
from ablate.report.figures.direct import direct
from ablate.report.figures.legend import legend
from ablate.report.figures.marks import Look, looks
from ablate.report.figures.scales import Scale
from ablate.report.figures.series import Plane, Series, draw, legend_of
from ablate.report.figures.svg import NARROW, WIDTH, figure, finite, num, path, text
from ablate.report.figures.text import LINE, width, wrap

_HEIGHT = {False: 290.0, True: 220.0}  # of the plot, by whether it is narrow
_EDGE = 4.0
_MOST_FOR_NAMES = 0.24  # of the width, right of the plot
_SAMPLE = 20.0  # of a line, before its name


def xy(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    narrow: bool = False,
    order: Sequence[str] = (),
) -> Figure:
    """Series over two axes. ``narrow``: drawn for half the width of a page, as one of several. ``order``: see
    ``looks``.

    A line whose marks all show one run links to it as a whole; its ``data-x`` and ``data-y`` hold all.
    ValueError: there are no points, a number is not finite, or cannot be on its axis.
    """
    for s in series:
        finite((v for mark in s.marks for v in (mark.x, mark.y)), f"{title}: {s.name}")
        finite((v for place in s.band for v in place), f"{title}: the band of {s.name}")
    if not any(s.marks for s in series):
        raise ValueError(f"{title}: there are no points to draw")
    looked = looks((s.key for s in series if s.key), order)
    chart = _Chart(x, y, tuple(series), looked, NARROW if narrow else WIDTH, _HEIGHT[narrow])
    parts, height = chart.draw()
    return figure(id, title, description, caption, width=chart.width, height=height, parts=parts)


@dataclass(frozen=True)
class _Chart:
    """What is drawn on ``width`` units, the plot being ``height`` units high."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    looked: dict[str, Look]
    width: float
    height: float

    def draw(self) -> tuple[list[str], float]:
        """The parts of the drawing, and how high it all is."""
        names = self._direct()
        parts, top = self._head(bool(names))
        y = scale_of(self.y, self._ys(), top + self.height, top)
        ticks = category_ticks(self.y) if self.y.categories else y.ticks(6)
        right = self.width - max(14.0, *(width(name) + _SAMPLE + 24 for name in names), 0.0)
        box = Box(left_room(ticks), top, right, top + self.height)
        x, foot, height = self._foot(box)
        parts += [*draw_left(y, ticks, box), *foot]
        parts += draw(self.series, self.looked, Plane(x, y, self._category))
        for name, place in names.items():
            parts += _named(name, self.looked[name], box.right + 10, box.top + place)
        return parts, height

    def _direct(self) -> dict[str, float]:
        across = scale_of(self.x, self._xs(), 0.0, 1.0)
        up = scale_of(self.y, self._ys(), self.height, 0.0)
        return direct(self.series, across.at, up.at, _MOST_FOR_NAMES * self.width)

    def _head(self, named: bool) -> tuple[list[str], float]:
        """The legend, unless lines are ``named`` at their ends, and over the vertical axis its name."""
        entries = [] if named else legend_of(self.series, self.looked)
        parts, top = legend(entries, _EDGE, self.width - 2 * _EDGE)
        lines = wrap(self.y.title, self.width - 2 * _EDGE, 2) if self.y.title else []
        top += 6 if parts else 0
        parts += [text(_EDGE, top + 16 + LINE * i, line) for i, line in enumerate(lines)]
        return parts, top + LINE * len(lines) + 14

    def _foot(self, box: Box) -> tuple[Scale, list[str], float]:
        """The horizontal scale, what is drawn below the plot, and where that ends."""
        if self.x.categories:
            x, ticks = scale_of(self.x, self._xs(), box.left, box.right), category_ticks(self.x)
            room = box.width / len(ticks) - 8
            names = names_under([x.at(t.value) for t in ticks], [t.label for t in ticks], room)
            axis, end = [*draw_bottom(x, [], box), *names.draw(box.bottom + 4)], names.height + 8
        else:
            x, ticks = within(scale_of(self.x, self._xs(), box.left, box.right), self.width)
            axis, end = draw_bottom(x, ticks, box), 28.0
        named, height = draw_title(self.x.title, (box.left + box.right) / 2, box.bottom + end, box.width)
        return x, [*axis, *named], box.bottom + end + height + 6

    def _category(self, value: float) -> str:
        names = self.x.categories
        return names[min(round(value), len(names) - 1)] if names else ""

    def _xs(self) -> list[float]:
        return [m.x for s in self.series for m in s.marks] + [x for s in self.series for x, _, _ in s.band]

    def _ys(self) -> list[float]:
        marks = [m.y for s in self.series for m in s.marks]
        return marks + [v for s in self.series for _, *ends in s.band for v in ends]


def _named(name: str, look: Look, x: float, y: float) -> list[str]:
    """The name of a line right of its end, after a sample of it."""
    sample = path(f"M{num(x)} {num(y)}h{num(_SAMPLE)}", look.line)
    return [sample, text(x + _SAMPLE + 6, y + 5, name)]
