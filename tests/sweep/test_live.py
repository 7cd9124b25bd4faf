"""The live view: plain lines from events, a panel on a terminal, and never an error for the sweep."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from ablate.sweep.live import LiveView
from ablate.sweep.progress import Progress
from ablate.sweep.status import status_of
from tests.report.made_sweep import ARMS, Made


def plain_lines(made: Made, since: float = 0.0) -> list[str]:
    screen = io.StringIO()
    with LiveView(Console(file=screen, width=200), since=since) as view:
        for event in made.events:
            view(event)
    return screen.getvalue().splitlines()


def test_plain_lines_tell_every_end_and_every_stage() -> None:
    lines = plain_lines(Made().search().confirm())
    assert lines[0] == "made: 16 trials"
    assert len(lines) == 1 + 16 + 4
    assert "[ 1/16] t0000 complete probe.h.val 0.3000  <- best" in lines[1]
    assert "[ 2/16] t0001 stopped at epoch 1 probe.h.val 0.1100" in lines[2]
    assert "t0002 collapsed at epoch 1: because of COLLAPSED" in lines[3]
    assert "best 0.3000 (t0000) | 0 running, 1 stopped, 1 failed, 1 collapsed" in lines[4]
    assert lines[5] == "search done: best t0000, probe.h.val 0.3000"
    assert lines[6] == "confirm: best, simclr, untrained, pixels on 3 fresh seeds"
    assert "c0000 best seed 1000 complete probe.h.test 0." in lines[7]
    assert lines[-2] == "look 1, 3 seeds: 0 of 1 settled, confirmation stops"
    assert lines[-1] == "ended after 16 trials"


def test_a_burst_of_ordinary_trials_is_thinned_but_never_news() -> None:
    made = Made().search().confirm()
    for i, event in enumerate(made.events):
        event["time"] = 1000.0 + i / 100
    lines = plain_lines(made)
    assert len(lines) < 10
    for news in ("<- best", "t0002 collapsed", "t0003 failed", "search done", "ended after 16"):
        assert any(news in line for line in lines)


def test_a_long_trial_gives_a_sign_of_life_once_a_minute() -> None:
    made = Made().search()
    made.events = made.events[:3]
    for epoch in range(1, 31):
        made.report("t0000", epoch, 0.5)
        made.events[-1]["time"] = 1000.0 + 10 * epoch
    assert [line.split(" | ")[0] for line in plain_lines(made)[1:]] == [
        f"[ 0/16] t0000 epoch {epoch}" for epoch in (6, 12, 18, 24, 30)
    ]


def test_history_is_taken_in_silently() -> None:
    made = Made().search().confirm()
    resumed = next(i for i, e in enumerate(made.events) if e["event"] == "chosen")
    lines = plain_lines(made, since=made.events[resumed]["time"])
    assert lines[0] == "made: 16 trials, 4 of them done already"
    assert not any("t0000 complete" in line for line in lines)


def test_time_left_falls_to_zero_as_the_work_is_done() -> None:
    progress, left = Progress(), []
    for event in Made().search().confirm().events:
        progress.update(event)
        if event["event"] == "finished":
            left.append(progress.seconds_left())
    assert all(value is not None for value in left)
    assert left[-1] == 0
    assert left[4] > left[8] > left[12] > 0  # type: ignore[operator]
    # Every epoch of the made ladder takes one to three seconds: 12 trials, 24 epochs.
    assert 24 < left[3] < 100  # type: ignore[operator]


def test_time_left_knows_that_few_of_those_that_wait_go_on() -> None:
    """Four trials after the first of three epochs: in all 4 + 2 * 2 epochs if two go on, 12 if all might."""
    left = {}
    for variant in ("stopping", "patient"):
        made = Made()
        plan = {"kind": "asha", "rungs": [1], "reduction": 2, "variant": variant}
        made.events[0]["sweep"]["search"] |= {"scheduler": plan, "trials": 4}
        made.events[0]["sweep"]["confirm"] = None
        made.events += [e for e in Made().search().events if e["event"] in ("asked", "started")]
        for number in range(4):
            made.report(f"t000{number}", 1, 0.5)
        for second, event in enumerate(made.events):
            event["time"] = float(second)
        progress = Progress()
        for event in made.events:
            progress.update(event)
        left[variant] = progress.seconds_left()
        pace = (progress.now - progress.began) / 4
    assert left == {"stopping": 8 * pace, "patient": 4 * pace}


def test_a_terminal_shows_running_trials_and_failures() -> None:
    made = Made().search()
    made.events = [e for e in made.events if not (e.get("trial") == "t0001" and e["event"] == "finished")]
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, _environ={"TERM": "xterm"})
    with LiveView(console, since=0.0) as view:
        for event in made.events:
            view(event)
    shown = screen.getvalue()
    for said in ("made", "3/16", "t0001", "1/3", "0.1100", "t0003 failed at epoch 1: because of FAILED"):
        assert said in shown


def test_an_event_it_cannot_read_ends_the_view_and_not_the_sweep(caplog: pytest.LogCaptureFixture) -> None:
    view = LiveView(Console(file=io.StringIO()), since=0.0)
    with caplog.at_level(logging.ERROR):
        view({"event": "finished", "time": 1.0, "trial": "unheard of"})
        view({"event": "reported"})
    assert len(caplog.records) == 1


def test_what_else_may_happen_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A repeated configuration, a paused trial, a budget, an operator's stop, a retry."""
    made = Made()
    made.events[0]["sweep"]["search"]["budget"]["epochs"] = 9
    made = made.search()
    first = [e for e in made.events if e.get("trial") == "t0000" and e["event"] != "chosen"]
    after = first[-1]
    rest = made.events.index(after) + 1
    copy = [{**first[0], "trial": "t0001", "duplicate_of": "t0000"},
            {**after, "trial": "t0001", "reason": "same configuration as t0000, not run again"}]  # fmt: skip
    other = [{**e, "trial": "t0002"} for e in first[:3]]
    made.events = [
        *made.events[:rest],
        *copy,
        *other,
        {"event": "paused", "trial": "t0002", "epoch": 1},
        {**first[0], "trial": "t0003"},
        {
            "event": "closed",
            "arm": "search",
            "replicate": 0,
            "by": "operator",
            "reason": "stopped by the operator",
        },
        {**after, "trial": "t0003", "state": "FAILED", "reason": "it broke"},
        {"event": "retried", "trial": "t0003", "epoch": 0},
    ]
    for i, event in enumerate(made.events):
        event["time"] = 1000.0 + 2 * i
    screen = io.StringIO()
    with LiveView(Console(file=screen, width=200), since=0.0) as view, caplog.at_level(logging.ERROR):
        for event in made.events:
            view(event)
    assert caplog.records == []
    lines = screen.getvalue().splitlines()
    assert "epochs 3 of 9" in lines[1]
    assert "t0001 complete probe.h.val 0.3000: same configuration as t0000, not run again" in lines[2]
    assert "1 repeated" in lines[2]
    assert "t0002 waits after epoch 1 probe.h.val 0." in lines[3]
    assert "1 paused" in lines[3]
    assert lines[4] == "the search asks for no more trials: stopped by the operator"
    assert "t0003 failed at epoch 3: it broke" in lines[5]
    assert lines[6:] == ["t0003 is to run again"]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    with LiveView(console, since=0.0) as panel:
        for event in made.events:
            panel(event)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for said in ("search closed", "1 paused", "the search asks for no more trials: stopped by the operator"):
        assert said in shown


def test_one_arm_that_asks_no_more_has_not_closed_the_search(tmp_path: Path) -> None:
    made = Made(arms=ARMS).search(closed={"plain": "its hours are spent"})
    closed = next(i for i, e in enumerate(made.events) if e["event"] == "closed")
    made.events = made.events[: closed + 1]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"})
    with LiveView(console, since=0.0) as panel:
        for event in made.events:
            panel(event)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the search (plain) asks for no more trials: its hours are spent" in shown
    assert "search closed" not in shown
    assert status_of(made.write(tmp_path / "made")).closed == "plain: its hours are spent"


def test_of_arms_all_closed_for_one_reason_it_is_told_once(tmp_path: Path) -> None:
    why = "stopped by the operator"
    made = Made(arms={**ARMS, "replicates": 2}).search(closed={"plain": why, "deep": why})
    assert status_of(made.write(tmp_path / "made")).closed == why
