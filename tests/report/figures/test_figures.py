"""Every figure is well-formed, the same each time, and carries the numbers that it shows."""

import json
import re
from collections.abc import Callable
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tests.report.figures.cases import CASES, coordinates, curves_of_runs, scatter, verdicts

SVG = "{http://www.w3.org/2000/svg}"
TEXT = ("Title", "Description.", "Caption.")
X, Y = Axis("x"), Axis("y")
every_case = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


def tree(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(figure.svg)


def links(figure: Figure) -> list[ElementTree.Element]:
    return list(tree(figure).iter(f"{SVG}a"))


def points(figure: Figure) -> list[tuple[float, float]]:
    return [
        (float(e.attrib["data-x"]), float(e.attrib["data-y"]))
        for e in tree(figure).iter()
        if "data-y" in e.attrib
    ]


@every_case
def test_is_well_formed_and_named(make: Callable[[], Figure]) -> None:
    figure = make()
    root = tree(figure)
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    named = {e.attrib["id"]: e.text for e in root.iter() if "id" in e.attrib}
    assert named[root.attrib["aria-labelledby"]] == figure.title
    assert named[root.attrib["aria-describedby"]] == figure.description
    assert root.attrib["role"] == ("group" if links(figure) else "img")


@every_case
def test_is_the_same_each_time(make: Callable[[], Figure]) -> None:
    assert make() == make()


@every_case
def test_holds_no_number_that_is_none(make: Callable[[], Figure]) -> None:
    assert not re.search(r"\b(nan|inf|None)\b", make().svg)


@every_case
def test_every_class_has_looks_and_a_word_on_it(make: Callable[[], Figure]) -> None:
    css = files("ablate.report.figures").joinpath("figure.css").read_text()
    used = {name for e in tree(make()).iter() for name in e.attrib.get("class", "").split()}
    assert all(re.search(rf"\.{name}\b", css) for name in used)


@every_case
def test_every_link_names_its_run(make: Callable[[], Figure]) -> None:
    for link in links(make()):
        assert link.attrib["href"] == f"#run-{link.attrib['data-trial']}"
        assert link.findtext(f"{SVG}title")


def test_few_links_are_tab_stops_and_many_are_not() -> None:
    assert not any("tabindex" in link.attrib for link in links(scatter(60)))
    assert all(link.attrib["tabindex"] == "-1" for link in links(scatter(61)))


@pytest.mark.parametrize(
    "make", [lambda: curves_of_runs(500, 15), lambda: coordinates(500, 8), lambda: scatter(500)]
)
def test_500_runs_stay_small(make: Callable[[], Figure]) -> None:
    figure = make()
    assert len(links(figure)) == 500
    assert len(figure.svg.encode()) < 400_000


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=20))
def test_points_carry_their_exact_numbers(numbers: list[tuple[float, float]]) -> None:
    series = [Series("s", tuple(Mark(a, b) for a, b in numbers))]
    assert points(xy("f", *TEXT, x=X, y=Y, series=series)) == numbers


def test_points_lie_where_their_numbers_say() -> None:
    marks = (Mark(0, 0), Mark(1, 10), Mark(2, 5))
    svg = xy("f", *TEXT, x=X, y=Y, series=[Series("s", marks)]).svg
    drawn = re.findall(r'data-x.*?d="M([\d.]+) ([\d.]+)', svg)
    (x0, y0), (x1, y1), (x2, y2) = [(float(a), float(b)) for a, b in drawn]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.2)


def test_a_line_of_one_run_is_one_link_with_all_its_numbers() -> None:
    marks = tuple(Mark(float(i), 0.1 * i, trial="t0003") for i in range(40))
    (link,) = links(xy("f", *TEXT, x=X, y=Y, series=[Series("s", marks, "line")]))
    assert [float(v) for v in link.attrib["data-x"].split()] == [m.x for m in marks]
    assert [float(v) for v in link.attrib["data-y"].split()] == [m.y for m in marks]


def test_steps_through_several_runs_link_to_each() -> None:
    marks = tuple(Mark(float(i), 0.1 * i, trial=f"t{i:04d}") for i in range(30))
    found = links(xy("f", *TEXT, x=X, y=Y, series=[Series("best", marks, "steps")]))
    assert [link.attrib["data-trial"] for link in found] == [m.trial for m in marks]
    assert [float(link.attrib["data-y"]) for link in found] == [m.y for m in marks]


