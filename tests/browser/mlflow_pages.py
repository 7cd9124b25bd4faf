"""MLflow's pages of a sweep, opened as a person would: each function waits until what it opens is there.

``tab`` is a page of Playwright, ``site`` the address of an MLflow server without a slash at its end, and
``folder`` that of a sweep which the server shows. Begin with ``welcome``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.tracking.links import links, page

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Locator, Page

_PATIENCE = 60_000  # milliseconds
# MLflow asks who the user is, and takes "not found" for "nobody in particular".
TOLERATED = ("the server responded with a status of 404",)


def welcome(tab: Page, site: str) -> None:
    """The list of experiments; the assistant, which MLflow opens on the first visit, is closed."""
    _go(tab, site, page("experiments"))
    tab.get_by_role("button", name="Close").click(timeout=_PATIENCE)
    tab.get_by_role("heading", name="Experiments").wait_for(timeout=_PATIENCE)
    tab.get_by_role("link", name="Default").wait_for(timeout=_PATIENCE)


def table(tab: Page, site: str, folder: Path, stage: str = "search") -> list[dict[str, str]]:
    """The prepared table of a stage; its rows, from MLflow's name of a column to what its cell says."""
    what = {"search": "search, best first", "confirm": "confirm, mean of each arm"}[stage]
    _go(tab, site, links(folder)[what])
    rows = tab.locator(".ag-center-cols-container [role=row]")
    rows.locator("[col-id^='metrics.']").first.wait_for(timeout=_PATIENCE)
    read = "cells => Object.fromEntries(cells.map(c => [c.getAttribute('col-id'), c.innerText]))"
    return [row.locator("[role=gridcell]").evaluate_all(read) for row in rows.all()]


def names(tab: Page) -> list[str]:
    """The names of the runs, or groups of runs, in the table that is open."""
    return tab.locator(".ag-pinned-left-cols-container [role=row]").all_inner_texts()


def columns(tab: Page) -> list[str]:
    """The column headers of the table that is open, from left to right."""
    cells = tab.locator(".ag-header-row-column .ag-header-cell").all()
    found = [((cell.bounding_box() or {"x": 0.0})["x"], cell.inner_text().strip()) for cell in cells]
    return [text for _, text in sorted(found) if text]


def charts(tab: Page, site: str, folder: Path, stage: str = "search") -> Locator:
    """The prepared charts of a stage, by their cards."""
    what = {"search": "search, parallel coordinates", "confirm": "confirm, charts"}[stage]
    _go(tab, site, links(folder)[what])
    area = tab.get_by_test_id("experiment-view-compare-runs-chart-area")
    area.locator("svg.main-svg, g.dimension").first.wait_for(timeout=_PATIENCE)
    return area


def compare(tab: Page, site: str, folder: Path) -> None:
    """What the searches chose, side by side."""
    _go(tab, site, links(folder)["what was chosen, compared"])
    tab.get_by_text("Run details").wait_for(timeout=_PATIENCE)
    tab.locator(".js-plotly-plot .axis-title").first.wait_for(timeout=_PATIENCE)


def sweep(tab: Page, site: str, folder: Path, section: str = "Overview") -> None:
    """The run of the sweep itself, at one of the sections of its page, such as System metrics."""
    _go(tab, site, links(folder)["the sweep"])
    tab.get_by_role("tab", name=section).or_(tab.get_by_role("link", name=section)).first.click(
        timeout=_PATIENCE
    )


def report(tab: Page, site: str, folder: Path) -> FrameLocator:
    """The report among the sweep's artifacts, shown by MLflow; returns the frame that it is shown in."""
    _go(tab, site, links(folder)["report"])
    frame = tab.frame_locator("iframe")
    frame.get_by_role("heading", level=1).wait_for(timeout=_PATIENCE)
    return frame


def artifact(tab: Page, site: str, folder: Path, trial: str, name: str) -> None:
    """An artifact of a trial."""
    found = json.loads((folder / "tracking.json").read_text())
    run = f"experiments/{found['experiment_id']}/runs/{found['runs'][trial]}"
    _go(tab, site, page(f"{run}/artifacts/{name}"))
    tab.get_by_text("Path: ").wait_for(timeout=_PATIENCE)
    shown = tab.locator("img[src^=blob], .image-outer-container img, code, .js-plotly-plot")
    shown.first.wait_for(timeout=_PATIENCE)


def models(tab: Page, site: str, folder: Path) -> None:
    """The encoders that were confirmed."""
    _go(tab, site, links(folder)["confirmed encoders"])
    tab.get_by_text("Ready").first.wait_for(timeout=_PATIENCE)


def _go(tab: Page, site: str, address: str) -> None:
    """Addresses that differ after ``#`` alone are not loaded anew, so the tab is emptied between two."""
    tab.goto("about:blank")
    tab.goto(f"{site}/{address}")
