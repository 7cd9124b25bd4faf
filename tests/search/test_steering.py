"""Ends and changes that are not a slot's doing: budgets, operators, retries, a sweep changed on resuming."""

from __future__ import annotations

from typing import Any

import pytest

from ablate.search import InvalidEvent, replay
from tests.search.synthetic import METRIC, SEEDS
from tests.search.test_decide import Course, names

ONLY = {"arm": "search", "replicate": 0}

STOP: dict[str, Any] = {"by": "operator", "reason": "stopped by the operator"}


def replayed(course: Course) -> None:
    """Its ledger leads to the same decisions again."""
    assert replay([{"sequence": i, **e} for i, e in enumerate(course.events)]).trials == course.state.trials


def resumed(course: Course, **changes: Any) -> list[dict[str, Any]]:
    epochs = {t.id: 0 for t in course.state.unfinished()}
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    fence = course.state.fence + 1
    return course.happens("resumed", fence=fence, epochs=epochs, changes=dotted)


# --- budgets ------------------------------------------------------------------------------------------------


def test_a_budget_of_epochs_ends_the_search_once_it_is_spent_and_what_runs_goes_on() -> None:
    course = Course(trials=100, epochs=4, budget={"epochs": 6}, confirm=SEEDS)
    first, second = course.start("a"), course.start("b")
    for epoch in (1, 2):
        assert course.report(first.id, epoch, 0.5) == []
        assert course.report(second.id, epoch, 0.4) == []
    course.report(first.id, 3, 0.5)
    assert course.report(second.id, 3, 0.4) == ["closed"]
    assert course.decided("closed")[0] == {
        **ONLY, "event": "closed", "by": "epochs", "reason": "6 epochs were trained, of 6 budgeted",
    }  # fmt: skip
    assert course.happens("wanted", slot="c") == []
    course.finish(first.id, 0.5)
    assert names(course.finish(second.id, 0.4)) == ["finished", "chosen", "declared"]
    assert course.start("a").stage == "confirm"
    replayed(course)


def test_epochs_repeated_after_a_crash_are_counted_once() -> None:
    course = Course(trials=100, epochs=4, budget={"epochs": 6})
    course.report(course.start("a").id, 1, 0.5)
    for _ in range(8):
        course.resume()
        course.report(course.start("a").id, 1, 0.5)
    assert course.only.paid == 1
    assert course.decided("closed") == []


def test_epochs_of_confirmation_are_not_counted() -> None:
    course = Course(trials=1, epochs=3, budget={"epochs": 4}, confirm=SEEDS)
    course.run_all(0.5)
    assert course.decided("closed") == []
    assert course.only.paid == 3


def test_a_search_that_has_converged_asks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(trials=100, converged={"after": 4, "error": 0.01})
    state = course.state
    monkeypatch.setattr(course.only.study, "converged", lambda *_: "enough" if state.asked == 5 else None)
    course.run_all(0.5)
    assert course.state.asked == 5
    assert course.decided("closed") == [{**ONLY, "event": "closed", "by": "converged", "reason": "enough"}]
    assert names(course.events[-4:]) == ["closed", "chosen", "declared", "ended"]


def test_a_grid_that_is_used_up_ends_the_search() -> None:
    space = {"optim.lr": {"choice": [0.1, 0.2]}, "loss.temperature": {"choice": [0.1, 0.5]}}
    course = Course(trials=100, space=space, sampler={"kind": "exhaustive"}, confirm=SEEDS)
    course.run_all(0.5)
    assert len([e for e in course.decided("asked") if e["stage"] == "search"]) == 4
    assert [e["by"] for e in course.decided("closed")] == ["exhausted"]
    assert course.decided("ended")[0]["reason"] == ""
    replayed(course)