def test_steps_hold_each_value_until_the_next() -> None:
    marks = (Mark(0, 0), Mark(1, 1), Mark(2, 3))
    svg = xy("f", *TEXT, x=X, y=Y, series=[Series("best", marks, "steps")]).svg
    d = re.findall(r'class="line c0" d="([^"]+)"', svg)[0]
    moves = [(float(a), float(b)) for a, b in re.findall(r"l(-?[\d.]+) ?(-?[\d.]+)", d)]
    assert [(a > 0, b < 0) for a, b in moves] == [(True, False), (False, True)] * 2
    assert all(a == 0 or b == 0 for a, b in moves)


def test_series_of_one_group_share_colour_and_legend() -> None:
    series = [
        Series(f"run {i}", (Mark(i, i), Mark(i + 1, i)), "line", faint=True, group="dense") for i in range(3)
    ]
    series += [Series("other", (Mark(0, 0),))]
    root = tree(xy("f", *TEXT, x=X, y=Y, series=series))
    texts = [e.text for e in root.iter(f"{SVG}text")]
    assert texts.count("dense") == 1
    assert not any(t and t.startswith("run ") for t in texts)
    lines = [e.attrib["class"] for e in root.iter(f"{SVG}path") if "faint" in e.attrib.get("class", "")]
    assert {kind.split()[1] for kind in lines} == {"c0"}


def test_faint_lines_without_a_group_are_quiet_and_not_in_the_legend() -> None:
    series = [Series(f"run {i}", (Mark(0, i), Mark(1, i)), "line", faint=True) for i in range(30)]
    root = tree(xy("f", *TEXT, x=X, y=Y, series=series))
    assert not [e.text for e in root.iter(f"{SVG}text") if e.text and e.text.startswith("run ")]
    assert len([e for e in root.iter() if "line quiet" in e.attrib.get("class", "")]) == 30


def test_groups_differ_in_more_than_colour() -> None:
    series = [Series(f"g{i}", (Mark(i, i),)) for i in range(20)]
    svg = xy("f", *TEXT, x=X, y=Y, series=series).svg
    looks = re.findall(
        r'data-x[^>]*><title>[^<]*</title><path class="mark (c\d)" d="M[\d.]+ [\d.]+([^"]+)"', svg
    )
    assert len(set(looks)) == 20
    assert len({outline for _, outline in looks[:8]}) == 8


def test_a_group_looks_the_same_in_figures_of_the_same_order() -> None:
    order = ("dense", "sparse", "random")
    alone = xy("f", *TEXT, x=X, y=Y, series=[Series("random", (Mark(0, 0),))], order=order)
    bar = bars("f", *TEXT, label="v", groups={"random": [Bar("lr", 1.0)]}, order=order)
    lone = [Dimension("lr", (0.1,)), Dimension("score", (0.5,))]
    run = parallel("f", *TEXT, dimensions=lone, trials=["t"], groups=["random"], order=order)
    for figure in (alone, bar, run):
        assert "c2" in figure.svg
        assert "c0" not in figure.svg
        assert "dense" not in figure.svg


def test_whole_numbers_have_whole_ticks() -> None:
    marks = (Mark(1, 0.5), Mark(2, 0.7))
    root = tree(xy("f", *TEXT, x=Axis("epoch"), y=Y, series=[Series("", marks)]))
    below = [e.text for e in root.iter(f"{SVG}text") if e.attrib.get("class") == "tick middle"]
    assert below == ["1", "2"]


def test_lines_have_marks_if_all_of_them_are_short() -> None:
    def drawn(points: int) -> int:
        series = [
            Series(name, tuple(Mark(i, i) for i in range(n)), "line") for name, n in (("a", 3), ("b", points))
        ]
        return sum(
            e.attrib.get("class", "").startswith("mark")
            for e in tree(xy("f", *TEXT, x=X, y=Y, series=series)).iter()
        )

    assert drawn(5) >= 8
    assert drawn(100) == 0


def test_a_name_that_had_to_be_shortened_can_be_read_in_full() -> None:
    name = "a name that goes on " * 10
    svg = xy("f", *TEXT, x=X, y=Y, series=[Series(name.strip(), (Mark(0, 0),))]).svg
    assert "\u2026" in svg
    assert f"<title>{name.strip()}</title>" in svg


def test_the_forest_carries_its_verdicts() -> None:
    figure = verdicts()
    root = tree(figure)
    words = [e.text for e in root.iter(f"{SVG}tspan")]
    assert words == ["better", "worse", "equivalent", "inconclusive", "blocked", "blocked", "control"]
    means = [float(e.attrib["data-mean"]) for e in root.iter() if "data-mean" in e.attrib]
    assert means == [0.021, -0.013, 0.0009, 0.008, 0.004]
    assert len(links(figure)) == 40
    assert all(float(link.attrib["data-x"]) for link in links(figure))


