"""Figures as reports and papers have them, and awkward ones: long names, few and many points, extremes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from ablate.report.document.blocks import Figure
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

ARMS = ("dense", "sparsehead", "directclr", "random")
LONG = "head.kwargs.sparsity_of_the_second_projection_layer_after_batch_normalisation"
_TEXT = ("A title of the figure", "What it shows, in words.", "How to read it.")


def run(i: int) -> str:
    return f"t{i:04d}"


def scatter(count: int = 40, narrow: bool = False) -> Figure:
    draw = random.Random(count)
    marks: dict[str, list[Mark]] = {arm: [] for arm in ARMS[:3]}
    for i in range(count):
        rank = draw.uniform(20, 120)
        arm = ARMS[i % 3]
        marks[arm].append(Mark(rank, 0.5 + 0.002 * rank + draw.gauss(0, 0.02), trial=run(i)))
    series = [Series(arm, tuple(points)) for arm, points in marks.items()]
    x, y = Axis("effective rank of the representation"), Axis("linear probe, accuracy on the test set")
    return xy(f"scatter-{count}-{narrow}", *_TEXT, x=x, y=y, series=series, narrow=narrow)


def budget_curves() -> Figure:
    """Expected best over trials: lines with bands, named at their ends."""
    series = []
    for k, arm in enumerate(ARMS[:3]):
        at = [(float(n), 0.62 + 0.03 * k - 0.15 / n) for n in range(1, 33)]
        band = tuple((x, y - 0.2 / (x + 4), y + 0.15 / (x + 4)) for x, y in at)
        series.append(Series(arm, tuple(Mark(x, y) for x, y in at), "line", band))
    return xy(
        "budget", *_TEXT, x=Axis("trials", log=True), y=Axis("expected best probe accuracy"), series=series
    )


def steps_of_search() -> Figure:
    draw = random.Random(3)
    series = []
    for k, arm in enumerate(ARMS[:2]):
        best, marks, found = 0.4, [], []
        for i in range(60):
            value = draw.gauss(0.55 + 0.03 * k, 0.05)
            found.append(Mark(i, value, trial=run(2 * i + k)))
            if value > best:
                best = value
                marks.append(Mark(i, best, trial=run(2 * i + k)))
        series += [Series(arm, tuple(found)), Series(f"best of {arm}", tuple(marks), "steps", group=arm)]
    return xy("steps", *_TEXT, x=Axis("trial"), y=Axis("objective"), series=series)


def curves_of_runs(count: int = 500, points: int = 8) -> Figure:
    """A thin line for each run, by arm, with the median of each arm over them."""
    draw = random.Random(5)
    series = []
    for i in range(count):
        level = draw.gauss(0.6, 0.05)
        marks = (Mark(2.0**p, level - 0.3 / 2**p + draw.gauss(0, 0.01), trial=run(i)) for p in range(points))
        series.append(Series(run(i), tuple(marks), "line", faint=True, group=ARMS[i % 3]))
    for k, arm in enumerate(ARMS[:3]):
        median = tuple(Mark(2.0**p, 0.6 + 0.01 * k - 0.3 / 2**p) for p in range(points))
        series.append(Series(f"median of {arm}", median, "line", group=arm))
    x, y = Axis("epochs", log=True), Axis("probe accuracy")
    return xy(f"curves-{count}", *_TEXT, x=x, y=y, series=series)


def spectra() -> Figure:
    """Spectra over ten decades, some runs in the background without a group."""
    series = []
    for i in range(12):
        marks = (Mark(k, math.exp(-k / (4 + i % 5)) * (1 + 0.3 * i), trial=run(i)) for k in range(1, 129))
        series.append(Series(run(i), tuple(marks), "line", faint=True))
    for i, arm in enumerate(ARMS):
        spectrum = tuple(Mark(k, 3 * math.exp(-k / (5 + 2 * i))) for k in range(1, 129))
        series.append(Series(arm, spectrum, "line"))
    x, y = Axis("index of the singular value"), Axis("singular value", log=True)
    return xy("spectra", *_TEXT, x=x, y=y, series=series)


def categories(id: str, names: tuple[str, ...]) -> Figure:
    draw = random.Random(len(names))
    marks = tuple(
        Mark(i + 0.15 * (k - 1), draw.gauss(0.6, 0.02), trial=run(3 * i + k))
        for i in range(len(names))
        for k in range(3)
    )
    means = tuple(Mark(i, 0.6 + 0.01 * i, label=f"mean of {name}") for i, name in enumerate(names))
    axis = Axis("arm", categories=names)
    series = [Series("seed", marks), Series("mean of the seeds", means)]
    return xy(id, *_TEXT, x=axis, y=Axis("accuracy"), series=series)


def many_groups() -> Figure:
    series = [
        Series(f"group {k} of parameters", (Mark(k, k % 5), Mark(k + 3, k % 7)), "line") for k in range(12)
    ]
    return xy("many-groups", *_TEXT, x=Axis("x"), y=Axis("y"), series=series)


def long_names() -> Figure:
    series = [Series(f"{LONG} = {k}", (Mark(1e-5 * k, 1e7 + 1e6 * k, trial=run(k)),)) for k in range(1, 4)]
    x = Axis(f"{LONG}, which is varied over {LONG} and in addition to that over {LONG}")
    return xy("long-names", *_TEXT, x=x, y=Axis(f"{LONG} over {LONG}"), series=series)


def one_point() -> Figure:
    series = [Series("only", (Mark(3.0, 0.0, trial="t0001"),))]
    return xy("one-point", *_TEXT, x=Axis("x", log=True), y=Axis("y"), series=series)


def equal_values() -> Figure:
    series = [Series("flat", tuple(Mark(float(i), 0.1) for i in range(30)), "line")]
    return xy("equal", *_TEXT, x=Axis("step"), y=Axis("loss"), series=series, narrow=True)


def verdicts() -> Figure:
    draw = random.Random(1)
    rows: list[Row] = []
    for name, mean, word, seeds in [
        ("sparsehead - dense", 0.021, "better", 10),
        ("directclr - dense", -0.013, "worse", 10),
        ("sparsehead - directclr", 0.0009, "equivalent", 10),
        (f"{LONG} - dense", 0.008, "inconclusive", 3),
        ("random - dense", None, "blocked", 0),
        ("random - sparsehead", None, "blocked", 2),
        ("linear - dense", 0.004, "control", 5),
    ]:
        half = 0.004 if seeds > 3 else 0.05
        points = tuple(
            Mark((mean or 0) + draw.gauss(0, 0.003), 0.0, trial=run(len(rows) * 10 + i)) for i in range(seeds)
        )
        low, high = (None, None) if mean is None else (mean - half, mean + half)
        rows.append(Row(name, mean, low, high, points, word))
    label = "difference in probe accuracy (positive: the first is better)"
    return forest("verdicts", *_TEXT, label=label, rows=rows, margin=0.005)


def far_interval() -> Figure:
    rows = [
        Row("a - b", 0.01, -0.9, 0.92, (Mark(0.012, 0, trial="t0001"), Mark(0.008, 0)), "inconclusive"),
        Row("c - b", 0.02, 0.015, 0.025, (Mark(0.02, 0),) * 8, "better"),
    ]
    return forest("far", *_TEXT, label="difference", rows=rows)


def lone_verdict() -> Figure:
    row = Row("a - b", 0.0, None, None, (), "a word of one's own, a long one")
    return forest("lone", *_TEXT, label="difference", rows=[row])


def gradient_map() -> Figure:
    values = [[0.1 * i + 0.03 * j if (i + j) % 4 else None for j in range(5)] for i in range(6)]
    return heatmap(
        "map",
        *_TEXT,
        columns=[f"p{10 * j}" for j in range(5)],
        rows=[f"margin {i}" for i in range(6)],
        values=values,
        label="share of the gradient",
        x="percentile of the margin",
        y="angle",
    )


def differences_map() -> Figure:
    values = [[0.02 * (i - 2) + 0.013 * (j - 3) for j in range(8)] for i in range(5)]
    return heatmap(
        "differences",
        *_TEXT,
        columns=[f"layer{j}.conv.weight" for j in range(8)],
        rows=["colour jitter strength", "rotation", LONG, "crop", "hue"],
        values=values,
        label="difference in what a probe reads",
        diverging_at=0.0,
    )


def wide_map() -> Figure:
    values = [[math.sin(i) * j for j in range(30)] for i in range(3)]
    return heatmap(
        "wide-map",
        *_TEXT,
        columns=[f"factor {j}" for j in range(30)],
        rows=["a", "b", "c"],
        values=values,
        label="value",
    )


def lone_cell() -> Figure:
    return heatmap("cell", *_TEXT, columns=["a"], rows=["b"], values=[[3e-9]], label="value")


def importance() -> Figure:
    def of(shift: float) -> list[Bar]:
        return [
            Bar("optim.lr", 0.52 - shift, 0.4 - shift, 0.63 - shift),
            Bar("head.kwargs.temperature", 0.2 + shift, 0.1, 0.33, "mostly below 0.1"),
            Bar(LONG, 0.06, 0.01, 0.12),
            Bar("data.batch", 0.0, 0.0, 0.0, "not varied"),
        ]

    groups = {"dense": of(0), "sparsehead": of(0.1)}
    return bars("importance", *_TEXT, label="share of the variance explained", groups=groups)


def signed_bars() -> Figure:
    group = [
        Bar("lr", -0.3, -0.5, -0.1),
        Bar("temperature", 0.2, 0.1, 0.9, "a note that is longer than there is room for here, by far"),
    ]
    return bars("signed", *_TEXT, label="effect", groups={"": group})


def lone_bar() -> Figure:
    return bars("lone-bar", *_TEXT, label="effect", groups={"": [Bar("lr", 0.0)]})


def coordinates(count: int = 60, keys: int = 6) -> Figure:
    draw = random.Random(count)
    names = ["optim.lr", "head.kwargs.sparsity", "objective.temperature", "head.name", "data.batch", LONG]
    names += [f"more.parameters.key{i}" for i in range(keys)]
    makers: dict[int, Callable[[int], float | str | None]] = {
        0: lambda _: 10 ** draw.uniform(-4, -1),
        1: lambda i: draw.uniform(0.5, 0.99) if i % 3 == 1 else None,
        3: lambda i: ("linear", "mlp with a long name of its own", "none")[i % 3],
        4: lambda _: draw.choice((64, 128, 256)),
    }
    dimensions = [
        Dimension(
            names[k],
            tuple(makers.get(k, lambda _: draw.uniform(0.05, 0.9))(i) for i in range(count)),
            log=k == 0,
        )
        for k in range(keys)
    ]
    results = tuple(None if i % 17 == 5 else draw.gauss(0.6, 0.05) for i in range(count))
    dimensions.append(Dimension("probe accuracy on the validation split", results))
    groups = [ARMS[i % 3] for i in range(count)]
    trials = [run(i) for i in range(count)]
    name = f"parallel-{count}-{keys}"
    return parallel(name, *_TEXT, dimensions=dimensions, trials=trials, groups=groups)


def lone_run() -> Figure:
    dimensions = [Dimension("lr", (0.1,)), Dimension("score", (0.6,))]
    return parallel("lone-run", *_TEXT, dimensions=dimensions, trials=["t0001"], groups=[""])


CASES: dict[str, Callable[[], Figure]] = {
    "scatter": scatter,
    "scatter_narrow": lambda: scatter(30, narrow=True),
    "scatter_many": lambda: scatter(500),
    "budget_curves": budget_curves,
    "steps_of_search": steps_of_search,
    "curves_of_runs": curves_of_runs,
    "spectra": spectra,
    "categories_few": lambda: categories("few", ARMS),
    "categories_wrapped": lambda: categories("wrapped", tuple(f"{arm} with sparse weights" for arm in ARMS)),
    "categories_slanted": lambda: categories("slanted", tuple(f"{LONG}{i}" for i in range(14))),
    "categories_many": lambda: categories("many", tuple(f"arm {i}" for i in range(120))),
    "many_groups": many_groups,
    "long_names": long_names,
    "one_point": one_point,
    "equal_values": equal_values,
    "verdicts": verdicts,
    "far_interval": far_interval,
    "lone_verdict": lone_verdict,
    "gradient_map": gradient_map,
    "differences_map": differences_map,
    "wide_map": wide_map,
    "lone_cell": lone_cell,
    "importance": importance,
    "signed_bars": signed_bars,
    "lone_bar": lone_bar,
    "coordinates": coordinates,
    "coordinates_many": lambda: coordinates(500, 5),
    "coordinates_wide": lambda: coordinates(40, 11),
    "lone_run": lone_run,
}
