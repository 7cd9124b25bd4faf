"""Marks: points with a shape for each group, linked to the runs that they show; and the looks of groups."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ablate.report.figures.svg import exact, num, path, titled

COLOURS = 8

_SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),  # a circle
    ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    ((0, -1.15), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    ((0, 1.15), (1.1, -0.8), (-1.1, -0.8)),
    (
        (-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4),
        (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4),
    ),
    tuple((1.1 * math.sin(math.pi * k / 3), 1.1 * math.cos(math.pi * k / 3)) for k in range(6)),
    tuple(
        ((1.35, 0.6)[k % 2] * math.sin(math.pi * k / 5), -(1.35, 0.6)[k % 2] * math.cos(math.pi * k / 5))
        for k in range(10)
    ),
)  # fmt: skip
CIRCLE, SQUARE, UP, DIAMOND, DOWN = range(5)


@dataclass(frozen=True)
class Mark:
    """One point. ``label`` is what hovering and screen readers say, the numbers if empty; ``trial`` is the
    run that it shows and links to, "" if none."""

    x: float
    y: float
    label: str = ""
    trial: str = ""


@dataclass(frozen=True)
class Look:
    """How a group is told from others: by colour, by shape, and by the dashes of its lines."""

    colour: str
    shape: int
    dash: str

    @property
    def line(self) -> str:
        return f"line {self.colour} {self.dash}".rstrip()


QUIET = Look("quiet", CIRCLE, "")


def looks(names: Iterable[str], order: Iterable[str] = ()) -> dict[str, Look]:
    """The look of each group of ``names``, in the order of their first appearance.

    Groups in ``order`` have the first looks, whether they are among ``names`` or not: given the same, a group
    looks the same in several figures. Beyond eight, colours come again with other shapes and dashes.
    """
    shown = dict.fromkeys(names)
    places = {name: i for i, name in enumerate(dict.fromkeys([*order, *shown]))}
    return {name: _look(places[name]) for name in shown}


def _look(i: int) -> Look:
    shape = (i + i // COLOURS) % COLOURS
    return Look(f"c{i % COLOURS}", shape, f"s{shape}" if shape else "")


@cache
def _outline(shape: int, radius: float) -> str:
    """The outline of a shape, relative to its centre."""
    if not _SHAPES[shape]:
        r, d = num(radius), num(2 * radius)
        return f"m-{r} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0z"
    points = [(radius * x, radius * y) for x, y in _SHAPES[shape]]
    steps = [(x - u, y - v) for (x, y), (u, v) in zip(points, [(0.0, 0.0), *points], strict=False)]
    return "".join(f"{'l' if i else 'm'}{num(x)} {num(y)}" for i, (x, y) in enumerate(steps)) + "z"


def shape(x: float, y: float, look: Look, radius: float, kind: str = "mark") -> str:
    """The mark of a group at a place of the drawing."""
    return path(f"M{num(x)} {num(y)}{_outline(look.shape, radius)}", f"{kind} {look.colour}")


def words(mark: Mark, name: str, numbers: str) -> str:
    """What a mark says: its label, or its run, the ``name`` of its series, and its ``numbers``."""
    who = ", ".join(dict.fromkeys(part for part in (mark.trial, name) if part))
    return mark.label or (f"{who}: {numbers}" if who else numbers)


def linked(mark: Mark, title: str, content: str) -> str:
    """``content``, drawn for ``mark``, with its title, its numbers and the link to its run."""
    return titled(title, content, trial=mark.trial, data_x=exact([mark.x]), data_y=exact([mark.y]))
