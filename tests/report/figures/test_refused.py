"""What cannot be drawn is refused, so that a page says in words why it is missing."""

from collections.abc import Callable
from typing import Any

import pytest

from ablate.report.figures import (
    Axis,
    Bar,
    Dimension,
    Mark,
    Row,
    Series,
    bars,
    forest,
    heatmap,
    parallel,
    xy,
)

TEXT = ("f", "Accuracy over rank", "Description.", "Caption.")


def points(*marks: Mark, x: Axis = Axis("x"), band: tuple[tuple[float, float, float], ...] = ()) -> Any:  # noqa: B008
    return xy(*TEXT, x=x, y=Axis("y"), series=[Series("s", marks, band=band)])


def rows(*rows: Row, margin: float | None = None) -> Any:
    return forest(*TEXT, label="d", rows=rows, margin=margin)


def cells(values: list[list[float | None]], at: float | None = None) -> Any:
    return heatmap(*TEXT, columns=["a", "b"], rows=["c"], values=values, label="v", diverging_at=at)


def lines(*values: tuple[Any, ...], runs: int = 2, log: bool = False) -> Any:
    dimensions = [Dimension(f"key{i}", v, log) for i, v in enumerate(values)]
    return parallel(*TEXT, dimensions=dimensions, trials=["t"] * runs, groups=["g"] * runs)


NAN, INF = float("nan"), float("inf")
NOT_FINITE: dict[str, Callable[[], Any]] = {
    "x": lambda: points(Mark(NAN, 0)),
    "y": lambda: points(Mark(0, 0), Mark(1, INF)),
    "band": lambda: points(Mark(0, 0), band=((0, NAN, 1),)),
    "mean": lambda: rows(Row("a", NAN, None, None, (), "better")),
    "end": lambda: rows(Row("a", 0.0, -INF, 1.0, (), "better")),
    "seed": lambda: rows(Row("a", 0.0, None, None, (Mark(NAN, 0),), "better")),
    "margin": lambda: rows(Row("a", 0.0, None, None, (), "better"), margin=NAN),
    "cell": lambda: cells([[1.0, NAN]]),
    "middle": lambda: cells([[1.0, 2.0]], at=NAN),
    "bar": lambda: bars(*TEXT, label="v", groups={"": [Bar("a", 1.0, NAN)]}),
    "parallel": lambda: lines((1.0, NAN), (1.0, 2.0)),
}


@pytest.mark.parametrize("make", NOT_FINITE.values(), ids=NOT_FINITE.keys())
def test_numbers_that_are_none(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"Accuracy over rank.*cannot be drawn"):
        make()


NOTHING: dict[str, tuple[Callable[[], Any], str]] = {
    "series": (lambda: xy(*TEXT, x=Axis("x"), y=Axis("y"), series=[]), "no points"),
    "marks": (points, "no points"),
    "rows": (rows, "no comparison has a difference"),
    "differences": (lambda: rows(Row("a", None, None, None, (), "blocked")), "no comparison has"),
    "values": (lambda: cells([[None, None]]), "no cell has a value"),
    "shape": (lambda: cells([[1.0]]), "not 1 rows of 2"),
    "groups": (lambda: bars(*TEXT, label="v", groups={}), "no bars"),
    "group": (lambda: bars(*TEXT, label="v", groups={"dense": []}), "dense has no bars"),
    "runs": (lambda: lines((), (), runs=0), "runs"),
    "dimension": (lambda: lines((1.0, 2.0)), "two dimensions"),
    "lengths": (lambda: lines((1.0,), (1.0, 2.0)), "key0 has 1 values for 2 runs"),
    "absent": (lambda: lines((None, None), (1.0, 2.0)), "key0 has no value"),
    "log": (lambda: points(Mark(0, 1), x=Axis("lr", log=True)), "lr: 0 cannot be drawn on a log"),
    "log of runs": (lambda: lines((0.0, 1.0), (1.0, 2.0), log=True), "key0: 0 cannot be drawn on a log"),
    "category": (lambda: points(Mark(2, 0), x=Axis("arm", categories=("a", "b"))), "index of no category"),
}


@pytest.mark.parametrize(("make", "why"), NOTHING.values(), ids=NOTHING.keys())
def test_nothing_to_draw_and_what_does_not_fit(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()
