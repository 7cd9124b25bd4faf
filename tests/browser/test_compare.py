"""The page of a comparison in a browser: quiet, accessible, and no wider than a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ablate.report.compare.document import document_of
from ablate.report.document import html
from tests.report.compare.two_sweeps import HIGH, change, compared, made, written

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open


@pytest.fixture(scope="module")
def written_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    sweeps = (
        written(runs, made("cold"), pace=200, device="cpu"),
        written(runs, change(made("warm", HIGH), "base.loss.temperature", 0.5), pace=240, device="cpu"),
        written(runs, made("elsewhere", HIGH), data="other"),
    )
    file = runs / "page.html"
    file.write_text(html.page(document_of(compared(*sweeps))), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_opens_from_disk_without_a_violation(
    written_page: Path,
    page: Open,
    axe: Callable[[Page], list[str]],
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    tab = page(written_page, width=width, scheme=scheme)
    assert axe(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_point_of_a_figure_leads_to_the_run_of_its_sweep(written_page: Path, page: Open) -> None:
    tab = page(written_page, still=True)
    tab.locator('#figure-verdicts a[href="#run-B-c0001"]').first.focus()
    tab.keyboard.press("Enter")
    row = tab.locator("#run-B-c0001")
    assert row.is_visible()
    assert tab.evaluate("document.activeElement.id") == "run-B-c0001"
