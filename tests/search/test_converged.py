"""A search that ends itself: recorded, replayed, and taken as recorded by who goes on elsewhere."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ablate.search import refold, replay
from ablate.search.replay import ReplayMismatch
from ablate.search.sampler import Study
from tests.search.test_decide import Course

GIVES_UP: dict[str, Any] = {"converged": {"after": 4, "error": 10.0}, "trials": 9}


def numbered(course: Course) -> list[dict[str, Any]]:
    return [{"sequence": i, "time": 0.0, **event} for i, event in enumerate(course.events)]


def test_the_search_is_closed_when_the_look_is_due_and_the_best_is_chosen() -> None:
    course = Course(**GIVES_UP)
    for value in (0.1, 0.4, 0.2, 0.3):
        course.run(value)
    closed = course.decided("closed")[0]
    assert closed["by"] == "converged"
    assert "after 4 completed trials" in closed["reason"]
    assert course.decided("chosen")[0]["trial"] == "t0001"
    assert len(course.decided("asked")) == 4
    replay(numbered(course))


def test_on_another_processor_the_recorded_look_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(**GIVES_UP)
    for value in (0.1, 0.4, 0.2, 0.3):
        course.run(value)
    course.resume()
    monkeypatch.setattr(Study, "_possible_gain", lambda _: math.inf)
    state, due = refold(numbered(course))
    only = state.searches["search", 0]
    assert (only.closed, due) == (course.only.closed, [])
    assert only.study.converged() == course.only.study.converged()
    with pytest.raises(ReplayMismatch):
        replay(numbered(course))


def test_an_end_that_was_not_recorded_any_more_is_decided_again() -> None:
    course = Course(**GIVES_UP)
    for value in (0.1, 0.4, 0.2, 0.3):
        course.run(value)
    events = numbered(course)
    torn = next(i for i, event in enumerate(events) if event["event"] == "closed")
    _, due = refold(events[:torn])
    assert [event["event"] for event in due] == ["closed", "chosen", "declared", "ended"]
