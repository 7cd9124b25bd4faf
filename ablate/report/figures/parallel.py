"""Parallel coordinates: a line for each run through the values of its parameters to its objective."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ablate.report.document.blocks import Figure
from ablate.report.figures.axes import TICK, whole
from ablate.report.figures.legend import Entry, legend
from ablate.report.figures.marks import Look, looks
from ablate.report.figures.scales import Scale, Tick, short
from ablate.report.figures.series import faintness
from ablate.report.figures.svg import figure, finite, num, page_width, path, polyline, text, titled
from ablate.report.figures.text import LINE, fits, shorten, wrap

_EDGE, _HEIGHT = 4.0, 300.0
_LEFT, _RIGHT = 76.0, 76.0
_APART = 94.0  # from axis to axis, at least
_BELOW = 34.0  # from the end of an axis to the place of runs without a value


@dataclass(frozen=True)
class Dimension:
    """An axis, with a value for each run; texts make it one of categories. None: the run has no such key."""

    name: str
    values: tuple[float | str | None, ...]
    log: bool = False


def parallel(
    id: str,
    title: str,
    description: str,
    caption: str,
    *,
    dimensions: Sequence[Dimension],
    trials: Sequence[str],
    groups: Sequence[str],
    order: Sequence[str] = (),
) -> Figure:
    """``dimensions`` from left to right, the objective last; ``groups``, by colour, are those of ``trials``.
    ``order``: see ``looks``.

    Each run is a link whose ``data-values`` holds its values as JSON. ValueError: no runs, fewer than two
    dimensions, one without a value or with another number of values than runs, or a number not finite.
    """
    if not trials or len(dimensions) < 2 or len(groups) != len(trials):
        raise ValueError(f"{title}: it takes two dimensions, and runs with a group each")
    for d in dimensions:
        if len(d.values) != len(trials):
            raise ValueError(f"{title}: {d.name} has {len(d.values)} values for {len(trials)} runs")
        finite((v for v in d.values if isinstance(v, (int, float))), f"{title}: {d.name}")
        if all(v is None for v in d.values):
            raise ValueError(f"{title}: {d.name} has no value")
    chart = _Chart(tuple(dimensions), tuple(trials), tuple(groups), looks(groups, order))
    parts, height = chart.draw()
    return figure(id, title, description, caption, width=chart.width, height=height, parts=parts)


@dataclass(frozen=True)
class _Scaled:
    """A dimension with its scale and ticks. ``absent`` is where runs without a value are drawn."""

    dimension: Dimension
    places: dict[str, int]
    scale: Scale
    ticks: list[Tick]
    absent: float

    @classmethod
    def of(cls, dimension: Dimension, top: float) -> _Scaled:
        bottom = top + _HEIGHT
        present = [v for v in dimension.values if v is not None]
        numbers = [float(v) for v in present if _is_number(v)]
        if len(numbers) == len(present):
            scale = Scale.of(numbers, dimension.name, bottom, top, dimension.log)
            return cls(dimension, {}, scale, scale.ticks(5), bottom + _BELOW)
        numbered = sorted({float(v) for v in present if _is_number(v)})
        names = [short(v) for v in numbered] + sorted({_name(v) for v in present if not _is_number(v)})
        scale = Scale(-0.5, len(names) - 0.5, bottom, top)
        every = -(-len(names) // int(_HEIGHT / LINE))
        ticks = [Tick(float(i), name) for i, name in enumerate(names) if i % every == 0]
        return cls(dimension, {name: i for i, name in enumerate(names)}, scale, ticks, bottom + _BELOW)

    def at(self, value: float | str | None) -> float:
        if value is None:
            return self.absent
        return self.scale.at(self.places[_name(value)] if self.places else float(value))

    @property
    def lacks(self) -> bool:
        return None in self.dimension.values


def _is_number(value: float | str | None) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _name(value: float | str) -> str:
    """The category of a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else short(value)


