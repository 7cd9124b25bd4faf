"""MLflow's real pages of a sweep, in a real browser: what was prepared there is what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from ablate.report import summarise, write_results
from ablate.report.content import write_report
from ablate.tracking import Mirror
from ablate.tracking import machine as machine_module
from tests.browser import mlflow_pages as pages
from tests.tracking.large import large_spec, large_sweep
from tests.tracking.servers import free_port, serving_ui

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.conftest import Open

TRIALS, SEEDS = 8, 3  # of each of three arms, and of five


@dataclass(frozen=True)
class Shown:
    """A sweep, its rows, and where MLflow shows it."""

    site: str
    folder: Path
    rows: list[dict[str, Any]]

    def of(self, stage: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["stage"] == stage]


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:  # noqa: ARG001
    """``browser`` first: without one nothing is worth preparing."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda _: None)
        patched.setattr(machine_module, "_INTERVAL", 0.0)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = large_sweep(runs, large_spec("shown", TRIALS, SEEDS), artifacts=15)
        write_results(folder)
        summarise(folder)
        write_report(folder)
        assert Mirror(folder).close()
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    with serving_ui(runs, free_port()) as site:
        yield Shown(site, folder, rows)


@pytest.fixture
def tab(shown: Shown, page: Open) -> Page:
    """MLflow's first page, where the experiments are listed."""
    opened = page("about:blank", width=1600, allow=shown.site, tolerate=pages.TOLERATED)
    pages.welcome(opened, shown.site)
    return opened


def test_the_list_of_experiments_says_what_each_asks(tab: Page) -> None:
    row = tab.get_by_role("row").filter(has=tab.get_by_role("link", name="shown"))
    assert "Does SparseHead's penalty" in row.inner_text()


def test_the_table_of_the_search_is_sorted_by_the_objective(shown: Shown, tab: Page) -> None:
    scores = [float(row["metrics.`probe.h.val`"]) for row in pages.table(tab, shown.site, shown.folder)]
    expected = sorted((row["probe.h.val"] for row in shown.of("search")), reverse=True)
    assert len(scores) >= 10, "as many as fit the window"
    assert scores == pytest.approx(expected[: len(scores)])
    assert pages.columns(tab)[2:8] == [
        "state", "probe.h.val", "arm", "loss.margin.angular", "loss.margin.subtractive", "optim.lr",
    ]  # fmt: skip
    tab.get_by_text(f"{3 * TRIALS} matching runs").wait_for()


def test_the_table_of_the_confirmation_has_the_mean_of_each_arm(shown: Shown, tab: Page) -> None:
    rows = pages.table(tab, shown.site, shown.folder, "confirm")
    arms = ("mlp", "sparse", "directclr", "pixels", "untrained")
    scores = {arm: [r["probe.h.test"] for r in shown.of("confirm") if r["arm"] == arm] for arm in arms}
    means = sorted(map(fmean, scores.values()), reverse=True)
    assert [float(row["metrics.`probe.h.test`"].split()[0]) for row in rows] == pytest.approx(means)
    for arm in arms:
        assert any(f"Group: {arm}\n{SEEDS}" in name for name in pages.names(tab))


def test_stages_and_arms_are_told_apart_by_filters(shown: Shown, tab: Page) -> None:
    pages.table(tab, shown.site, shown.folder)
    box = tab.get_by_placeholder("metrics.rmse < 1")
    filters = {"tags.stage = 'confirm'": 5 * SEEDS, "tags.stage = 'search' and tags.arm = 'sparse'": TRIALS}
    for words, count in filters.items():
        box.fill(words)
        box.press("Enter")
        tab.get_by_text(f"{count} matching runs").wait_for(timeout=60_000)


def test_parallel_coordinates_have_our_parameters_and_the_objective(shown: Shown, tab: Page) -> None:
    area = pages.charts(tab, shown.site, shown.folder)
    first = area.locator("[data-testid=experiment-view-compare-runs-card]", has_text="Parallel").first
    first.locator("g.dimension").nth(4).wait_for()
    assert first.locator("g.dimension").count() == 5
    for name in ("arm", "optim.lr", "probe.h.val", "directclr"):
        assert name in first.inner_text()
    drawn = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v)"
    )
    assert any(canvas.evaluate(drawn) for canvas in first.locator("canvas").all()), "no line was drawn"


def test_what_was_chosen_is_compared(shown: Shown, tab: Page) -> None:
    pages.compare(tab, shown.site, shown.folder)
    text = tab.locator("body").inner_text()
    assert "Comparing 3 Runs" in text
    for word in ("mlp", "sparse", "directclr", "optim.lr", "head.subvector", "probe.h.val"):
        assert word in text


def test_artifacts_are_shown_in_place(shown: Shown, tab: Page) -> None:
    complete = next(row["trial_id"] for row in shown.of("search") if row["state"] == "COMPLETE")
    pages.artifact(tab, shown.site, shown.folder, complete, "spectrum.png")
    picture = tab.locator("img[src^=blob], .image-outer-container img").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    pages.artifact(tab, shown.site, shown.folder, complete, "spec.json")
    assert '"temperature"' in tab.locator("body").inner_text()


def test_the_report_is_shown_in_place(shown: Shown, tab: Page) -> None:
    frame = pages.report(tab, shown.site, shown.folder)
    assert "SparseHead" in frame.get_by_role("heading", level=1).inner_text()
    figure = frame.locator("svg").first.bounding_box()
    assert figure is not None
    assert figure["width"] > 100


def test_confirmed_encoders_are_models_with_their_data(shown: Shown, tab: Page) -> None:
    pages.models(tab, shown.site, shown.folder)
    text = tab.locator("body").inner_text()
    assert "mlp seed 1000" in text
    assert "scattered-digits (#01234567" in text
    assert "pixels seed" not in text, "a control trains no encoder"


def test_the_sweeps_own_run_has_the_machines_load_and_the_way_to_all_of_it(shown: Shown, tab: Page) -> None:
    pages.sweep(tab, shown.site, shown.folder, "System metrics")
    tab.get_by_text("cpu_utilization_percentage").first.wait_for(timeout=60_000)
    pages.sweep(tab, shown.site, shown.folder)
    tab.get_by_text("best.directclr").first.wait_for()
    with tab.context.expect_page() as opened:  # MLflow opens links of descriptions in a tab of their own
        tab.get_by_role("link", name="search, best first").click()
    opened.value.get_by_text(f"{3 * TRIALS} matching runs").wait_for(timeout=60_000)
