"""The live page: made again when the ledger grew, as often as it can afford, whatever goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ablate.ledger import Event, Ledger
from ablate.report.document.blocks import Document, Paragraph
from ablate.report.live.page import PAUSE, LivePage
from tests.report.live.test_follow import begun, write
from tests.report.made_sweep import Made

EVENTS = Made().search().events


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Reports:
    """Makes reports, counts them, and takes ``took`` seconds for each."""

    def __init__(self, clock: Clock, took: float = 0.0) -> None:
        self.count, self.clock, self.took, self.error = 0, clock, took, ""

    def __call__(self, folder: Path, events: list[Event]) -> Document:
        self.count += 1
        self.clock.seconds += self.took
        if self.error:
            raise RuntimeError(self.error)
        return Document(folder.name, "question", (Paragraph(f"{len(events)} events"),), (), ())


def write_page(document: Document) -> str:
    return repr(document)


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[Path, Ledger]:
    return begun(tmp_path, EVENTS[:3])


def test_it_is_made_again_only_when_the_ledger_grew(sweep: tuple[Path, Ledger]) -> None:
    folder, ledger = sweep
    clock = Clock()
    reports = Reports(clock)
    live = LivePage(folder, reports, write_page, clock)
    first = live.now()
    clock.seconds += 100
    assert live.now() == first
    assert reports.count == 1
    write(ledger, EVENTS[3:4])
    clock.seconds += 100
    second = live.now()
    assert reports.count == 2
    assert b"4 events" in second.body
    assert second.etag != first.etag


def test_it_is_made_again_when_the_driver_is_gone(sweep: tuple[Path, Ledger]) -> None:
    folder, ledger = sweep
    clock = Clock()
    live = LivePage(folder, Reports(clock), write_page, clock)
    assert b"Running: process" in live.now().body
    ledger.close()
    clock.seconds += PAUSE
    assert b"No driver is at work" in live.now().body


@pytest.mark.parametrize(("took", "pause"), [(0.0, PAUSE), (4.0, 20.0)])
def test_a_page_that_takes_long_is_made_less_often(
    sweep: tuple[Path, Ledger], took: float, pause: float
) -> None:
    folder, ledger = sweep
    clock = Clock()
    reports = Reports(clock, took)
    live = LivePage(folder, reports, write_page, clock)
    live.now()
    write(ledger, EVENTS[3:4])
    clock.seconds += pause - 0.1
    live.now()
    assert reports.count == 1
    clock.seconds += 0.2
    live.now()
    assert reports.count == 2


def test_nobody_waits_for_a_new_page_while_there_is_an_old_one(sweep: tuple[Path, Ledger]) -> None:
    folder, ledger = sweep
    clock = Clock()
    making, go_on = threading.Event(), threading.Event()

    def slow(folder: Path, events: list[Event]) -> Document:
        if len(events) > 3:
            making.set()
            assert go_on.wait(30)
        return Document(folder.name, "question", (Paragraph(f"{len(events)} events"),), (), ())

    live = LivePage(folder, slow, write_page, clock)
    first = live.now()
    write(ledger, EVENTS[3:4])
    clock.seconds += PAUSE
    maker = threading.Thread(target=live.now)
    maker.start()
    assert making.wait(30)
    assert live.now() == first
    go_on.set()
    maker.join(30)
    assert b"4 events" in live.now().body


def test_a_report_that_fails_is_told_and_tried_again(
    sweep: tuple[Path, Ledger], caplog: pytest.LogCaptureFixture
) -> None:
    folder, ledger = sweep
    clock = Clock()
    reports = Reports(clock)
    reports.error = "a file was torn"
    live = LivePage(folder, reports, write_page, clock)
    assert b"RuntimeError: a file was torn" in live.now().body
    assert "the report could not be made" in caplog.text
    reports.error = ""
    write(ledger, EVENTS[3:4])
    clock.seconds += PAUSE
    assert b"4 events" in live.now().body