def test_a_far_interval_does_not_squeeze_the_others() -> None:
    rows = [Row("a", 0.01, -9.0, 9.0, (), "inconclusive"), Row("b", 0.02, 0.01, 0.03, (), "better")]
    figure = forest("f", *TEXT, label="d", rows=rows)
    (near,) = re.findall(r'class="range c0" d="M([\d.]+) .*?M[\d.]+ [\d.]+H([\d.]+)', figure.svg)
    assert float(near[1]) - float(near[0]) > 20
    assert "[\u22129.0000, +9.0000]" in figure.svg


def test_cells_carry_their_values_and_show_them() -> None:
    values = [[0.123, None], [0.5, -0.25]]
    root = tree(heatmap("f", *TEXT, columns=["a", "b"], rows=["c", "d"], values=values, label="v"))
    cells = {
        (e.attrib["data-y"], e.attrib["data-x"]): e for e in root.iter(f"{SVG}g") if "data-x" in e.attrib
    }
    found = {place: float(e.attrib["data-value"]) for place, e in cells.items() if "data-value" in e.attrib}
    assert found == {("c", "a"): 0.123, ("d", "a"): 0.5, ("d", "b"): -0.25}
    assert cells["c", "a"].findtext(f"{SVG}text") == "0.12"
    assert cells["c", "b"].findtext(f"{SVG}text") == "\u2013"


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12, unique=True))
def test_colours_of_cells_follow_their_values(values: list[float]) -> None:
    names = [str(i) for i in range(len(values))]
    svg = heatmap("f", *TEXT, columns=names, rows=["r"], values=[values], label="v", diverging_at=0.0).svg
    steps = [int(step) for step in re.findall(r'</title><rect class="d(\d)"', svg)]
    assert [step for _, step in sorted(zip(values, steps, strict=True))] == sorted(steps)
    assert all(step >= 3 if value > 0 else step <= 3 for value, step in zip(values, steps, strict=True))


def test_bars_carry_their_numbers_and_start_at_zero() -> None:
    group = [Bar("lr", 0.5, 0.4, 0.7), Bar("t", 0.25)]
    figure = bars("f", *TEXT, label="share", groups={"dense": group})
    found = [e.attrib for e in tree(figure).iter() if "data-value" in e.attrib]
    assert [float(e["data-value"]) for e in found] == [0.5, 0.25]
    assert (float(found[0]["data-low"]), float(found[0]["data-high"])) == (0.4, 0.7)
    wide, half = (
        float(w) for w in re.findall(r'class="bar c0" x="[\d.]+" y="[\d.]+" width="([\d.]+)"', figure.svg)
    )
    assert wide == pytest.approx(2 * half, abs=0.2)


def test_parallel_lines_carry_their_values() -> None:
    dimensions = [
        Dimension("lr", (0.1, 0.01), log=True),
        Dimension("head", ("mlp", None)),
        Dimension("score", (0.6, 0.5)),
    ]
    figure = parallel("f", *TEXT, dimensions=dimensions, trials=["t0001", "t0002"], groups=["a", "b"])
    first, second = links(figure)
    assert json.loads(first.attrib["data-values"]) == [0.1, "mlp", 0.6]
    assert json.loads(second.attrib["data-values"]) == [0.01, None, 0.5]
    assert "not set" in figure.svg


@given(st.text(max_size=30))
def test_names_are_texts_whatever_they_hold(name: str) -> None:
    marks = (Mark(0, 1, label=name, trial=name), Mark(1, 2))
    dimensions = [Dimension(name, (name,)), Dimension("score", (0.5,))]
    for figure in (
        xy("a", name, name, name, x=Axis(name), y=Axis(name), series=[Series(name, marks)]),
        forest("b", name, name, name, label=name, rows=[Row(name, 0.1, 0.0, 0.2, marks, name)]),
        heatmap(
            "c", name, name, name, columns=[name], rows=[name], values=[[1.0]], label=name, x=name, y=name
        ),
        bars("d", name, name, name, label=name, groups={name: [Bar(name, 1.0, note=name)]}),
        parallel("e", name, name, name, dimensions=dimensions, trials=[name], groups=[name]),
    ):
        tags = {e.tag.removeprefix(SVG) for e in tree(figure).iter()}
        assert tags <= {"svg", "title", "desc", "g", "a", "path", "rect", "text", "tspan"}
