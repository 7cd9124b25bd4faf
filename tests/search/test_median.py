"""The median rule: best value so far against the median of the others' running means."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.search.median import Level
from tests.search.synthetic import METRIC
from tests.search.test_decide import Course

finite = st.floats(-10, 10)


@given(st.lists(st.lists(finite, min_size=1, max_size=5), min_size=1, max_size=20))
def test_the_median_is_that_of_the_means(curves: list[list[float]]) -> None:
    level = Level()
    for i, losses in enumerate(curves):
        level.enter(f"t{i}", losses)
    assert level.median() == pytest.approx(statistics.median(map(statistics.fmean, curves)), abs=1e-12)


def course(**options: int) -> Course:
    return Course(trials=8, epochs=4, scheduler={"kind": "median", "others": 2, **options})


def two_curves(course: Course) -> None:
    for slot, values in (("a", (0.2, 0.6, 0.7)), ("b", (0.4, 0.8, 0.9))):
        trial = course.start(slot)
        for epoch, value in enumerate(values, 1):
            assert course.report(trial.id, epoch, value) == []


def test_a_trial_at_best_below_the_median_of_the_running_means_is_stopped() -> None:
    sweep = course(grace=2)
    two_curves(sweep)  # running means after two epochs: .4 and .6
    trial = sweep.start("c")
    assert sweep.report(trial.id, 1, 0.1) == [], "before grace"
    assert sweep.report(trial.id, 2, 0.45) == ["stopped", "finished"]
    stopped = sweep.decided("stopped")[0]
    assert (stopped["rung"], stopped["value"], stopped["seen"]) == (2, 0.45, 3)
    assert stopped["cutoff"] == pytest.approx(0.5)
    assert "median of 2 running means" in sweep.decided("finished")[0]["reason"]


def test_its_best_epoch_counts_not_its_last_and_a_tie_goes_on() -> None:
    sweep = course(grace=2)
    two_curves(sweep)
    trial = sweep.start("c")
    sweep.report(trial.id, 1, 0.5)
    assert sweep.report(trial.id, 2, 0.1) == []


def test_nobody_is_stopped_while_too_few_have_come_as_far_nor_at_the_last_epoch() -> None:
    sweep = course(others=3)
    two_curves(sweep)
    assert sweep.report(sweep.start("c").id, 1, 0.0) == []
    assert sweep.report(sweep.start("d").id, 1, 0.1) == ["stopped", "finished"]
    last = Course(trials=8, epochs=1, scheduler={"kind": "median", "others": 2, "grace": 0})
    for slot in "abcd":
        assert last.report(last.start(slot).id, 1, 0.1) == []


def test_epochs_that_are_not_measured_are_passed_over_and_nan_fails() -> None:
    sweep = course()
    two_curves(sweep)
    trial = sweep.start("c")
    assert sweep.happens("reported", trial=trial.id, epoch=1, metrics={"loss": 1.0}) == []
    assert sweep.report(trial.id, 2, math.nan) == ["finished"]
    finished = sweep.decided("finished")[0]
    assert (finished["state"], METRIC in finished["reason"]) == ("FAILED", True)


def test_a_trial_let_through_before_a_restart_stays_so() -> None:
    sweep = course(grace=1)
    two_curves(sweep)
    trial = sweep.start("c")
    assert sweep.report(trial.id, 1, 0.35) == []
    better = sweep.start("d")
    sweep.report(better.id, 1, 0.9)
    sweep.resume()
    while sweep.start("e").id != trial.id:
        sweep.happens("cancelled", trial=sweep.state.slots["e"], reason="")
    assert sweep.report(trial.id, 1, 0.35) == []
    assert len(sweep.only.levels[1].means) == 4


def test_a_grace_that_outlasts_the_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="or nobody is ever stopped"):
        course(grace=4)
