"""The fold of a ledger into one record a trial agrees with what the search itself knows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from ablate.report.trials import fold_event, fold_trials, opening
from ablate.search import replay
from tests.search.synthetic import METRIC
from tests.search.test_decide import Course
from tests.search.test_replay import choices, history, kinds


def timed(course: Course) -> list[dict[str, Any]]:
    return [{"sequence": i, "time": float(i), **e} for i, e in enumerate(course.events)]


@settings(max_examples=60, deadline=None)
@given(choices, kinds)
def test_records_agree_with_the_state_of_the_search(course: list[tuple[str, int]], kind: str) -> None:
    events = history(course, kind)
    state, records = replay(events), fold_trials(events)
    assert list(records) == list(state.trials)
    for name, trial in state.trials.items():
        record = records[name]
        assert (record.finished, record.epochs) == (trial.state is not None, trial.epochs)
        assert (record.parent, record.inherited) == (trial.parent, trial.inherited)
        if trial.state is not None:
            assert (record.state, record.metrics) == (trial.state, trial.metrics)
        else:
            assert record.curve == trial.curve
            waits = {"PAUSED"} if trial.paused else {"WAITING", "PAUSED"}
            assert record.state in ({"RUNNING"} if trial.slot else waits)


def test_a_copy_costs_nothing_and_a_child_what_it_trained_itself() -> None:
    copies = Course(trials=2, space={"optim.lr": {"choice": [0.1]}})
    copies.run_all(0.5)
    records = fold_trials(timed(copies))
    assert [(r.duplicate_of, r.epochs, r.own_epochs) for r in records.values()] == [
        (None, 3, 3), ("t0000", 3, 0),
    ]  # fmt: skip
    plan = {"kind": "pbt", "every": 2, "quantile": 0.5, "mutate": ["optim.lr"]}
    population = Course(trials=2, scheduler=plan)
    for slot, value in (("a", 0.1), ("b", 0.9)):
        trial = population.start(slot)
        for epoch in (1, 2):
            population.report(trial.id, epoch, value)
        assert fold_trials(timed(population))[trial.id].state == "RUNNING"
        population.save(trial.id, 2)
    assert fold_trials(timed(population))["t0001"].state == "PAUSED"
    population.start("b")
    assert fold_trials(timed(population))["t0001"].state == "RUNNING"
    population.finish("t0001", 0.9)
    population.run_all(0.5)
    child = fold_trials(timed(population))["t0002"]
    assert (child.parent, child.inherited, child.epochs, child.own_epochs) == ("t0001", 2, 3, 1)


def test_a_retried_trial_is_open_again_with_the_curve_up_to_its_checkpoint() -> None:
    course = Course(trials=1)
    trial = course.start()
    for epoch in (1, 2):
        course.report(trial.id, epoch, epoch / 10)
    course.end(trial.id, "FAILED")
    course.happens("retried", trial=trial.id, epoch=1)
    record = fold_trials(timed(course))[trial.id]
    assert (record.state, record.reason, record.finished, record.epochs) == ("WAITING", "", False, 1)
    assert record.metrics == {METRIC: 0.1}


def test_the_sweep_is_that_of_the_last_change() -> None:
    course = Course(trials=3)
    course.happens("resumed", fence=2, epochs={}, changes={"search.trials": 9, "resources.keep": ["best"]})
    sweep = opening(timed(course))["sweep"]
    assert (sweep["search"]["trials"], sweep["resources"]["keep"]) == (9, ["best"])
    assert course.events[0]["sweep"]["search"]["trials"] == 3
    with pytest.raises(ValueError, match="opened"):
        opening(timed(course)[1:])


def test_folding_one_event_after_another_is_folding_all() -> None:
    course = Course(trials=2)
    course.run_all(0.5)
    records: dict[str, Any] = {}
    for event in timed(course):
        fold_event(records, event)
    assert records == fold_trials(timed(course))
