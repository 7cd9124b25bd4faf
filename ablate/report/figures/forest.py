"""Forest plots: each comparison's verdict, its interval, and the seeds (or replicates) that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.report.document.blocks import Figure
from ablate.report.figures.axes import TICK, Box, draw_bottom, draw_title, whole, within
from ablate.report.figures.marks import CIRCLE, DIAMOND, DOWN, SQUARE, UP, Look, Mark, shape, words
from ablate.report.figures.scales import MINUS, Scale, Tick, aligned, domain, short
from ablate.report.figures.svg import (
    WIDTH,
    element,
    exact,
    figure,
    finite,
    num,
    path,
    plain,
    rect,
    text,
    titled,
)
from ablate.report.figures.text import BOLD, LINE, shorten, width, wrap

_LOOKS = {
    "better": Look("c0", UP, ""),
    "worse": Look("c1", DOWN, ""),
    "equivalent": Look("c2", SQUARE, ""),
    "inconclusive": Look("hollow quiet", DIAMOND, ""),
}
_OTHER = Look("quiet", SQUARE, "")
_POINT = Look("quiet", CIRCLE, "")
_EDGE, _GAP = 4.0, 16.0
_LEAST_NAMES, _MOST_NAMES = 120.0, 350.0
_SEED, _LEVELS = 4.0, 3
_LEAST_HEIGHT = 54.0
_FAR = 4.0  # an interval that reaches farther than the other values do, so many times, ends in an arrow


@dataclass(frozen=True)
class Row:
    """A comparison. ``mean``, and ``low`` to ``high``, its interval: None if not there. ``points``: the
    differences it is the mean of, in ``x``. ``word``: its verdict."""

    name: str
    mean: float | None
    low: float | None
    high: float | None
    points: tuple[Mark, ...]
    word: str


def forest(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    label: str,
    rows: Sequence[Row],
    margin: float | None = None,
) -> Figure:
    """A row for each comparison. ``label`` names the differences; those within ``margin`` do not matter.

    ValueError: no row has a number, or one is not finite.
    """
    for row in rows:
        found = [*(v for v in (row.mean, row.low, row.high) if v is not None), *(p.x for p in row.points)]
        finite(found, f"{title}: {row.name}")
    finite([margin or 0.0], f"{title}: the margin")
    if not any(row.mean is not None or row.points for row in rows):
        raise ValueError(f"{title}: no comparison has a difference to draw")
    chart = _Chart(tuple(rows), label, margin)
    parts, height = chart.draw()
    return figure(id, title, description, caption, width=WIDTH, height=height, parts=parts)


@dataclass(frozen=True)
class _Placed:
    """A row with the lines of its name, what is said below that, and where it begins and ends."""

    row: Row
    head: list[str]
    said: list[str]
    top: float
    bottom: float


@dataclass(frozen=True)
class _Chart:
    rows: tuple[Row, ...]
    label: str
    margin: float | None

    def draw(self) -> tuple[list[str], float]:
        """The parts of the drawing, and how high it all is."""
        told = [_told(row, self._places()) for row in self.rows]
        longest = (
            max(BOLD * width(row.name), _said_width(row.word, said))
            for row, said in zip(self.rows, told, strict=True)
        )
        names = min(max(*longest, _LEAST_NAMES), _MOST_NAMES)
        placed = self._placed(told, names)
        box = Box(_EDGE + names + _GAP, placed[0].top, WIDTH - _EDGE, placed[-1].bottom)
        scale, ticks = within(Scale(*domain(self._reach(), self.label), box.left, box.right), WIDTH)
        parts, height = self._frame(scale, ticks, box)
        for each in placed:
            parts.append(_draw(each, scale, box))
        return parts, height

    def _placed(self, told: Sequence[str], names: float) -> list[_Placed]:
        found: list[_Placed] = []
        for row, numbers in zip(self.rows, told, strict=True):
            top = found[-1].bottom if found else 6.0 + (LINE if self.margin else 0.0)
            head = wrap(row.name, names / BOLD, 3)
            fit = _said_width(row.word, numbers) <= names
            word = shorten(row.word, names / BOLD, TICK)
            said = [_said(word, numbers)] if fit else [_said(word, ""), _said("", numbers)]
            bottom = top + max(LINE * (len(head) + len(said)) + 16, _LEAST_HEIGHT)
            found.append(_Placed(row, head, said, top, bottom))
        return found

    def _reach(self) -> list[float]:
        """What the axis shows: all but the far ends of intervals that would squeeze all others together."""
        inner = [v for row in self.rows for v in (row.mean, *(p.x for p in row.points)) if v is not None]
        inner += [0.0, *((-self.margin, self.margin) if self.margin else ())]
        low, high = min(inner), max(inner)
        ends = [v for row in self.rows for v in (row.low, row.high) if v is not None]
        far = _FAR * (high - low) or float("inf")
        return [*inner, *(min(max(v, low - far), high + far) for v in ends)]

    def _places(self) -> int | None:
        """Decimals of the numbers in words: as in the table of verdicts, if that shows them well."""
        found = [v for row in self.rows for v in (row.mean, row.low, row.high) if v]
        return 4 if all(abs(v) < 100 for v in found) and any(abs(v) >= 0.001 for v in found) else None

    def _frame(self, scale: Scale, ticks: Sequence[Tick], box: Box) -> tuple[list[str], float]:
        """The margin, the grid, zero and the axis; and how high it all is."""
        parts = [self._margin(scale, box)] if self.margin else []
        grid = "".join(f"M{num(scale.at(t.value))} {num(box.top)}V{num(box.bottom)}" for t in ticks)
        parts += [path(grid, "grid")] if grid else []
        parts += [path(f"M{num(scale.at(0))} {num(box.top)}V{num(box.bottom)}", "zero")]
        parts += draw_bottom(scale, ticks, box)
        middle = (box.left + box.right) / 2
        room = 2 * min(middle, WIDTH - middle) - 2 * _EDGE
        named, height = draw_title(self.label, middle, box.bottom + 28, room)
        return [*parts, *named], box.bottom + 28 + height + 6

    def _margin(self, scale: Scale, box: Box) -> str:
        margin = abs(self.margin or 0.0)
        left, right = scale.at(-margin), scale.at(margin)
        words = f"differences within \u00b1{short(margin)} do not matter"
        half = width(words, TICK) / 2
        at = min(max((left + right) / 2, _EDGE + half), WIDTH - _EDGE - half)
        shade = rect(left, box.top, right - left, box.bottom - box.top, "margin")
        return shade + text(at, box.top - 7, words, "note middle")


def _told(row: Row, places: int | None) -> str:
    """The numbers of a row in words."""
    if row.mean is None:
        return "" if row.points else "no difference to show"
    if row.low is None or row.high is None:
        return _plus(row.mean, places)
    return f"{_plus(row.mean, places)} [{_plus(row.low, places)}, {_plus(row.high, places)}]"


def _said_width(word: str, numbers: str) -> float:
    return BOLD * width(word, TICK) + width(f" {numbers}", TICK)


def _said(word: str, numbers: str) -> str:
    """What is said below the name of a row."""
    first = element("tspan", plain(word), class_="ink head") if word else ""
    return first + plain(f" {numbers}" if word and numbers else numbers)


def _plus(value: float, places: int | None) -> str:
    said = aligned(value, places)
    return f"+{said}" if value >= 0 and not said.startswith(MINUS) else said


def _draw(each: _Placed, scale: Scale, box: Box) -> str:
    """One row: its name, its verdict and numbers, and its interval over its points."""
    row, middle = each.row, (each.top + each.bottom) / 2
    parts = [path(f"M{num(_EDGE)} {num(each.bottom)}H{num(WIDTH - _EDGE)}", "grid")]
    first = each.top + 8
    lines = "".join(text(_EDGE, first + 14 + LINE * i, line, "head") for i, line in enumerate(each.head))
    parts.append(whole(row.name, each.head, lines))
    for i, said in enumerate(each.said, len(each.head)):
        parts.append(element("text", said, class_="note", x=num(_EDGE), y=num(first + 14 + LINE * i)))
    parts += _seeds(row, scale, middle + 9)
    parts.append(_interval(row, scale, middle - 6, box))
    return "".join(parts)


def _interval(row: Row, scale: Scale, y: float, box: Box) -> str:
    """The interval and the mean; an end beyond the axis becomes an arrow."""
    if row.mean is None:
        return ""
    look = _LOOKS.get(row.word, _OTHER)
    drawn = ""
    if row.low is not None and row.high is not None:
        drawn = path(_span(scale.at(row.low), scale.at(row.high), y, box), f"range {look.colour}")
    drawn += shape(scale.at(row.mean), y, look, 6.5)
    ends = {"data_low": row.low, "data_high": row.high}
    numbers = {key: exact([v]) for key, v in ends.items() if v is not None}
    return titled(f"{row.name}: {row.word}", drawn, data_mean=exact([row.mean]), **numbers)


def _span(low: float, high: float, y: float, box: Box) -> str:
    left, right = max(low, box.left), min(high, box.right)
    start = f"M{num(left)} {num(y - 5)}v10" if low >= box.left else f"M{num(left + 7)} {num(y - 5)}l-7 5l7 5"
    end = (
        f"M{num(right)} {num(y - 5)}v10" if high <= box.right else f"M{num(right - 7)} {num(y - 5)}l7 5l-7 5"
    )
    return f"{start}M{num(left)} {num(y)}H{num(right)}{end}"


def _seeds(row: Row, scale: Scale, y: float) -> list[str]:
    """The points; those that would cover each other are set lower by turns."""
    lowest: list[float] = []  # where the last point of each level is
    drawn = []
    for mark in sorted(row.points, key=lambda p: p.x):
        x = scale.at(mark.x)
        level = next((i for i, last in enumerate(lowest) if x - last >= 2 * _SEED), len(lowest) % _LEVELS)
        lowest[level : level + 1] = [x]
        point = shape(x, y + level * _SEED, _POINT, _SEED, "seed")
        title = words(mark, row.name, short(mark.x))
        drawn.append(titled(title, point, trial=mark.trial, data_x=exact([mark.x])))
    return drawn
