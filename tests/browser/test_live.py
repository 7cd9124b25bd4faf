"""The live page in a browser: it takes over what is new and leaves the reader where they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ablate.ledger import Ledger
from ablate.report.content import report_of
from ablate.report.document import html
from ablate.report.live.page import LivePage
from ablate.report.live.server import PageServer, open_server
from tests.report.live.test_follow import write
from tests.report.live.test_page import Clock
from tests.report.made_sweep import Made

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Open

PATIENCE = 60_000  # milliseconds


class Running:
    """A sweep that goes on when told to, the server of its page, and the clock that this goes by."""

    def __init__(self, runs: Path) -> None:
        self.events = Made(confirm={"seeds": 8}).search().confirm().events
        self.folder = runs / "made"
        self.folder.mkdir()
        (self.folder / "sweep.json").write_text(json.dumps(Made().sweep.as_dict()))
        self.ledger = Ledger.open(self.folder / "ledger.jsonl")
        self.clock, self.written = Clock(), 0
        live = LivePage(self.folder, report_of, partial(html.page, live=True), self.clock)
        self.server: PageServer = open_server(0, live.now)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def go_on(self, count: int) -> None:
        """So many events more; the next request makes the page anew."""
        write(self.ledger, self.events[self.written : self.written + count])
        self.written += count
        self.clock.seconds += 1000

    def until_finished(self, trial: str) -> None:
        """All events up to the end of a trial."""
        ends = (i for i, e in enumerate(self.events) if e["event"] == "finished" and e["trial"] == trial)
        self.go_on(next(ends) + 1 - self.written)

    def leave(self) -> None:
        """The driver dies."""
        self.ledger.close()
        self.clock.seconds += 1000

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join(30)
        self.server.server_close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    sweep = Running(tmp_path)
    yield sweep
    sweep.stop()


def wait_for(tab: Page, words: str) -> None:
    tab.get_by_text(words).first.wait_for(timeout=PATIENCE)


def test_it_follows_the_sweep_from_nothing_to_its_end(
    running: Running, page: Open, axe: Callable[[Page], list[str]]
) -> None:
    tab = page(running.server.address, allow=running.server.address)
    wait_for(tab, "nothing has happened yet")
    running.go_on(1)
    wait_for(tab, "0 of the 0 trials asked for so far have ended")
    running.until_finished("t0001")
    wait_for(tab, "2 of the 2 trials asked for so far have ended")
    assert axe(tab) == []
    running.go_on(len(running.events))
    running.leave()
    wait_for(tab, "Ended: all was done.")
    assert tab.locator("#run-c0031").count() == 1
    assert axe(tab) == []
