"""Every number comes from the runs: figures and tables are recomputed from ``results.parquet`` alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ablate.report.content import write_report
from ablate.report.document.blocks import Document, slug
from tests.report.content.reading import column, figures, points, report, tables
from tests.report.content.sweeps import LAYERS, large
from tests.report.content.test_document import arms, best, factors, replicates
from tests.search.synthetic import METRIC

SCORE, RANK = "probe.h.test", "rank.h.effective"


@pytest.fixture(scope="module", params=[best, arms, replicates, factors], ids=lambda kind: kind.__name__)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Document, pd.DataFrame]:
    """A report, and the rows of the table that is written beside it."""
    kind: Callable[[Path], Path] = request.param
    folder = kind(tmp_path_factory.mktemp("trace"))
    page = write_report(folder)
    return report(folder), pd.read_parquet(page.parent / "results.parquet").set_index("trial_id")


Made = tuple[Document, pd.DataFrame]


def spread(values: pd.Series) -> str:
    """As a table shows it, calculated apart."""
    numbers = [float(value) for value in values.dropna()]
    mean = f"{statistics.fmean(numbers):.4g}"
    return mean if len(numbers) == 1 else f"{mean} [{min(numbers):.4g}, {max(numbers):.4g}]"


def test_every_point_of_two_numbers_is_in_the_row_of_its_run(made: Made) -> None:
    document, rows = made
    traced = 0
    for axes, figure in plotted(document):
        for point in points(figures(document)[figure]):
            for numbers, metric in zip((point.x, point.y), axes, strict=True):
                if metric:
                    assert numbers == (rows.loc[point.trial, metric],), figure
                    traced += 1
    assert traced >= 20


def plotted(document: Document) -> Iterator[tuple[tuple[str, str], str]]:
    """The columns that lie along the axes of each figure of points; "" for places of categories."""
    for id in figures(document):
        match id.split("-"):
            case ["scores"]:
                yield ("", SCORE), id
            case ["rank", "by", *_]:
                yield ("", RANK), id
            case ["rank", "and", "accuracy", stage]:
                yield (RANK, SCORE if stage == "confirm" else METRIC), id
            case ["sparsity", name, stage]:
                yield (f"head.{name}", SCORE if stage == "confirm" else METRIC), id


def test_differences_are_those_of_the_runs(made: Made) -> None:
    """A point of the forest is the mean difference over the seeds of its seed or replicate."""
    document, rows = made
    confirmed = rows[rows["stage"] == "confirm"].reset_index()
    several = confirmed["replicate"].nunique() > 1
    seen = {point.trial: point.x[0] for point in points(figures(document)["forest"])}
    assert len(seen) >= 3
    against = tables(document)["verdict-table"].rows[0][0].text.split(" - ")[1]
    for trial, difference in seen.items():
        run = rows.loc[trial]
        same = confirmed["replicate"] == run["replicate"]
        if not several:
            same &= confirmed["seed"] == run["seed"]
        means = confirmed[same].groupby("arm")[SCORE].mean()
        other = against if run["arm"] != "best" else "simclr"
        assert difference == pytest.approx(means[run["arm"]] - means[other], abs=1e-12)


def test_the_table_of_scores_has_every_score_of_every_seed(made: Made) -> None:
    document, rows = made
    table = tables(document)["scores-by-seed"]
    linked = 0
    for row in table.rows:
        for arm, cell in zip(table.head[1:], row[1:], strict=True):
            if cell.to:
                run = rows.loc[cell.to.removeprefix("run-")]
                assert (run["arm"], run["stage"]) == (arm, "confirm")
                assert str(run["seed"]) == row[0].text.split()[0]
                assert cell.text == f"{run[SCORE]:.4f}"
                linked += 1
    assert linked == int((rows["stage"] == "confirm").sum())


def test_means_by_arm_are_taken_over_the_confirmed_runs_of_the_arm(made: Made) -> None:
    document, rows = made
    confirmed = rows[rows["stage"] == "confirm"]
    by_arm = dict(iter(confirmed.groupby("arm")))
    for arm, mean in column(tables(document)["score-table"], f"mean {SCORE}").items():
        assert float(mean) == pytest.approx(by_arm[arm][SCORE].mean(), abs=1e-4)
    for id, metric in (
        ("diagnosis-rank", RANK),
        ("sparsity-table", "head.hoyer"),
        ("diagnosis-generalisation", "generalisation.gap"),
        ("diagnosis-factors", "factors.h.dfr.worst"),
        ("diagnosis-inner", "inner.gap"),
    ):
        table = tables(document)[id]
        (row,) = [row for row in table.rows if row[0].text == metric]
        for arm, cell in zip(table.head[1:], row[1:], strict=True):
            assert (cell.text, cell.to) == (spread(by_arm[arm][metric]), f"runs-confirm-{slug(arm)}"), id
    for arm, group in by_arm.items():
        layers = tables(document)[f"layers-probe-{slug(str(arm))}"]
        assert [row[0].text for row in layers.rows] == list(LAYERS)
        assert column(layers, "class")["stage.1"] == spread(group["layers.stage.1.class.probe"])


def test_rows_of_runs_show_the_row_of_the_table(made: Made) -> None:
    document, rows = made
    for id, table in tables(document).items():
        if not id.startswith("runs-"):
            continue
        for name in set(table.head) & {"seed", "epochs", METRIC, SCORE, RANK, "optim.lr"}:
            for trial, text in column(table, name).items():
                value = rows.loc[trial, name]
                assert text == ("-" if pd.isna(value) else f"{value:.4g}"), (id, name)


def test_searches_are_counted_from_the_runs(made: Made) -> None:
    document, rows = made
    search = rows[rows["stage"] == "search"]
    table = tables(document)["search-table"]
    for row in table.rows:
        cells = {name: cell.text for name, cell in zip(table.head, row, strict=True)}
        arm, _, replicate = cells["search"].partition(" #")
        mine = search[search["arm"] == arm]
        mine = mine[mine["replicate"] == int(replicate)] if replicate else mine
        assert cells["trials"] == str(len(mine))
        assert cells["epochs"] == str(mine["epochs"].sum())
        for state in ("complete", "pruned", "collapsed", "failed"):
            assert cells.get(state, "0") == str((mine["state"] == state.upper()).sum())
        assert cells[f"its {METRIC}"] == f"{rows.loc[cells['chosen'], METRIC]:.4g}"


def test_lines_of_parallel_coordinates_are_the_rows_of_completed_trials(tmp_path: Path) -> None:
    folder = large(tmp_path / "large", trials=16, seeds=2)
    rows = pd.read_parquet(write_report(folder).parent / "results.parquet").set_index("trial_id")
    document = report(folder)
    keys = ["optim.lr", "loss.temperature", "optim.weight_decay", "head.out", "head.norm", METRIC]
    drawn: dict[str, tuple[Any, ...]] = {p.trial: p.values for p in points(figures(document)["parallel"])}
    completed = rows[(rows["stage"] == "search") & (rows["state"] == "COMPLETE")]
    assert drawn.keys() == set(completed.index)
    for trial, values in drawn.items():
        assert values == tuple(completed.loc[trial, key] for key in keys)
    for arm in ("two", "one", "three", "four"):
        lines = points(figures(document)[f"curves-{arm}"])
        assert {p.trial for p in lines} == set(rows[(rows["arm"] == arm) & (rows["stage"] == "search")].index)
        for line in lines:  # the last point of a learning curve is the number in the row
            assert (line.x[-1], line.y[-1]) == tuple(rows.loc[line.trial, ["epochs", METRIC]])