def test_a_budget_in_hours_is_an_event_like_any_other() -> None:
    course = Course(trials=10)
    first = course.start("a")
    halted = course.happens("halted", by="hours", reason="2 h", running="finish", confirm=True)
    assert halted == [{**ONLY, "event": "closed", "by": "hours", "reason": "2 h"}]
    assert names(course.finish(first.id, 0.5)) == ["finished", "chosen", "declared", "ended"]
    assert course.decided("ended")[0]["reason"] == ""


# --- operators ----------------------------------------------------------------------------------------------


def test_an_operator_ends_the_search_and_what_is_complete_is_confirmed() -> None:
    course = Course(trials=10, confirm=SEEDS)
    course.run(0.5)
    running = [course.start(slot).id for slot in "ab"]
    decisions = course.happens("halted", **STOP, running="stop", confirm=True)
    assert names(decisions) == ["closed", "finished", "finished", "chosen", "declared"]
    assert [(e["trial"], e["state"], e["reason"]) for e in decisions[1:3]] == [
        (trial, "PRUNED", "stopped by the operator") for trial in running
    ]
    assert course.start("a").stage == "confirm"
    replayed(course)


def test_without_confirmation_everything_ends_at_once_and_the_reason_is_kept() -> None:
    course = Course(trials=10, confirm=SEEDS)
    course.run(0.5)
    course.start("a")
    course.happens("halted", **STOP, running="stop", confirm=False)
    assert course.decided("declared")[0]["seeds"] == []
    assert course.decided("ended")[0]["reason"] == "stopped by the operator"
    assert course.happens("wanted", slot="a") == []
    replayed(course)


@pytest.mark.parametrize("running", ["stop", "finish"])
def test_confirmation_too_can_be_ended(running: str) -> None:
    course = Course(trials=1, confirm=SEEDS)
    course.run(0.5)
    trial = course.start()
    decisions = course.happens("halted", **STOP, running=running, confirm=False)
    assert names(decisions) == (["finished", "ended"] if running == "stop" else [])
    if running == "finish":
        assert names(course.end(trial.id)) == ["finished", "ended"]
    assert course.decided("ended")[0]["reason"] == "stopped by the operator"


def test_ending_a_search_before_anything_is_complete_says_so() -> None:
    course = Course(trials=10, confirm=SEEDS)
    course.happens("halted", **STOP, running="stop", confirm=True)
    assert "no search trial completed (none was asked)" in course.decided("ended")[0]["reason"]
    with pytest.raises(InvalidEvent, match="has ended"):
        course.happens("halted", **STOP, running="stop", confirm=True)


def test_one_trial_is_stopped_with_its_curve_running_or_waiting() -> None:
    course = Course(trials=3)
    first = course.start("a")
    course.report(first.id, 1, 0.5)
    finished = course.happens("cancelled", trial=first.id, reason="stopped by the operator")
    assert [(e["event"], e["state"], e["metrics"]) for e in finished] == [
        ("finished", "PRUNED", {METRIC: 0.5})
    ]
    assert course.only.study.optuna.trials[0].intermediate_values == {1: 0.5}
    second = course.start("a")
    course.happens("abandoned", trial=second.id, reason="gone", epoch=0)
    course.happens("cancelled", trial=second.id, reason="stopped by the operator")
    assert course.start("a").id == "t0002"
    with pytest.raises(InvalidEvent, match="t0000 is not under way"):
        course.happens("cancelled", trial="t0000", reason="")
    replayed(course)


# --- retries ------------------------------------------------------------------------------------------------


def test_a_failed_trial_runs_again_from_its_checkpoint_and_keeps_its_curve() -> None:
    course = Course(trials=2, epochs=3)
    trial = course.start()
    for epoch in (1, 2):
        course.report(trial.id, epoch, 0.5)
        course.save(trial.id, epoch)
    course.end(trial.id, "FAILED")
    assert course.happens("retried", trial=trial.id, epoch=2) == []
    assert course.start().id == trial.id
    assert sorted(course.state.trials[trial.id].curve) == [1, 2]
    assert course.finish(trial.id, 0.7)[0]["state"] == "COMPLETE"
    course.run(0.1)
    assert course.decided("chosen")[0]["trial"] == trial.id
    assert course.state.states() == {"COMPLETE": 2}
    replayed(course)


