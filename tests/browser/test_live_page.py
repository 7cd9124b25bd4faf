"""The page while its sweep runs: what is new comes in by itself, and the reader is not disturbed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ablate.report.document.blocks import Document, Paragraph, Section
from ablate.report.document.html import page as page_of
from ablate.report.live.page import Made
from ablate.report.live.server import PageServer, open_server
from tests.report.document.made_document import document

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open

expect = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright").expect
expect.set_options(timeout=60_000)


class Served:
    """A server whose page can be changed, and that can go away and come back on its port."""

    def __init__(self) -> None:
        self.shown = document()
        self.port = 0
        self.server: PageServer
        self.start()

    def now(self) -> Made:
        body = page_of(self.shown, live=True).encode()
        return Made(body, f'"{hashlib.sha256(body).hexdigest()}"')

    def start(self) -> None:
        self.server = open_server(self.port, self.now)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def say(self, text: str, *, in_section: int | None = None) -> None:
        """Says something new in the answer, or first in a section."""
        said = Paragraph(text)
        if in_section is None:
            self.shown = replace(self.shown, answer=(said, *self.shown.answer))
            return
        sections = list(self.shown.sections)
        old = sections[in_section]
        sections[in_section] = replace(old, blocks=(said, *old.blocks))
        self.shown = replace(self.shown, sections=tuple(sections))


@pytest.fixture
def served() -> Iterator[Served]:
    each = Served()
    yield each
    each.stop()


@pytest.fixture
def tab(served: Served, page: Open) -> Page:
    """The live page, after its first answer."""
    address = served.server.address
    opened = page(address, allow=address, still=True, tolerate=("ERR_CONNECTION_REFUSED",))
    expect(opened.locator("#page-state")).to_have_text("Follows the sweep")
    return opened


def test_what_is_new_comes_in_and_what_is_gone_goes(served: Served, tab: Page) -> None:
    served.say("It is settled.")
    first, *others = served.shown.sections
    news = Section("news", "News", (Paragraph("Something new."),))
    served.shown = replace(served.shown, title="other", sections=(others[0], news, *others[2:]))
    expect(tab.locator("#page-answer")).to_contain_text("It is settled.")
    expect(tab.locator("main > section > h2")).to_have_text(
        ["Answer", others[0].title, "News", *(s.title for s in others[2:])]
    )
    expect(tab.get_by_role("navigation").get_by_role("link")).to_have_count(1 + len(served.shown.sections))
    expect(tab.locator(f"#{first.id}")).to_have_count(0)
    expect(tab).to_have_title("other")


def test_parts_that_did_not_change_are_left_alone(served: Served, tab: Page) -> None:
    tab.evaluate("window.runs = document.getElementById('runs')")
    served.say("It is settled.")
    expect(tab.locator("#page-answer")).to_contain_text("It is settled.")
    assert tab.evaluate("window.runs.isConnected")


def test_the_reader_keeps_what_was_opened_ordered_filtered_and_focused(served: Served, tab: Page) -> None:
    tab.locator("#why summary").first.click()
    score = tab.locator("#runs-search-mlp th", has_text="probe.h.val")
    score.get_by_role("button").click()
    score.get_by_role("button").click()
    tab.get_by_role("searchbox").fill("mlp 10")
    tab.get_by_role("searchbox").fill("complete")
    for section in (1, 3):
        served.say("This changed.", in_section=section)
    expect(tab.get_by_text("This changed.")).to_have_count(2)
    expect(tab.locator("#folded")).to_be_visible()
    expect(tab.locator("#why details").last).not_to_have_attribute("open", "")
    assert score.get_attribute("aria-sort") == "descending"
    expect(tab.get_by_role("searchbox")).to_have_value("complete")
    expect(tab.get_by_role("searchbox")).to_be_focused()
    assert tab.locator("#runs tr", has_text="stopped").locator("visible=true").count() == 0


@pytest.mark.parametrize("what", ["#chosen a[href='#run-t0001']", "#budget a", "#run-t0001"])
def test_focus_stays_where_it_was(served: Served, tab: Page, what: str) -> None:
    place = tab.locator(what)
    if what.startswith("#run-"):
        tab.locator("#budget a").press("Enter")  # which leads there
    else:
        place.focus()
    expect(place).to_be_focused()
    for section in (0, 3):
        served.say("This changed.", in_section=section)
    expect(tab.get_by_text("This changed.")).to_have_count(2)
    expect(place).to_be_focused()


def test_what_is_read_stays_in_its_place_on_the_screen(served: Served, tab: Page) -> None:
    place = tab.locator("#runs-search-sparse")
    place.scroll_into_view_if_needed()
    before = place.bounding_box()
    served.say("Line upon line. " * 100)
    served.say("Line upon line. " * 100, in_section=0)
    expect(tab.get_by_text("Line upon line.")).to_have_count(2)
    after = place.bounding_box()
    assert before
    assert after
    assert after["y"] == pytest.approx(before["y"], abs=1)


def test_boxes_stay_scrolled(served: Served, tab: Page) -> None:
    tab.set_viewport_size({"width": 360, "height": 700})
    box = tab.locator("#layers").locator("xpath=..")
    box.evaluate("e => e.scrollTo(120, 0)")
    served.say("This changed.", in_section=1)
    expect(tab.get_by_text("This changed.")).to_have_count(1)
    assert box.evaluate("e => e.scrollLeft") == 120


def test_it_says_when_no_server_answers_and_goes_on_when_one_does(served: Served, tab: Page) -> None:
    served.stop()
    expect(tab.locator("#page-state")).to_contain_text("No answer from the server")
    served.say("It is settled.")
    served.start()
    expect(tab.locator("#page-answer")).to_contain_text("It is settled.")
    expect(tab.locator("#page-state")).to_have_text("Follows the sweep")


def test_it_has_no_violations(tab: Page, axe: Callable[[Page], list[str]]) -> None:
    assert axe(tab) == []


def test_a_sweep_that_shows_nothing_yet_grows_into_a_report(served: Served, tab: Page) -> None:
    whole = served.shown
    served.shown = Document("sparsehead", "sparsehead: nothing has happened yet", (), (), ())
    expect(tab.locator("h1")).to_contain_text("nothing has happened yet")
    served.shown = whole
    expect(tab.locator("#runs-search-mlp tbody tr").first).to_be_visible()
    expect(tab.locator("#runs-search-mlp th button").first).to_be_visible()
