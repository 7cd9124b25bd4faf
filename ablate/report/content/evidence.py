"""The trials that are looked into for the why of an answer, arm by arm, and numbers taken over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ablate.report.content.material import Material, Row, number
from ablate.report.content.wording import group_cell, spread
from ablate.report.document.blocks import Cell, Section, Table
from ablate.report.figures import Mark, Series

Found = Section | str  # a part of the page, or why it is not there and what would measure it


def of_arms(m: Material) -> dict[str, list[Row]]:
    """The completed trials of each arm: those of confirmation if there are any, else those of the search."""
    return {arm: rows for arm in m.arms(m.shown) if (rows := m.completed(m.shown, arm))}


def whose(m: Material) -> str:
    """Which trials these are, in words."""
    if m.shown == "confirm":
        return "trials of confirmation"
    return "completed search trials (nothing was confirmed), which differ in their parameters too"


def values(rows: Sequence[Row], metric: str) -> list[float]:
    """A metric of all runs that have it."""
    return [value for row in rows if (value := number(row, metric)) is not None]


def measured(m: Material, prefix: str) -> list[str]:
    """The metrics whose name begins so that some trial looked into has."""
    rows = [row for rows in of_arms(m).values() for row in rows]
    return [name for name in m.metrics if name.startswith(prefix) and values(rows, name)]


def by_arm(m: Material, id: str, caption: str, names: dict[str, str]) -> Table:
    """Mean and range of each metric, one row a metric and one column an arm; ``names`` says what they are."""
    arms = of_arms(m)
    rows = [
        (Cell(said), *(group_cell(spread(values(rows, name)), m.shown, arm) for arm, rows in arms.items()))
        for name, said in names.items()
    ]
    caption = f"{caption} Mean [lowest, highest] over {whose(m)}."
    return Table(id, caption, ("metric", *arms), tuple(rows))


def points_by_arm(
    m: Material, stage: str, x: Callable[[Row], float | None], metric: str, *, without: str = ""
) -> list[Series]:
    """The points of each arm of a stage that has any: one a completed trial, at ``x`` and ``metric``."""
    arms = [arm for arm in m.arms(stage) if arm != without]
    found = [Series(arm, tuple(marks(m.completed(stage, arm), x, metric))) for arm in arms]
    return [series for series in found if series.marks]


def marks(rows: Sequence[Row], x: Callable[[Row], float | None], metric: str) -> Iterator[Mark]:
    """A point for each run that has both."""
    for row in rows:
        at, value = x(row), number(row, metric)
        if at is not None and value is not None:
            yield Mark(at, value, f"{row['trial_id']}, {row['arm']}, seed {row['seed']}", row["trial_id"])
