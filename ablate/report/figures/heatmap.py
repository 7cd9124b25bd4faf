"""Heatmaps: a number in each cell, and its colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ablate.report.document.blocks import Figure
from ablate.report.figures.axes import TICK, draw_title, names_under, whole
from ablate.report.figures.scales import aligned, decimals, domain, short
from ablate.report.figures.svg import WIDTH, exact, figure, finite, page_width, rect, text, titled
from ablate.report.figures.text import LINE, shorten, width, wrap

STEPS = 7
_STRONG = {"q": (4, 5, 6), "d": (0, 1, 5, 6)}  # steps whose colour takes text of the other lightness
_EDGE, _CELL_HEIGHT = 4.0, 32.0
_LEAST_NAMES, _MOST_NAMES, _LEAST_CELL, _MOST_FOR_NAMES, _MOST_CELL = 40.0, 200.0, 48.0, 110.0, 150.0
_GAP = 10.0
_SWATCH = 30.0
_ABSENT = "\u2013"


def heatmap(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    values: Sequence[Sequence[float | None]],
    label: str,
    x: str = "",
    y: str = "",
    diverging_at: float | None = None,
) -> Figure:
    """``values`` by rows, then columns; None: not measured. ``label`` names them, ``x`` the columns, ``y``
    the rows. ``diverging_at``: where colours change from below to above. As wide as its columns take.

    ValueError: no value, a value that is not finite, or not one for each row and column.
    """
    found = [v for row in values for v in row if v is not None]
    finite([*found, diverging_at or 0.0], title)
    if not found:
        raise ValueError(f"{title}: no cell has a value")
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        raise ValueError(f"{title}: the values are not {len(rows)} rows of {len(columns)}")
    steps = _Steps.of(found, diverging_at, title)
    chart = _Chart(tuple(columns), tuple(rows), values, steps, label, x, y)
    parts, height = chart.draw()
    return figure(id, title, description, caption, width=chart.width, height=height, parts=parts)


@dataclass(frozen=True)
class _Steps:
    """Values to colours: seven equal steps from ``low`` to ``high``. ``places``: decimals in words."""

    low: float
    high: float
    kind: str
    places: int | None

    @classmethod
    def of(cls, values: Sequence[float], middle: float | None, name: str) -> _Steps:
        low, high, kind = min(values), max(values), "q"
        if middle is not None:
            reach = max(abs(low - middle), abs(high - middle))
            low, high, kind = middle - reach, middle + reach, "d"
        domain((low, high), name)  # or they cannot be drawn
        return cls(low, high, kind, decimals(values))

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def step(self, value: float) -> int:
        if self.high <= self.low:
            return STEPS // 2
        return min(int(STEPS * (value - self.low) / (self.high - self.low)), STEPS - 1)

    def say(self, value: float | None) -> str:
        return _ABSENT if value is None else aligned(value, self.places)


@dataclass(frozen=True)
class _Chart:
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: Sequence[Sequence[float | None]]
    steps: _Steps
    label: str
    x: str
    y: str

    @cached_property
    def left(self) -> float:
        """Where the cells begin: right of the names of rows."""
        names = max(width(name) for name in (*self.rows, self.y))
        return _EDGE + min(max(names, _LEAST_NAMES), _MOST_NAMES) + _GAP

    @cached_property
    def width(self) -> float:
        """As much as every number takes, and names of columns if they are short."""
        numbers = max(width(self.steps.say(v)) for row in self.values for v in row) + 12
        names = min(max(width(name, TICK) for name in self.columns) + 10, _MOST_FOR_NAMES)
        least = self.left + max(numbers, _LEAST_CELL) * len(self.columns) + _EDGE
        wished = self.left + max(numbers, names) * len(self.columns) + _EDGE
        return page_width(least if least > WIDTH else min(max(least, wished), WIDTH))

    @cached_property
    def cell(self) -> float:
        return min((self.width - self.left - _EDGE) / len(self.columns), _MOST_CELL)

    def draw(self) -> tuple[list[str], float]:
        """The parts of the drawing, and how high it all is."""
        parts, top = self._legend()
        if self.y:
            room = self.left - _GAP - _EDGE
            parts.append(text(self.left - _GAP, top + 13, shorten(self.y, room, TICK), "note end"))
            top += LINE
        for name, row in zip(self.rows, self.values, strict=True):
            lines = wrap(name, self.left - _GAP - _EDGE, 2)
            height = max(_CELL_HEIGHT, LINE * len(lines) + 6)
            parts.append(self._name(name, lines, top + height / 2))
            parts += [self._cell(i, name, value, top, height) for i, value in enumerate(row)]
            top += height
        foot, bottom = self._foot(top)
        return [*parts, *foot], bottom

    def _legend(self) -> tuple[list[str], float]:
        """What the colours mean."""
        turn = "" if self.steps.kind == "q" else f" (colours change at {short(self.steps.middle)})"
        lines = wrap(f"{self.label}{turn}", self.width - 2 * _EDGE, 2)
        parts = [text(_EDGE, 16 + LINE * i, line) for i, line in enumerate(lines)]
        y, x = LINE * len(lines) + 8, _EDGE
        low, high = self.steps.say(self.steps.low), self.steps.say(self.steps.high)
        shown = range(STEPS) if self.steps.high > self.steps.low else [STEPS // 2]
        if len(shown) > 1:
            parts.append(text(x, y + 14, low, "tick"))
            x += width(low, TICK) + 8
        for i, step in enumerate(shown):
            parts.append(rect(x + _SWATCH * i, y, _SWATCH, 18, f"{self.steps.kind}{step}"))
        x += _SWATCH * len(shown) + 8
        parts.append(text(x, y + 14, high, "tick"))
        if any(v is None for row in self.values for v in row):
            parts.append(text(x + width(high, TICK) + 18, y + 14, f"{_ABSENT} not measured", "tick"))
        return parts, y + 32

    def _name(self, name: str, lines: Sequence[str], middle: float) -> str:
        first = middle + 5 - LINE * (len(lines) - 1) / 2
        drawn = (text(self.left - _GAP, first + LINE * i, line, "end") for i, line in enumerate(lines))
        return whole(name, lines, "".join(drawn))

    def _cell(self, column: int, row: str, value: float | None, top: float, height: float) -> str:
        x, said = self.left + self.cell * column, self.steps.say(value)
        kind, ink = "absent", "note"
        if value is not None:
            step = self.steps.step(value)
            kind = f"{self.steps.kind}{step}"
            ink = "strong" if step in _STRONG[self.steps.kind] else "weak"
        drawn = rect(x + 1, top + 1, self.cell - 2, height - 2, kind)
        drawn += text(x + self.cell / 2, top + height / 2 + 5, said, f"{ink} middle")
        exactly = {} if value is None else {"data_value": exact([value])}
        name = self.columns[column]
        said = "not measured" if value is None else said
        return titled(f"{row}, {name}: {said}", drawn, data_x=name, data_y=row, **exactly)

    def _foot(self, top: float) -> tuple[list[str], float]:
        """The names of the columns and of what they are, and where these end."""
        count = len(self.columns)
        at = [self.left + self.cell * (i + 0.5) for i in range(count)]
        names = names_under(at, self.columns, self.cell - 6)
        top += 6
        middle = self.left + self.cell * count / 2
        room = 2 * min(middle, self.width - middle) - 2 * _EDGE
        named, height = draw_title(self.x, middle, top + names.height + 2, room)
        return [*names.draw(top), *named], top + names.height + height + 8
