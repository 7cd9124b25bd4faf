"""In a real browser nothing of a figure is cut off, no text covers another, and axe finds nothing wrong."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from ablate.report.document.blocks import Figure, run_id
from ablate.report.figures import stylesheet
from tests.report.figures.cases import CASES, run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
QUIET = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"

CUT_OFF = """svg => {
  const page = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text, path, rect")].filter(e => {
    const b = e.getBoundingClientRect();
    return b.left < page.left - 1 || b.right > page.right + 1
        || b.top < page.top - 1 || b.bottom > page.bottom + 1;
  }).map(e => e.outerHTML.slice(0, 200));
}"""
COVERED = """svg => {
  const texts = [...svg.querySelectorAll("text:not([transform])")];
  const boxes = texts.map(e => e.getBoundingClientRect());
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const a = boxes[i], b = boxes[j];
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 4) found.push(texts[i].textContent + " | " + texts[j].textContent);
  }
  return found;
}"""


def document(figures: list[Figure]) -> str:
    """A page that shows figures as a report does, with the rows that they link to."""
    drawn = "".join(
        f'<div class="held" tabindex="0" role="region" aria-label="{f.id}">{f.svg}</div>' for f in figures
    )
    rows = "".join(f'<li id="{run_id(run(i))}">{run(i)}</li>' for i in range(600))
    colours = "body { background: #fff; color: #222; }"
    colours += "@media (prefers-color-scheme: dark) { body { background: #14181d; color: #ddd; } }"
    style = f"<style>{stylesheet()} {colours} .held {{ overflow-x: auto; }}</style>"
    head = f'<!doctype html><html lang="en"><head><title>Figures</title>{style}</head>'
    return f"{head}<body><main><h1>Figures</h1>{drawn}<ul>{rows}</ul></main></body></html>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_content(document([make() for make in CASES.values()]))
    return page


@pytest.mark.parametrize("number", range(len(CASES)), ids=list(CASES))
def test_nothing_is_cut_off_or_covered(page: Any, number: int) -> None:
    svg = page.query_selector_all("svg.fig")[number]
    assert svg.evaluate(CUT_OFF) == []
    assert svg.evaluate(COVERED) == []


def test_text_on_a_phone_is_no_smaller_than_two_thirds(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 700})
    page.set_content(document([CASES["scatter"](), CASES["scatter_narrow"](), CASES["wide_map"]()]))
    shown = [svg.bounding_box()["width"] for svg in page.query_selector_all("svg.fig")]
    drawn = [float(svg.get_attribute("width")) for svg in page.query_selector_all("svg.fig")]
    assert all(s >= d * 2 / 3 for s, d in zip(shown, drawn, strict=True))
    assert shown[1] <= 360
    page.close()


def test_the_page_may_choose_the_theme(browser: Any) -> None:
    page = browser.new_page(color_scheme="dark")
    page.set_content(document([CASES["scatter"]()]))
    paper = "getComputedStyle(document.querySelector('svg.fig')).backgroundColor"
    assert page.evaluate(paper) == "rgb(20, 24, 29)"
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(paper) == "rgb(20, 24, 29)"
    page.emulate_media(media="print")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(browser: Any, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = browser.new_page(color_scheme=theme)
    page.set_content(document([make() for make in CASES.values()]))
    assert axe.Axe().run(page).response["violations"] == []
    page.close()
