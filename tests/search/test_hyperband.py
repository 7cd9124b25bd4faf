"""Asynchronous HyperBand: how trials are dealt to brackets, and that brackets do not mix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.search.hyperband import deal, expected_epochs
from ablate.spec.scheduler import HyperBand
from tests.search.test_decide import Course


def test_expected_epochs_are_those_of_survivors() -> None:
    assert expected_epochs((1, 2), 2, 4) == 1 + 1 / 2 + 2 / 4
    assert expected_epochs((), 2, 4) == 4
    assert expected_epochs((2, 9), 2, 9) == 2 + 7 / 2, "a rung at the last epoch does nothing"


def test_the_first_bracket_gets_more_trials_as_each_costs_less() -> None:
    scheduler = HyperBand(rungs=(1, 2), reduction=2, brackets=3)
    dealt: list[float] = []
    brackets = [deal(scheduler, 4, dealt) for _ in range(9)]  # of 2, 3 and 4 expected epochs
    assert brackets == [0, 1, 2, 0, 1, 0, 2, 0, 1]
    assert dealt == [8, 9, 8]


@given(st.integers(2, 4), st.integers(1, 4), st.integers(10, 200))
def test_brackets_get_about_the_same_epochs(reduction: int, brackets: int, trials: int) -> None:
    scheduler = HyperBand(rungs=(1, 3, 9), reduction=reduction, brackets=brackets)
    dealt: list[float] = []
    for _ in range(trials):
        deal(scheduler, 27, dealt)
    assert len(dealt) == brackets
    assert max(dealt) - min(dealt) <= 27


def test_trials_are_compared_within_their_bracket_and_the_last_stops_nobody() -> None:
    scheduler = {"kind": "hyperband", "rungs": [1], "reduction": 2, "brackets": 2}
    course = Course(trials=6, epochs=2, scheduler=scheduler)
    trials = [course.start(f"slot {i}") for i in range(6)]
    assert [t.bracket for t in trials] == [0, 1, 0, 1, 0, 1]  # of 1.5 and of 2 expected epochs
    assert course.report("t0001", 1, 0.9) == []
    assert course.report("t0000", 1, 0.5) == [], "t0001 is of another bracket"
    assert course.report("t0002", 1, 0.4) == ["stopped", "finished"]
    assert course.report("t0003", 1, 0.1) == [], "bracket 1 has no rung left"
    assert course.decided("stopped")[0]["seen"] == 2


def test_a_rung_is_left_out_for_each_bracket() -> None:
    scheduler = {"kind": "hyperband", "rungs": [1, 2], "reduction": 2, "brackets": 2}
    course = Course(trials=4, epochs=4, scheduler=scheduler)
    for slot in "abcd":
        course.start(slot)
    assert [t.bracket for t in course.state.trials.values()] == [0, 1, 0, 1]
    for trial, value in (("t0001", 0.5), ("t0003", 0.4)):
        assert course.report(trial, 1, value) == []
    assert course.report("t0001", 2, 0.5) == []
    assert course.report("t0003", 2, 0.4) == ["stopped", "finished"]


def test_a_copy_that_is_run_because_the_first_failed_takes_its_bracket() -> None:
    scheduler = {"kind": "hyperband", "rungs": [1], "reduction": 2, "brackets": 2}
    space = {"optim.lr": {"choice": [0.1, 0.2]}}
    points = [{"optim.lr": lr} for lr in (0.1, 0.2, 0.2)]
    course = Course(trials=3, scheduler=scheduler, space=space, points=points)
    assert [course.start(slot).bracket for slot in "ab"] == [0, 1]
    course.happens("wanted", slot="c")
    course.end("t0001", "FAILED")
    copy = course.start("c")
    assert (copy.id, copy.bracket) == ("t0002", 1)


@pytest.mark.parametrize("rungs", [[1, 3], [1, 9]])
def test_rungs_that_no_trial_reaches_are_refused(rungs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must be below base\.optim\.epochs \(3\)"):
        Course(epochs=3, scheduler={"kind": "hyperband", "rungs": rungs})


def test_more_brackets_than_rungs_allow_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2"):
        HyperBand(rungs=(1,), brackets=3)
