"""The report page as readers meet it: from a file, on any screen, by keyboard, without its script."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ablate.report.content import write_report
from ablate.report.document.blocks import Document, Folded, Section
from ablate.report.document.html import page as page_of
from ablate.report.figures import Dimension, parallel
from tests.report.document.made_document import ARMS, HOSTILE, QUESTION, document
from tests.report.made_sweep import ARMS as SWEEP_ARMS
from tests.report.made_sweep import Made

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Open

SOURCES = ["document", "sweep", "sweep with arms"]
FOCUSABLE = "a[href]:not([tabindex='-1']), button, input, summary, [tabindex='0']"


@pytest.fixture(scope="module", params=SOURCES)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of block, and those of two made sweeps."""
    folder = tmp_path_factory.mktemp("report")
    if request.param == "document":
        return write(folder, document())
    arms = {"arms": SWEEP_ARMS, "share": {"plain": 0.8, "deep": 0.7, "pixels": 0.2}}
    made = Made(**(arms if request.param == "sweep with arms" else {}))
    return write_report(made.search().confirm().write(folder / "made"))


@pytest.fixture
def made_page(tmp_path: Path) -> Path:
    return write(tmp_path, document())


def write(folder: Path, made: Document) -> Path:
    path = folder / "index.html"
    path.write_text(page_of(made), encoding="utf-8")
    return path


def values(table: Locator, column: int) -> list[str]:
    return table.locator(f"tbody tr:visible :nth-child({column + 1})").all_inner_texts()


def eventually(tab: Page, condition: str) -> None:
    """Waits until a function holds, frame by frame. Playwright's own way takes eval, which is refused."""
    tab.evaluate(
        f"() => new Promise((done) => {{ const look = () => ({condition})() ? done() : "
        "requestAnimationFrame(look); look() })"
    )


def unfold(tab: Page) -> None:
    """Opens what is folded, and lets the page see that it has other sizes now."""
    tab.evaluate("""() => new Promise((done) => {
        document.querySelectorAll('details').forEach((fold) => { fold.open = true });
        requestAnimationFrame(() => requestAnimationFrame(done));
    })""")


# --- Any reader, any screen ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_from_a_file_and_axe_finds_nothing(
    report: Path, page: Open, axe: Callable[[Page], list[str]], width: int, scheme: Literal["light", "dark"]
) -> None:
    tab = page(report, width=width, scheme=scheme)
    unfold(tab)
    assert axe(tab) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 2560])
def test_it_fits_the_screen_and_charts_draw(report: Path, page: Open, width: int) -> None:
    tab = page(report, width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    figures = tab.locator("figure.drawn svg")
    assert figures.count() > 0
    for figure in figures.all():
        box = figure.bounding_box()
        assert box
        assert box["width"] >= 280
        assert box["height"] > 50
    outside = tab.evaluate("""() => [...document.querySelectorAll('main *')].filter((e) =>
        !e.closest('.scroll, pre') && e.getBoundingClientRect().right > innerWidth + 1).length""")
    assert outside == 0


def test_every_link_leads_to_a_place_on_the_page(report: Path, page: Open) -> None:
    tab = page(report)
    lost = tab.evaluate("""() => [...document.querySelectorAll('a[href^="#"]')]
        .map((a) => a.getAttribute('href')).filter((to) => !document.getElementById(to.slice(1)))""")
    assert lost == []
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [360, 1280])
def test_tab_reaches_everything_that_can_be_used(report: Path, page: Open, width: int) -> None:
    tab = page(report, width=width)
    unfold(tab)
    tab.evaluate(
        "(all) => [...document.querySelectorAll(all)].forEach((e, i) => { e.dataset.stop = i })", FOCUSABLE
    )
    count = tab.locator("[data-stop]").count()
    reached: list[str] = []
    for _ in range(count + 1):
        tab.keyboard.press("Tab")
        stop = tab.evaluate("document.activeElement.dataset.stop ?? ''")
        if not stop:
            break
        reached.append(stop)
    hidden = tab.evaluate(
        "[...document.querySelectorAll('[data-stop]')].filter((e) => !e.getClientRects().length).length"
    )
    assert hidden == 0
    assert set(reached) == {str(i) for i in range(count)}
    assert len(reached) == count


def test_what_scrolls_is_a_stop_of_the_keyboard_and_scrolls_by_it(report: Path, page: Open) -> None:
    tab = page(report, width=360)
    boxes = tab.locator(".scroll, pre").all()
    scrolling = [b for b in boxes if b.evaluate("e => e.scrollWidth > e.clientWidth + 1") and b.is_visible()]
    assert scrolling
    for box in scrolling:
        assert box.get_attribute("tabindex") == "0"
    scrolling[0].focus()
    tab.keyboard.press("ArrowRight")
    eventually(tab, "() => document.activeElement.scrollLeft > 0")


