"""Names at the ends of lines, where there is room for them, instead of a legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ablate.report.figures.series import Series
from ablate.report.figures.text import LINE, width

_MOST = 6
_MOST_MOVED = 16.0  # a name farther from the end of its line than this would look like another line's
_NEAR = 0.1  # of the horizontal axis: where lines have to end to be named there


def direct(
    series: Sequence[Series], across: Callable[[float], float], up: Callable[[float], float], room: float
) -> dict[str, float]:
    """Where the name of each group is written at the right of the plot; empty: a legend has to do.

    ``across`` and ``up`` turn values into shares of the axes' width and into units of the drawing;
    ``room`` is the most that a name may take.
    """
    named = [s for s in series if s.key and not s.faint]
    keys = [s.key for s in named]
    if not keys or len(set(keys)) < len(keys) or {s.key for s in series if s.key} - set(keys):
        return {}
    if len(keys) > _MOST or any(s.kind == "points" or not s.marks for s in named):
        return {}
    if any(across(s.marks[-1].x) < 1 - _NEAR for s in named) or any(width(key) > room for key in keys):
        return {}
    ends = {s.key: up(s.marks[-1].y) for s in named}
    places = spread(ends, LINE)
    return places if all(abs(places[key] - ends[key]) <= _MOST_MOVED for key in keys) else {}


def spread(wanted: dict[str, float], apart: float) -> dict[str, float]:
    """Places at least ``apart`` from each other, in the order and as near as can be to those ``wanted``."""
    groups: list[list[tuple[float, str]]] = []
    for place in sorted((y, key) for key, y in wanted.items()):
        groups.append([place])
        while len(groups) > 1 and _top(groups[-1], apart) < _top(groups[-2], apart) + apart * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    return {key: _top(group, apart) + apart * i for group in groups for i, (_, key) in enumerate(group)}


def _top(group: Sequence[tuple[float, str]], apart: float) -> float:
    """Where the first of a group stands, whose middle is that of the places wanted."""
    return sum(y for y, _ in group) / len(group) - apart * (len(group) - 1) / 2