def test_a_retried_trial_has_its_lives_again() -> None:
    course = Course(trials=1)
    trial = course.start()
    for _ in range(4):
        course.happens("abandoned", trial=trial.id, reason="gone", epoch=0)
        if course.state.trials[trial.id].state is None:
            course.start()
    assert course.state.trials[trial.id].state == "FAILED"
    course.happens("retried", trial=trial.id, epoch=0)
    course.start()
    course.happens("abandoned", trial=trial.id, reason="gone", epoch=0)
    assert course.start().id == trial.id


def test_a_sweep_that_ended_without_a_choice_goes_on_with_a_retry() -> None:
    course = Course(trials=1, confirm=SEEDS)
    course.end(course.start().id, "FAILED")
    assert course.state.ended
    course.happens("retried", trial="t0000", epoch=0)
    assert course.state.ended is None
    assert names(course.run(0.5)) == ["finished", "chosen", "declared"]
    assert course.start().stage == "confirm"
    replayed(course)


def test_a_failed_seed_of_the_confirmation_is_run_again_and_what_was_chosen_stays() -> None:
    course = Course(trials=2, confirm={**SEEDS, "controls": []})
    course.end(course.start().id, "FAILED")
    course.run(0.5)
    course.end(course.start().id, "FAILED")
    course.run(0.5)
    assert course.decided("ended")[-1]["states"] == {"COMPLETE": 2, "FAILED": 2}
    for trial in ("c0000", "t0000"):
        course.happens("retried", trial=trial, epoch=0)
    assert [course.run(0.9)[0]["trial"] for _ in range(2)] == ["c0000", "t0000"]
    assert len(course.decided("chosen")) == 1
    assert course.decided("ended")[-1]["states"] == {"COMPLETE": 4}
    assert course.decided("chosen")[0]["trial"] == "t0001"
    replayed(course)


def test_only_what_failed_and_can_run_is_run_again() -> None:
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"choice": [8000]}}
    course = Course(trials=1, space=space)
    course.happens("wanted", slot="a")
    for trial in ("t0000", "t0007"):
        with pytest.raises(InvalidEvent, match=trial):
            course.happens("retried", trial=trial, epoch=0)


# --- a changed sweep ----------------------------------------------------------------------------------------


def test_a_larger_budget_opens_the_search_again() -> None:
    course = Course(trials=100, epochs=3, budget={"epochs": 3})
    course.run(0.5)
    assert course.state.ended
    assert resumed(course, search__budget__epochs=6) == []
    assert course.state.ended is None
    course.run_all(0.9)
    assert [e["trial"] for e in course.decided("chosen")] == ["t0000", "t0001"]
    assert len(course.decided("ended")) == 2
    replayed(course)


def test_fewer_trials_than_were_asked_end_the_search_when_these_have_ended() -> None:
    course = Course(trials=10)
    course.run(0.5)
    course.start("a")
    resumed(course, search__trials=2)
    assert names(course.run(0.6)) == ["finished", "chosen", "declared", "ended"]
    course = Course(trials=10)
    course.run(0.5)
    assert names(resumed(course, search__trials=1)) == ["chosen", "declared", "ended"]
    replayed(course)


def test_more_trials_after_an_end_without_confirmation_choose_again() -> None:
    course = Course(trials=1)
    course.run(0.5)
    resumed(course, search__trials=2)
    course.run(0.9)
    assert [e["trial"] for e in course.decided("chosen")] == ["t0000", "t0001"]
    replayed(course)


def test_a_choice_under_confirmation_is_not_made_again() -> None:
    course = Course(trials=1, confirm=SEEDS)
    course.run(0.5)
    course.start()
    with pytest.raises(InvalidEvent, match="being confirmed"):
        resumed(course, search__trials=2)