def test_the_question_is_the_heading_and_the_answer_comes_first(made_page: Path, page: Open) -> None:
    tab = page(made_page)
    assert tab.locator("h1").all_inner_texts() == [
        QUESTION.replace("`", "").replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    ]
    assert tab.locator("main h2").first.text_content() == "Answer"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#page-answer")
    assert tab.get_by_role("navigation", name="Sections").get_by_role("link").count() == 5


def test_without_script_the_page_is_complete(report: Path, page: Open) -> None:
    plain, furnished = page(report, javascript=False), page(report)
    for selector in ("main table tr", "main svg", "main p", "main li", "details"):
        assert plain.locator(selector).count() == furnished.locator(selector).count(), selector
    assert plain.get_by_role("button").count() == 0
    assert plain.locator(".scroll:not([tabindex='0'])").count() == 0


# --- Colours, motion, paper ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_button_switches_between_light_and_dark(
    made_page: Path, page: Open, axe: Callable[[Page], list[str]], scheme: Literal["light", "dark"]
) -> None:
    tab = page(made_page, scheme=scheme)
    button = tab.locator("#page-theme")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    before = tab.evaluate(ground)
    assert button.inner_text() == ("Dark colours" if scheme == "light" else "Light colours")
    button.press("Enter")
    assert tab.evaluate(ground) != before
    assert axe(tab) == []
    button.press("Enter")
    assert tab.evaluate(ground) == before


def test_nothing_moves_for_who_wants_no_motion(made_page: Path, page: Open) -> None:
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page(made_page, still=True).evaluate(behaviour) == "auto"
    assert page(made_page).evaluate(behaviour) == "smooth"


def test_paper_is_light_and_shows_what_is_folded_or_scrolls(made_page: Path, page: Open) -> None:
    tab = page(made_page, scheme="dark")
    tab.locator("#page-theme").press("Enter")
    tab.locator("#page-theme").press("Enter")  # dark by the button, not by the system alone
    folded = tab.locator("#folded")
    assert not folded.is_visible()
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.documentElement).color") == "rgb(27, 31, 36)"
    assert not tab.get_by_role("navigation").is_visible()
    assert not tab.locator("#page-theme").is_visible()
    assert tab.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX") == "visible"
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded.is_visible()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    assert not folded.is_visible()


def test_nothing_is_cut_off_on_paper(report: Path, page: Open) -> None:
    tab = page(report, width=700)  # of A4, between its margins
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 700
    figures = tab.locator("figure.drawn svg").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect().right)"
    )
    assert max(figures) <= 700


# --- Runs: links, order, filter ------------------------------------------------------------------------


def test_a_run_in_a_figure_leads_to_its_row(made_page: Path, page: Open) -> None:
    tab = page(made_page, still=True)
    tab.locator("#budget a").press("Enter")
    row = tab.locator("#run-t0001")
    eventually(tab, "() => document.activeElement.id === 'run-t0001'")
    assert row.evaluate(
        "e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight }"
    )


def test_a_link_opens_what_is_folded_and_lifts_the_filter(tmp_path: Path, page: Open) -> None:
    made = document()
    runs = made.sections[-1]
    folded = Section(runs.id, runs.title, (runs.blocks[0], Folded("All of them", runs.blocks[1:])))
    path = write(tmp_path, Document(made.title, made.question, (), (folded,), ()))
    tab = page(path)
    row, link = tab.locator("#run-t0001"), tab.locator("#chosen a[href='#run-t0001']")
    assert not row.is_visible()
    link.click()
    assert row.is_visible()
    tab.get_by_role("searchbox").fill("t0000")
    assert not row.is_visible()
    tab.evaluate("location.hash = ''")
    link.click()
    eventually(tab, "() => document.activeElement.id === 'run-t0001'")
    assert row.is_visible()
    assert tab.get_by_role("searchbox").input_value() == ""


@pytest.mark.parametrize("way", ["blob", "srcdoc"])
def test_links_lead_within_the_page_in_the_frame_of_a_viewer(tmp_path: Path, page: Open, way: str) -> None:
    """As MLflow shows artifacts: from memory, in a sandbox, where the browser refuses to follow them."""
    viewer = tmp_path / "viewer.html"
    viewer.write_text("<!doctype html><title>viewer</title>")
    tab = page(viewer, still=True)
    tab.evaluate(
        """([way, text]) => {
            const frame = document.createElement('iframe');
            frame.sandbox = 'allow-scripts';
            if (way === 'srcdoc') frame.srcdoc = text;
            else frame.src = URL.createObjectURL(new Blob([text], {type: 'text/html'}));
            document.body.append(frame);
        }""",
        [way, page_of(document())],
    )
    shown = tab.frame_locator("iframe")
    for link, place in (("#budget a", "#run-t0001"), ("nav a >> nth=2", "#why")):
        shown.locator(link).press("Enter")
        assert shown.locator(place).evaluate("e => e === document.activeElement")


