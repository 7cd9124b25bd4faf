"""Series of marks, and how they are drawn: bands, lines, steps and points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from ablate.report.figures.legend import Entry
from ablate.report.figures.marks import QUIET, Look, Mark, linked, shape, words
from ablate.report.figures.scales import Scale, short
from ablate.report.figures.svg import exact, path, polyline, titled

_FEW = 24  # a line of so many points or fewer shows them
_CROWD = 100  # faint lines of a figure from which on they are fainter
_RADIUS, _RADIUS_MANY, _RADIUS_MOST, _RADIUS_FAINT = 5.5, 4.5, 3.5, 2.5
_MANY, _MOST = 120, 400  # points of a figure from which on they are smaller


@dataclass(frozen=True)
class Series:
    """Marks in the order they are drawn. ``band`` holds (x, low, high). Series of one ``group`` share colour,
    shape and legend entry; "": the name is the group. ``faint`` lines lie thin in the background; those
    without a group are grey and have no legend entry."""

    name: str
    marks: tuple[Mark, ...]
    kind: Literal["points", "line", "steps"] = "points"
    band: tuple[tuple[float, float, float], ...] = ()
    faint: bool = False
    group: str = ""

    @property
    def key(self) -> str:
        """The group whose look it has, "" for none."""
        return self.group or ("" if self.faint else self.name)

    @property
    def trial(self) -> str:
        """The run that all of a line shows, "" if there is none or several."""
        trials = {mark.trial for mark in self.marks}
        return trials.pop() if len(trials) == 1 else ""

    @property
    def several(self) -> bool:
        """Whether its marks are of different runs."""
        return len({mark.trial for mark in self.marks}) > 1


@dataclass(frozen=True)
class Plane:
    """Both scales, and what a category of the horizontal one is called."""

    x: Scale
    y: Scale
    category: Callable[[float], str]

    def at(self, mark: Mark) -> tuple[float, float]:
        return self.x.at(mark.x), self.y.at(mark.y)


def legend_of(series: Sequence[Series], looked: dict[str, Look]) -> list[Entry]:
    """The entries of all groups, with what is shown of each."""
    entries, dots = [], _dots(series)
    for key, look in looked.items():
        members = [s for s in series if s.key == key]
        lines = [s for s in members if s.kind != "points"]
        entries.append(
            Entry(
                key,
                look if any(not s.faint for s in lines) else replace(look, dash=""),
                line=bool(lines),
                point=any(dots(s) for s in members if not s.faint),
                band=any(s.band for s in members),
            )
        )
    return entries


def _dots(series: Sequence[Series]) -> Callable[[Series], bool]:
    """Whether the marks of a series are drawn: of points, of lines of different runs or with a single mark,
    and of the lines that are not faint, if none of them has many."""
    few = all(len(s.marks) <= _FEW for s in series if s.kind != "points" and not s.faint)
    return lambda s: s.kind == "points" or s.several or len(s.marks) == 1 or (few and not s.faint)


def draw(series: Sequence[Series], looked: dict[str, Look], plane: Plane) -> list[str]:
    """All series, from the back to the front: bands, faint lines, lines, points."""
    dots = _dots(series)
    points = sum(len(s.marks) for s in series if dots(s) and not s.faint)
    radius = _RADIUS if points < _MANY else _RADIUS_MANY if points < _MOST else _RADIUS_MOST
    faint = sum(s.faint for s in series)
    parts = [_band(s, looked.get(s.key, QUIET), plane) for s in series if s.band]
    for s in sorted(series, key=lambda s: (not s.faint, s.kind == "points")):
        look = looked.get(s.key, QUIET)
        if s.kind == "points":
            parts += _points(s, look, plane, _RADIUS_FAINT if s.faint else radius)
        elif s.marks:
            kind = f"line {look.colour} {faintness(faint)}" if s.faint else look.line
            size = _RADIUS_FAINT if s.faint else min(radius, _RADIUS_MANY)
            parts.append(_line(s, look, kind, plane, size if dots(s) else 0.0))
    return parts


def faintness(lines: int) -> str:
    """The class of one of so many faint lines: each the fainter, the more there are."""
    return "faint few" if lines <= _FEW else "faint" if lines <= _CROWD else "faint many"


def _band(s: Series, look: Look, plane: Plane) -> str:
    lows = [(plane.x.at(x), plane.y.at(low)) for x, low, _ in s.band]
    highs = [(plane.x.at(x), plane.y.at(high)) for x, _, high in s.band]
    if s.kind == "steps":
        lows, highs = _held(lows), _held(highs)
    return path(polyline([*lows, *reversed(highs)]) + "z", f"band {look.colour}")


def _points(s: Series, look: Look, plane: Plane, radius: float) -> list[str]:
    return [_point(mark, s, plane, shape(*plane.at(mark), look, radius)) for mark in s.marks]


def _point(mark: Mark, s: Series, plane: Plane, drawn: str) -> str:
    numbers = f"{plane.category(mark.x) or short(mark.x)}, {short(mark.y)}"
    return linked(mark, words(mark, s.name, numbers), drawn)


def _line(s: Series, look: Look, kind: str, plane: Plane, radius: float) -> str:
    """The line, as a link if it is one run's, or each point if they are of several. ``radius``: that of the
    points, 0 for none."""
    places = [plane.at(mark) for mark in s.marks]
    d = polyline(_held(places) if s.kind == "steps" else places)
    drawn = ("" if s.faint else path(d, "under")) + path(d, kind)
    if radius and not s.several:
        drawn += "".join(shape(x, y, look, radius) for x, y in places)
    x, y = exact([m.x for m in s.marks]), exact([m.y for m in s.marks])
    whole = titled(_title(s), drawn, trial=s.trial, data_x=x, data_y=y)
    return whole + "".join(_points(s, look, plane, radius)) if s.several else whole


def _held(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of steps that keep each height until the next place."""
    corners = [corner for a, b in pairwise(places) for corner in (a, (b[0], a[1]))]
    return [*corners, *places[-1:]]


def _title(s: Series) -> str:
    """What a whole line says: the last label of its marks, or its run and name."""
    labels = [mark.label for mark in s.marks if mark.label]
    if labels and s.trial:
        return labels[-1]
    return ", ".join(dict.fromkeys(part for part in (s.trial, s.name) if part)) or "line"