@dataclass(frozen=True)
class _Chart:
    dimensions: tuple[Dimension, ...]
    trials: tuple[str, ...]
    groups: tuple[str, ...]
    looked: dict[str, Look]

    @property
    def width(self) -> float:
        return page_width(_LEFT + _RIGHT + _APART * (len(self.dimensions) - 1))

    @property
    def apart(self) -> float:
        return (self.width - _LEFT - _RIGHT) / (len(self.dimensions) - 1)

    def draw(self) -> tuple[list[str], float]:
        """The parts of the drawing, and how high it all is."""
        entries = [
            Entry(name, replace(look, dash=""), line=True) for name, look in self.looked.items() if name
        ]
        parts, top = legend(entries, _EDGE, self.width - 2 * _EDGE)
        heads, top = self._heads(top)
        scaled = [_Scaled.of(d, top) for d in self.dimensions]
        parts += heads
        parts += [self._run(i, scaled, self.looked[group]) for i, group in enumerate(self.groups)]
        for i, each in enumerate(scaled):
            parts += self._axis(i, each, top)
        lacking = any(s.lacks for s in scaled)
        return parts, top + _HEIGHT + (_BELOW + 14 if lacking else 14)

    def _x(self, i: int) -> float:
        return _LEFT + self.apart * i

    def _heads(self, top: float) -> tuple[list[str], float]:
        """The names of the axes, by turns on two levels if they do not fit on one; and where axes begin."""
        names = [d.name for d in self.dimensions]
        levels = 1 if all(fits(name, self._room(i, 1), 1) for i, name in enumerate(names)) else 2
        lines = [wrap(name, self._room(i, levels), 2) for i, name in enumerate(names)]
        heights = [LINE * max(map(len, lines[level::levels])) for level in range(levels)]
        begin = top + sum(heights) + 18 + 6 * (levels - 1)
        parts = []
        for i, (name, each) in enumerate(zip(names, lines, strict=True)):
            last = begin - 14 - (heights[0] + 6 if i % levels else 0.0)
            first = last - LINE * (len(each) - 1)
            drawn = "".join(text(self._x(i), first + LINE * k, s, "middle") for k, s in enumerate(each))
            parts += [
                whole(name, each, drawn),
                path(f"M{num(self._x(i))} {num(last + 6)}V{num(begin)}", "grid"),
            ]
        return parts, begin

    def _room(self, i: int, levels: int) -> float:
        """How wide the name of an axis may be, around it, with names on so many levels."""
        inside = levels * self.apart - 10
        return min(inside, 2 * (self._x(i) - _EDGE), 2 * (self.width - _EDGE - self._x(i)))

    def _run(self, i: int, scaled: Sequence[_Scaled], look: Look) -> str:
        places = [(self._x(k), s.at(s.dimension.values[i])) for k, s in enumerate(scaled)]
        values = [s.dimension.values[i] for s in scaled]
        objective = "no result" if values[-1] is None else _name(values[-1])
        who = ", ".join(part for part in (self.trials[i], self.groups[i]) if part)
        title = f"{who}: {scaled[-1].dimension.name} {objective}"
        line = path(polyline(places), f"line {look.colour} {faintness(len(self.trials))}")
        return titled(title, line, trial=self.trials[i], data_values=json.dumps(values))

    def _axis(self, i: int, scaled: _Scaled, top: float) -> list[str]:
        """An axis and its ticks: left of it, but for the last."""
        x, last = self._x(i), i == len(self.dimensions) - 1
        side, kind = (8, "tick halo") if last else (-8, "tick halo end")
        room = (_RIGHT if last else _LEFT if i == 0 else self.apart - 6) - 8 - _EDGE
        places = [scaled.scale.at(t.value) for t in scaled.ticks]
        marks = "".join(f"M{num(x - 4)} {num(y)}h8" for y in places)
        parts = [path(f"M{num(x)} {num(top)}v{num(_HEIGHT)}{marks}", "rule")]
        for tick, y in zip(scaled.ticks, places, strict=True):
            said = shorten(tick.label, room, TICK)
            parts.append(whole(tick.label, (said,), text(x + side, y + 5, said, kind)))
        if scaled.lacks:
            parts.append(text(x + side, scaled.absent + 5, "no result" if last else "not set", kind))
        return parts