def test_a_click_on_a_column_orders_the_rows(made_page: Path, page: Open) -> None:
    tab = page(made_page)
    table = tab.locator("#runs-search-mlp")
    head = table.locator("th", has_text="probe.h.val")
    before = values(table, 3)
    numbers = [float(text.replace("\N{MINUS SIGN}", "-")) for text in before]
    for order, expected in (("ascending", sorted(numbers)), ("descending", sorted(numbers)[::-1])):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert [float(text.replace("\N{MINUS SIGN}", "-")) for text in values(table, 3)] == expected
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert values(table, 3) == before


def test_what_is_missing_comes_last_in_either_order(made_page: Path, page: Open) -> None:
    tab = page(made_page)
    table = tab.locator("#verdicts")
    button = table.locator("th", has_text="p (Holm)").get_by_role("button")
    button.click()
    assert values(table, 5) == ["0.0156", "0.109", "\N{EN DASH}"]
    button.click()
    assert values(table, 5) == ["0.109", "0.0156", "\N{EN DASH}"]


def test_the_filter_leaves_the_rows_that_have_every_word(made_page: Path, page: Open) -> None:
    tab = page(made_page)
    rows = tab.locator("table[id^='runs-'] tbody tr")
    tab.get_by_role("searchbox", name="Filter runs").fill("STOPPED c0")
    shown = [row.inner_text() for row in rows.all() if row.is_visible()]
    assert shown
    assert all("stopped" in text and "c0" in text for text in shown)
    assert tab.locator("output").inner_text() == f"{len(shown)} of 40 runs"
    assert not tab.locator("#runs-search-mlp").is_visible()  # its caption is gone with its rows
    tab.get_by_role("searchbox").fill("")
    assert all(row.is_visible() for row in rows.all())


def test_a_long_table_keeps_its_head_in_sight(tmp_path: Path, page: Open) -> None:
    tab = page(write(tmp_path, document(runs=300)))
    table = tab.locator("#runs-search-mlp")
    head, box = table.locator("thead th").first, table.locator("xpath=..")
    before = head.bounding_box()
    box.evaluate("e => e.scrollTo({top: 200, behavior: 'instant'})")
    after = head.bounding_box()
    assert before
    assert after
    assert after["y"] == pytest.approx(before["y"], abs=2)


def test_a_name_in_the_legend_brings_out_its_runs(tmp_path: Path, page: Open) -> None:
    trials = [f"t{i:04d}" for i in range(9)]
    figure = parallel(
        "all-runs", "All runs", "Nine runs.", "Each line is a run.",
        dimensions=[Dimension(name, tuple(map(float, range(9)))) for name in ("optim.lr", "score")],
        trials=trials, groups=[ARMS[i % 3] for i in range(9)],
    )  # fmt: skip
    tab = page(write(tmp_path, Document("x", "Which?", (), (Section("s", "S", (figure,)),), ())))
    name = tab.get_by_role("button", name="sparse")
    faded = tab.locator("#all-runs a.dim")
    name.hover()
    assert faded.count() == 6
    tab.mouse.move(0, 0)
    assert faded.count() == 0
    name.press("Enter")
    assert name.get_attribute("aria-pressed") == "true"
    tab.mouse.move(0, 0)
    assert faded.count() == 6
    assert sorted(faded.evaluate_all("all => all.map((a) => a.dataset.trial)")) == [
        t for i, t in enumerate(trials) if i % 3 != 1
    ]


# --- Nothing gets in, nothing gets out -----------------------------------------------------------------


def test_texts_stay_texts(made_page: Path, page: Open) -> None:
    tab = page(made_page)
    asked: list[str] = []
    tab.on("dialog", lambda dialog: asked.append(dialog.message))
    shown = tab.locator("#needed tbody th").all_text_contents()[1]
    assert shown == HOSTILE.replace("-0.5", "\N{MINUS SIGN}0.5")
    assert asked == []


def test_the_policy_lets_no_other_script_style_or_request_in(made_page: Path, page: Open) -> None:
    tab = page(made_page, tolerate=("Content Security Policy", "Failed to fetch"))
    done = tab.evaluate("""async () => {
        const script = document.createElement('script');
        script.textContent = 'window.entered = true';
        document.body.append(script);
        const style = document.createElement('style');
        style.textContent = 'h1 { display: none }';
        document.head.append(style);
        const image = new Image();
        const loaded = await new Promise((told) => {
            image.onload = () => told('loaded'); image.onerror = () => told('refused'); image.src = 'file:///x.png';
        });
        const fetched = await fetch('data:,x').then(() => 'fetched', () => 'refused');
        return [window.entered === true, loaded, fetched];
    }""")
    assert done == [False, "refused", "refused"]
    assert tab.locator("h1").is_visible()


def test_headings_go_down_one_level_at_a_time(report: Path, page: Open) -> None:
    levels = page(report).evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.localName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
