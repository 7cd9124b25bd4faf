"""ASHA's promotion: who goes on at a rung, who waits, how long, and that a sweep always comes to its end."""

from __future__ import annotations

import math
import statistics
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from ablate.ledger import plain
from ablate.report.analysis.pools import read_search
from ablate.report.analysis.stopping_audit import audit, auditable
from ablate.search import refold, replay
from ablate.search.asha import Rung
from tests.search.synthetic import LR, METRIC, SEEDS
from tests.search.test_decide import Course, names


def plan(*rungs: int, reduction: int = 2, variant: str = "promotion") -> dict[str, Any]:
    return {"kind": "asha", "rungs": list(rungs), "reduction": reduction, "variant": variant}


def course(
    trials: int, *rungs: int, reduction: int = 2, variant: str = "promotion", **options: Any
) -> Course:
    """Smaller values of the objective are better."""
    options = {"epochs": 4, "mode": "min", "sampler": {"kind": "random"}, **options}
    return Course(trials=trials, scheduler=plan(*rungs, reduction=reduction, variant=variant), **options)


def to_rung(course: Course, trial: str, loss: float, epoch: int = 1) -> list[str]:
    """A started trial trains to a rung, and saves there if it is told to; returns what was decided."""
    decisions: list[str] = []
    known = course.state.trials[trial]
    for at in range(known.epochs + 1, epoch + 1):
        decisions += course.report(trial, at, loss)
    return decisions + (names(course.save(trial, epoch)) if known.pausing else [])


def next_trial(course: Course, losses: list[float]) -> None:
    """The next trial of one slot, to the rung at 1 and, if it then still has its slot, to its end."""
    trial = course.start("a")
    loss = losses[trial.number]
    if not trial.released:
        to_rung(course, trial.id, loss)
    if trial.slot is not None:
        course.finish(trial.id, loss)


def waits(course: Course, trial: str) -> bool:
    known = course.state.trials[trial]
    return known.paused is not None and known.slot is None and known.state is None


# --- by hand ------------------------------------------------------------------------------------------------


def test_a_course_by_hand() -> None:
    sweep = course(4, 1, 2)
    first = sweep.start("a")
    assert to_rung(sweep, first.id, 0.5) == ["paused"], "alone it is not among the best half"
    second = sweep.start("a")
    assert second.id == "t0001"
    assert to_rung(sweep, second.id, 0.7) == ["paused"]
    assert list(sweep.state.waiting) == ["t0000"], "of two the better goes on, though it came first"
    assert sweep.start("a").id == "t0000", "before a new one is asked for"
    assert to_rung(sweep, "t0000", 0.4, epoch=2) == ["paused"]
    third = sweep.start("a")
    assert to_rung(sweep, third.id, 0.3) == [], "among the best, it goes on without leaving its slot"
    assert third.released == 1
    assert to_rung(sweep, third.id, 0.2, epoch=2) == []
    assert names(sweep.finish(third.id, 0.1)) == ["finished"]
    fourth = sweep.start("a")
    # Two of four came through the first rung and one of two through the second; nothing can change that.
    assert sweep.report(fourth.id, 1, 0.9) == ["stopped", "finished"] * 2
    assert names(sweep.save(fourth.id, 1)) == ["paused", "stopped", "finished", "chosen", "declared", "ended"]
    assert {t.id: t.state for t in sweep.state.trials.values()} == {
        "t0000": "PRUNED", "t0001": "PRUNED", "t0002": "COMPLETE", "t0003": "PRUNED",
    }  # fmt: skip


def test_the_stopped_event_names_rung_and_cut_off() -> None:
    sweep = course(4, 1)
    while sweep.state.ended is None:
        next_trial(sweep, [0.4, 0.3, 0.2, 0.1])
    [stopped] = [e for e in sweep.decided("stopped") if e["trial"] == "t0000"]
    value, cutoff, seen = stopped["value"], stopped["cutoff"], stopped["seen"]
    assert (stopped["epoch"], stopped["rung"], value, cutoff, seen) == (1, 1, 0.4, 0.2, 4)
    assert "at epoch 1 is not among the best 1/2 of 4 (cut-off 0.2)" in stopped["reason"]
    finished = next(e for e in sweep.decided("finished") if e["trial"] == "t0000")
    assert (finished["state"], finished["epochs"], finished["metrics"]) == ("PRUNED", 1, {METRIC: 0.4})


def test_a_tie_with_the_cut_off_goes_on() -> None:
    sweep = course(9, 1)
    assert to_rung(sweep, sweep.start("a").id, 0.5) == ["paused"]
    second = sweep.start("a")
    assert to_rung(sweep, second.id, 0.5) == []
    assert second.slot == "a"
    assert list(sweep.state.waiting) == ["t0000"]


def test_higher_rungs_come_first_then_the_better() -> None:
    sweep = course(12, 1, 2, reduction=3)
    for slot in "abcdef":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.3), ("t0001", 0.2)):
        assert to_rung(sweep, trial, loss) == ["paused"]
    assert to_rung(sweep, "t0002", 0.1) == []
    assert to_rung(sweep, "t0002", 0.1, epoch=2) == ["paused"], "one of one is none of three"
    for trial in ("t0003", "t0004"):
        assert to_rung(sweep, trial, 0.9) == ["paused"]
    assert list(sweep.state.waiting) == []
    assert to_rung(sweep, "t0005", 0.9) == ["paused"]
    assert list(sweep.state.waiting) == ["t0001"], "the second of six; of three, one may go on"


def test_what_comes_while_it_saves_counts_once_it_has_saved() -> None:
    sweep = course(5, 1)
    sweep.start("a"), sweep.start("b")
    assert sweep.report("t0000", 1, 0.1) == []
    assert sweep.report("t0001", 1, 0.5) == []
    assert list(sweep.state.waiting) == [], "it is still saving"
    assert names(sweep.save("t0000", 1)) == ["paused"]
    assert list(sweep.state.waiting) == ["t0000"]
    assert names(sweep.save("t0001", 1)) == ["paused"]
    assert waits(sweep, "t0001")


def test_without_a_finite_objective_at_a_rung_it_fails() -> None:
    sweep = course(2, 1)
    decisions = sweep.happens("reported", trial=sweep.start().id, epoch=1, metrics={})
    assert [(e["event"], e.get("state")) for e in decisions] == [("finished", "FAILED")]
    assert "at rung 1" in decisions[0]["reason"]


def test_to_tpe_one_that_waits_is_as_if_stopped_there_until_it_goes_on() -> None:
    sweep = course(4, 1, sampler={"kind": "tpe", "startup": 4})
    to_rung(sweep, sweep.start("a").id, 0.5)
    study = sweep.only.study.optuna

    def seen() -> tuple[str, dict[int, float]]:
        return study.trials[0].state.name, study.trials[0].intermediate_values

    assert seen() == ("PRUNED", {1: 0.5})
    to_rung(sweep, sweep.start("a").id, 0.7)
    assert sweep.start("a").id == "t0000"
    assert seen() == ("RUNNING", {1: 0.5})
    sweep.finish("t0000", 0.4)
    assert study.trials[0].state.name == "COMPLETE"
    while sweep.state.ended is None:
        next_trial(sweep, [0.5, 0.7, 0.2, 0.3])
    assert (study.trials[1].state.name, study.trials[1].intermediate_values) == ("PRUNED", {1: 0.7})


def test_one_whose_checkpoint_is_lost_runs_again_also_for_the_sampler() -> None:
    sweep = course(4, 1, sampler={"kind": "tpe", "startup": 2})
    trial = sweep.start("a")
    to_rung(sweep, trial.id, 0.5)
    study = sweep.only.study.optuna
    assert study.trials[0].state.name == "PRUNED"
    sweep.resume(**{trial.id: 0})
    assert sweep.start("a").id == trial.id
    assert study.trials[0].state.name == "RUNNING"


def test_to_the_gaussian_process_those_that_wait_keep_running() -> None:
    sweep = course(4, 1, sampler={"kind": "gp", "startup": 2})
    to_rung(sweep, sweep.start("a").id, 0.5)
    assert waits(sweep, "t0000")
    assert sweep.only.study.optuna.trials[0].state.name == "RUNNING"


def test_a_sampler_that_learns_learns_from_those_that_wait() -> None:
    """They count as known: after its `startup` TPE draws near the better of them."""
    sweep = course(40, 1, reduction=16, sampler={"kind": "tpe", "startup": 10}, confirm=None)
    for _ in range(15):
        trial = sweep.start("a")
        lr = trial.params["optim.lr"]
        assert isinstance(lr, float)
        to_rung(sweep, trial.id, abs(math.log(lr / 0.3)))
    assert sweep.only.study.optuna.get_trials(states=(TrialState.COMPLETE,)) == []
    later = [float(sweep.state.trials[f"t{i:04d}"].params["optim.lr"]) for i in range(10, 15)]
    early = [float(sweep.state.trials[f"t{i:04d}"].params["optim.lr"]) for i in range(10)]
    distance = [statistics.median(abs(math.log(lr / 0.3)) for lr in lrs) for lrs in (later, early)]
    assert distance[0] < distance[1]


def test_confirmation_is_never_paused() -> None:
    sweep = course(2, 1, confirm={**SEEDS, "controls": []})
    for loss in (0.1, 0.2):
        to_rung(sweep, sweep.start("a").id, loss)
    sweep.finish(sweep.start("a").id, 0.1)
    trial = sweep.start("a")
    assert trial.stage == "confirm"
    assert sweep.report(trial.id, 1, 0.9) == []
    assert not trial.pausing


# --- the end of a search -----------------------------------------------------------------------------------


def test_fewer_trials_than_the_reduction_let_their_best_go_on_at_every_rung() -> None:
    sweep = course(3, 1, 2, reduction=4)
    for loss in (0.3, 0.1, 0.2):
        assert to_rung(sweep, sweep.start("a").id, loss) == ["paused"]
    assert list(sweep.state.waiting) == ["t0001"]
    assert sweep.start("a").id == "t0001"
    assert to_rung(sweep, "t0001", 0.1, epoch=2) == ["paused"]
    assert sweep.start("a").id == "t0001"
    assert all(waits(sweep, trial) for trial in ("t0000", "t0002")), "it may still fail"
    sweep.finish("t0001", 0.1)
    assert sweep.state.states() == {"COMPLETE": 1, "PRUNED": 2}
    assert sweep.state.ended is not None


@pytest.mark.parametrize("outcome", ["FAILED", "COLLAPSED"])
def test_if_the_promoted_go_wrong_the_best_that_waits_goes_on(outcome: str) -> None:
    sweep = course(4, 1)
    for loss in (0.3, 0.4, 0.1, 0.2):
        to_rung(sweep, sweep.start("a").id, loss)
        while sweep.state.waiting or sweep.state.slots:
            trial = next(iter(sweep.state.slots.values()), "") or sweep.start("a").id
            if sweep.state.trials[trial].number != 1:
                assert sweep.state.ended is None
                sweep.end(trial, outcome)
            else:
                sweep.finish(trial, 0.4)
    assert sweep.state.states() == {"COMPLETE": 1, outcome: 3}, "all three before it were tried first"


def test_a_trial_that_can_no_longer_be_among_the_best_ends_before_the_last_arrive() -> None:
    sweep = course(5, 1)
    for slot in "abcde":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.1), ("t0001", 0.2), ("t0002", 0.8)):
        to_rung(sweep, trial, loss)
    sweep.finish(sweep.start("f").id, 0.1)
    # Of five, two will go on. t0001 may yet be one of them; t0002 may not.
    assert waits(sweep, "t0001")
    assert sweep.state.trials["t0002"].state == "PRUNED"
    sweep.end("t0003", "FAILED")
    assert waits(sweep, "t0001")
    sweep.end("t0004", "FAILED")
    assert sweep.state.ended is not None


def test_a_budget_ends_those_who_wait_at_once_and_what_runs_goes_on() -> None:
    sweep = course(20, 1, epochs=8, budget={"epochs": 12})
    for slot in "abc":
        sweep.start(slot)
    to_rung(sweep, "t0000", 0.1)
    to_rung(sweep, "t0001", 0.5)
    sweep.finish(sweep.start("a").id, 0.1)
    assert waits(sweep, "t0001")
    sweep.start("a"), sweep.start("b")
    assert to_rung(sweep, "t0002", 0.6) == ["paused"]
    assert to_rung(sweep, "t0003", 0.05) == []
    assert sweep.report("t0003", 2, 0.05) == ["closed"] + ["stopped", "finished"] * 2
    sweep.finish("t0003", 0.04)
    assert to_rung(sweep, "t0004", 0.9) == ["paused", "stopped", "finished", "chosen", "declared", "ended"]


def test_a_budget_spent_while_all_wait_lets_the_best_go_on() -> None:
    sweep = course(20, 1, reduction=4, budget={"epochs": 3})
    for loss in (0.3, 0.1):
        to_rung(sweep, sweep.start("a").id, loss)
    assert to_rung(sweep, sweep.start("a").id, 0.2) == ["closed", "paused"]
    assert sweep.start("a").id == "t0001"
    sweep.finish("t0001", 0.1)
    assert sweep.state.states() == {"COMPLETE": 1, "PRUNED": 2}
    assert "waited to go on" not in "".join(e["reason"] for e in sweep.decided("stopped"))


def test_a_budget_also_ends_promotions_after_the_last_ask() -> None:
    sweep = course(4, 1, epochs=8, budget={"epochs": 11})
    for slot in "abcd":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.4), ("t0001", 0.1)):
        to_rung(sweep, trial, loss)
    sweep.finish("t0001", 0.1)
    assert to_rung(sweep, "t0002", 0.5) == ["paused", "stopped", "finished"]
    assert waits(sweep, "t0000"), "the fourth may yet make it one of the best two"
    assert sweep.report("t0003", 1, 0.9) == ["closed", "stopped", "finished"]
    assert "waited to go on when the search was closed" in sweep.decided("stopped")[-1]["reason"]


def test_an_operator_ends_all_who_wait() -> None:
    sweep = course(20, 1, reduction=4)
    for loss in (0.3, 0.1):
        to_rung(sweep, sweep.start("a").id, loss)
    sweep.happens("halted", by="operator", reason="enough", running="stop", confirm=True)
    assert sweep.state.states() == {"PRUNED": 2}
    assert sweep.state.ended is not None


def test_who_waits_can_be_cancelled() -> None:
    sweep = course(20, 1)
    to_rung(sweep, sweep.start("a").id, 0.1)
    sweep.happens("cancelled", trial="t0000", reason="no")
    to_rung(sweep, sweep.start("a").id, 0.5)
    assert list(sweep.state.waiting) == []
    assert waits(sweep, "t0001")


def test_a_space_that_is_used_up_promotes_to_the_last() -> None:
    space = {"optim.lr": {"choice": [0.1, 0.2, 0.3]}}
    sweep = course(50, 1, space=space, sampler={"kind": "exhaustive"})
    losses = [0.3, 0.2, 0.1]
    for _ in range(3):
        next_trial(sweep, losses)
    assert waits(sweep, "t0000")
    decisions = names(sweep.happens("wanted", slot="a"))
    assert decisions == ["closed", "stopped", "finished", "chosen", "declared", "ended"]
    assert sweep.state.states() == {"COMPLETE": 2, "PRUNED": 1}


def test_in_a_space_that_is_used_up_a_budget_ends_promotions_too() -> None:
    space = {"optim.lr": {"choice": [n / 10 for n in range(1, 9)]}}
    sweep = course(50, 1, space=space, sampler={"kind": "exhaustive"}, epochs=50, budget={"epochs": 20})
    slots = [f"s{n}" for n in range(8)]
    for trial in [sweep.start(slot) for slot in slots]:
        to_rung(sweep, trial.id, float(trial.number))
    while sweep.state.ended is None:
        for slot in slots:
            if slot in sweep.state.slots:
                trial = sweep.state.trials[sweep.state.slots[slot]]
                sweep.report(trial.id, trial.epochs + 1, float(trial.number))
                if trial.epochs == 50:
                    sweep.end(trial.id, **{METRIC: float(trial.number)})
            else:
                sweep.happens("wanted", slot=slot)
    assert [e["by"] for e in sweep.decided("closed")] == ["exhausted", "epochs"]
    assert "PRUNED" in sweep.state.states()


@pytest.mark.parametrize("variant", ["promotion", "patient"])
def test_a_budget_that_is_spent_before_anyone_waits_promotes_one_only(variant: str) -> None:
    """All have asked to save when the last of the budget is spent; the best of them completes, alone."""
    sweep = course(4, 1, variant=variant, epochs=50, budget={"epochs": 4})
    trials = [sweep.start(slot).id for slot in "abcd"]
    for number, trial in enumerate(trials):
        sweep.report(trial, 1, float(number))
    assert [e["by"] for e in sweep.decided("closed")] == ["epochs"]
    for trial in trials:
        if sweep.state.trials[trial].pausing:
            sweep.save(trial, 1)
    going = [t.id for t in sweep.state.trials.values() if t.state is None and t.paused is None]
    assert len(going) == 1
    if sweep.state.trials[going[0]].slot is None:
        assert sweep.start("a").id == going[0]
    assert sweep.happens("wanted", slot="z") == []


def test_copies_of_those_who_wait_do_not_keep_the_sweep_from_its_end() -> None:
    """All that run wait at a rung, and every further ask draws one of them again."""
    space = {"optim.lr": {"choice": [0.1, 0.2]}}
    sweep = course(9, 1, reduction=4, space=space)
    while sweep.state.ended is None:
        next_trial(sweep, [n / 10 for n in range(9)])
    own = [t.state for t in sweep.state.trials.values() if t.duplicate_of is None]
    assert sorted(filter(None, own)) == ["COMPLETE", "PRUNED"]
    assert len(sweep.decided("finished")) == 9


def test_drawn_lengths_do_not_wait_for_rungs_they_never_come_to() -> None:
    space = {"optim.epochs": {"choice": [2, 4]}, **LR}
    sweep = course(8, 3, space=space)
    while sweep.state.ended is None:
        trial = sweep.start("a")
        if trial.last_epoch == 4 and not trial.released:
            to_rung(sweep, trial.id, trial.number / 10, epoch=3)
        if trial.slot is not None:
            sweep.finish(trial.id, trial.number / 10)
    long = [t.state for t in sweep.state.trials.values() if t.last_epoch == 4]
    assert 0 < len(long) < 8
    assert long.count("COMPLETE") == max(1, len(long) // 2)


def test_an_audit_takes_those_who_waited_as_stopped_at_their_rung() -> None:
    sweep = course(6, 1, 2)
    while sweep.state.ended is None:
        trial = sweep.start("a")
        for epoch in (1, 2):
            if trial.slot is not None and trial.epochs < epoch:
                to_rung(sweep, trial.id, trial.number / 10, epoch)
        if trial.slot is not None:
            sweep.finish(trial.id, trial.number / 10)
    events = [{"sequence": i, "time": float(i), **plain(e)} for i, e in enumerate(sweep.events)]
    searched = read_search(events)
    stopped = {t.trial: t.stopped for t in auditable(searched.of("search"))}
    assert stopped == {e["trial"]: e["rung"] for e in sweep.decided("stopped")}
    assert set(stopped.values()) == {1, 2}
    [arm] = audit(searched, {})
    assert arm.stopped == len(stopped)


# --- restarts -----------------------------------------------------------------------------------------------


def test_after_a_restart_a_trial_is_not_entered_twice_and_waits_again() -> None:
    sweep = course(6, 1)
    sweep.start("a"), sweep.start("b")
    sweep.report("t0000", 1, 0.1)
    to_rung(sweep, "t0001", 0.5)
    sweep.resume(t0001=1)
    assert waits(sweep, "t0001")
    assert [sweep.start("a").id] == ["t0000"]
    assert to_rung(sweep, "t0000", 0.1) == [], "two have come by now, so it goes on at once"
    assert sweep.only.rungs[0, 1].losses == [0.1, 0.5]
    sweep.resume()  # every checkpoint is gone
    assert [sweep.start(slot).id for slot in "ab"] == ["t0000", "t0001"]
    assert to_rung(sweep, "t0000", 0.1) == [], "once let through, always"
    assert to_rung(sweep, "t0001", 0.5) == ["paused"]
    assert sweep.only.rungs[0, 1].losses == [0.1, 0.5]
    assert [entry[2] for entry in sweep.only.rungs[0, 1].waiting] == ["t0001"]


def test_a_rung_knows_those_who_wait_once_and_in_order() -> None:
    rung = Rung()
    for i, loss in enumerate((0.3, 0.1, 0.2)):
        rung.enter(f"t{i}", loss)
        rung.wait(f"t{i}", i)
        rung.wait(f"t{i}", i)
    assert [trial for _, _, trial in rung.waiting] == ["t1", "t2", "t0"]


def test_a_failed_trial_that_is_retried_is_judged_as_any_other() -> None:
    sweep = course(3, 1)
    sweep.start("a"), sweep.start("b"), sweep.start("c")
    sweep.end("t0000", "FAILED")
    to_rung(sweep, "t0001", 0.1)
    to_rung(sweep, "t0002", 0.2)
    sweep.finish(sweep.start("a").id, 0.1)
    assert sweep.state.ended is not None
    sweep.happens("retried", trial="t0000", epoch=0)
    assert to_rung(sweep, sweep.start("a").id, 0.9)[-3:] == ["stopped", "finished", "ended"]


# --- the patient variant ------------------------------------------------------------------------------------


def test_the_patient_decide_a_rung_once_its_last_trial_has_come() -> None:
    """Values rise from trial to trial: promotion would have let the first through for want of others."""
    sweep = course(6, 1, 2, variant="patient")
    for loss in (0.9, 0.8, 0.5, 0.3, 0.2):
        assert to_rung(sweep, sweep.start("a").id, loss) == ["paused"]
        assert not sweep.state.waiting
    last = sweep.start("a")
    assert (last.id, to_rung(sweep, last.id, 0.4)) == ("t0005", ["paused"])
    assert list(sweep.state.waiting) == ["t0004", "t0003", "t0005"], "the best half of six, the best first"
    for loss in (0.2, 0.1, 0.4):
        assert to_rung(sweep, sweep.start("a").id, loss, epoch=2)[0] == "paused"
    assert list(sweep.state.waiting) == ["t0003"], "and of these three one"
    sweep.finish(sweep.start("a").id, 0.1)
    assert sweep.state.ended is not None
    assert complete(sweep) == {3}
    assert sweep.only.paid == 6 * 1 + 3 * 1 + 1 * 2


def test_the_patient_leave_no_slot_idle() -> None:
    sweep = course(5, 1, variant="patient")
    for slot in "abc":
        sweep.start(slot)
    to_rung(sweep, "t0000", 0.3)
    assert sweep.start("a").id == "t0003", "a new one comes first"
    to_rung(sweep, "t0001", 0.1)
    assert sweep.start("b").id == "t0004"
    to_rung(sweep, "t0002", 0.2)
    assert sweep.start("c").id == "t0001", "the search has no more to ask, and of three one may go on"
    to_rung(sweep, "t0003", 0.5)
    assert sweep.start("a").id == "t0002", "of four two"
    assert to_rung(sweep, "t0004", 0.0)[0] == "paused"
    assert list(sweep.state.waiting) == ["t0004"], "two of five have gone on, but it is one of the best two"


def test_an_idle_slot_of_the_patient_takes_none_while_a_better_one_still_saves() -> None:
    sweep = course(4, 1, reduction=3, variant="patient")
    for slot in "abcd":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.4), ("t0001", 0.3)):
        to_rung(sweep, trial, loss)
    assert sweep.report("t0002", 1, 0.1) == []
    assert sweep.happens("wanted", slot="a") == []
    assert names(sweep.save("t0002", 1)) == ["paused"]
    assert sweep.start("a").id == "t0002"


def test_an_idle_slot_of_the_patient_goes_to_the_lowest_rung() -> None:
    sweep = course(8, 1, 2, variant="patient")
    for slot in "abcdefgh":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.1), ("t0001", 0.2), ("t0002", 0.6), ("t0003", 0.7)):
        to_rung(sweep, trial, loss)
    assert [sweep.start("a").id, sweep.start("b").id] == ["t0000", "t0001"]
    for trial in ("t0000", "t0001"):
        to_rung(sweep, trial, 0.1, epoch=2)
    to_rung(sweep, "t0004", 0.3)
    to_rung(sweep, "t0005", 0.4)
    assert sweep.start("c").id == "t0004", "of six three; at the higher rung, too, one of two may go on"
    assert sweep.start("d").id == "t0000"


def test_idle_slots_of_the_patient_take_no_more_than_may_go_on() -> None:
    """The one that went on early was overtaken: it counts as one of the two of four all the same."""
    sweep = course(6, 1, variant="patient")
    for slot in "abcdef":
        sweep.start(slot)
    for trial, loss in (("t0000", 0.9), ("t0001", 0.8)):
        to_rung(sweep, trial, loss)
    assert sweep.start("a").id == "t0001"
    for trial, loss in (("t0002", 0.5), ("t0003", 0.4)):
        to_rung(sweep, trial, loss)
    assert sweep.start("b").id == "t0003"
    assert sweep.happens("wanted", slot="c") == []
    assert waits(sweep, "t0002")


def test_an_idle_slot_of_the_patient_finds_the_arm_that_has_one() -> None:
    arms = {"baseline": "one", "each": {"one": {}, "other": {}}}
    sweep = course(3, 1, variant="patient", arms=arms)
    for slot in "abcdef":
        sweep.start(slot)
    of_other = [trial.id for trial in sweep.state.trials.values() if trial.arm == "other"]
    to_rung(sweep, of_other[0], 0.5)
    to_rung(sweep, of_other[1], 0.4)
    assert sweep.start("z").id == of_other[1]


def test_copies_of_those_who_wait_keep_the_patient_from_asking_no_more_than_other_trials() -> None:
    points = [{"optim.lr": lr} for lr in (0.1, 0.1, 0.2, 0.3)]
    sweep = course(8, 1, variant="patient", points=points)
    to_rung(sweep, sweep.start("a").id, 0.5)
    assert sweep.start("a").id == "t0002", "the second is the first again, and takes its result"
    assert sweep.start("b").id == "t0003"


def test_while_every_ask_repeats_what_runs_an_idle_slot_of_the_patient_promotes() -> None:
    points = [{"optim.lr": lr} for lr in (0.2, 0.3, 0.1, 0.1)]
    sweep = course(8, 1, variant="patient", points=points)
    for loss in (0.5, 0.4):
        to_rung(sweep, sweep.start("a").id, loss)
    assert sweep.start("a").id == "t0002"
    assert sweep.start("b").id == "t0001"
    assert sweep.state.trials["t0003"].duplicate_of == "t0002"


# --- whatever happens ---------------------------------------------------------------------------------------

Losses = dict[tuple[int, int], float]


def run(sweep: Course, seed: int, crash: float = 0.0) -> None:
    """Slots, trials and values at random until the sweep has ended; at times the driver dies."""
    rng, losses = Random(seed), Losses()
    for _ in range(5000):
        before = {t.id: t.released for t in sweep.state.trials.values()}
        if rng.random() < crash:
            saved = {t.id: [c["epoch"] for c in t.checkpoints] for t in sweep.state.unfinished()}
            sweep.resume(**{trial: rng.choice([0, *epochs]) for trial, epochs in saved.items()})
        else:
            one_step(sweep, rng, losses)
        if sweep.only.closed is None:
            check_released(sweep, before)
        if sweep.state.ended is not None:
            return
    raise AssertionError("the sweep does not come to its end")


def one_step(sweep: Course, rng: Random, losses: Losses) -> None:
    """One of three slots takes a trial, or goes on with its own."""
    slot = rng.choice("abc")
    known = sweep.state.trials.get(sweep.state.slots.get(slot, ""))
    if known is None:
        in_vain = len(sweep.events)
        if not sweep.happens("wanted", slot=slot):
            del sweep.events[in_vain:]
    elif known.pausing:
        sweep.save(known.id, known.epochs)
    elif known.epochs < known.last_epoch:
        value = losses.setdefault((known.number, known.epochs + 1), rng.randrange(20) / 20)
        sweep.report(known.id, known.epochs + 1, value)
        if known.slot is not None and not known.pausing and rng.random() < 0.3:
            sweep.save(known.id, known.epochs)
    else:
        sweep.end(known.id, **{METRIC: losses[known.number, known.epochs]})


def check_released(sweep: Course, before: dict[str, int]) -> None:
    """Whoever was let through just now is among the best of its rung, or the best of it at the end."""
    reduction = sweep.state.sweep.search.scheduler.reduction  # type: ignore[union-attr]
    for trial in sweep.state.trials.values():
        if trial.released <= before.get(trial.id, 0):
            continue
        rung = sweep.only.rungs[0, trial.released]
        keep = len(rung.losses) // reduction
        if not sweep.only.searching:
            keep = max(1, keep)
        assert keep >= 1
        assert rung.trials[trial.id] <= rung.losses[keep - 1]


def check_ended(sweep: Course) -> None:
    assert sorted(e["trial"] for e in sweep.decided("finished")) == sorted(sweep.state.trials)
    assert sweep.state.states().get("COMPLETE", 0) >= 1
    assert not sweep.state.unfinished()
    assert not sweep.state.waiting
    assert not sweep.state.slots
    for rung in sweep.only.rungs.values():
        assert sorted(rung.trials.values()) == rung.losses
    records = [{"sequence": i, **plain(e)} for i, e in enumerate(sweep.events)]
    again, (resumed, due) = replay(records), refold(records)
    assert again.trials == resumed.trials == sweep.state.trials
    assert again.searches["search", 0].rungs == sweep.only.rungs
    assert due == []


Plan = tuple[int, tuple[int, ...], int, str]
plans = st.tuples(
    st.integers(1, 14),  # trials
    st.sampled_from([(1,), (1, 2), (1, 2, 4), (2, 3)]),
    st.integers(2, 5),  # reduction
    st.sampled_from(["promotion", "patient"]),
)
seeds = st.integers(0, 2**32)


@settings(max_examples=60)
@given(plans, seeds)
def test_every_sweep_ends_with_a_complete_trial_and_nobody_passes_a_rung_who_may_not(
    drawn: Plan, seed: int
) -> None:
    trials, rungs, reduction, variant = drawn
    sweep = course(trials, *rungs, reduction=reduction, variant=variant, epochs=6)
    run(sweep, seed)
    check_ended(sweep)


@settings(max_examples=60)
@given(plans, seeds)
def test_crashes_at_any_point_neither_hang_a_sweep_nor_finish_a_trial_twice(drawn: Plan, seed: int) -> None:
    trials, rungs, reduction, variant = drawn
    sweep = course(trials, *rungs, reduction=reduction, variant=variant, epochs=6)
    run(sweep, seed, crash=0.05)
    check_ended(sweep)


@settings(max_examples=60)
@given(plans, seeds, st.integers(1, 30))
def test_under_a_budget_too_one_completes(drawn: Plan, seed: int, epochs: int) -> None:
    trials, rungs, reduction, variant = drawn
    sweep = course(trials, *rungs, reduction=reduction, variant=variant, epochs=6, budget={"epochs": epochs})
    run(sweep, seed, crash=0.02)
    check_ended(sweep)


# --- what it costs ------------------------------------------------------------------------------------------


def one_slot(losses: list[float], reduction: int, variant: str) -> Course:
    """One rung, at 1, of trials that never change their value, one after another."""
    scheduler = plan(1, reduction=reduction, variant=variant)
    sampler = {"kind": "random"}
    sweep = Course(trials=len(losses), epochs=4, mode="min", scheduler=scheduler, sampler=sampler)
    while sweep.state.ended is None:
        next_trial(sweep, losses)
    return sweep


def complete(sweep: Course) -> set[int]:
    return {t.number for t in sweep.state.trials.values() if t.state == "COMPLETE"}


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=16), st.integers(2, 5))
def test_promotion_lets_through_whom_stopping_does_but_for_the_first_arrivals(
    losses: list[float], reduction: int
) -> None:
    """So it saves at most what the first reduction - 1 cost, and more go on whom later arrivals make some of
    the best: it costs no less in general."""
    stopping, promotion = (complete(one_slot(losses, reduction, v)) for v in ("stopping", "promotion"))
    assert stopping - set(range(reduction - 1)) <= promotion
    assert len(promotion) >= max(1, len(losses) // reduction)


@pytest.mark.parametrize(("losses", "stopping", "promotion"), [
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], {0}, {0, 1, 2, 3}),  # the best come first
    ([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], {0, 1, 2, 3, 4, 5, 6, 7}, {1, 2, 3, 4, 5, 6, 7}),
])  # fmt: skip
def test_which_variant_costs_less_depends_on_the_order_of_arrival(
    losses: list[float], stopping: set[int], promotion: set[int]
) -> None:
    assert complete(one_slot(losses, 2, "stopping")) == stopping
    assert complete(one_slot(losses, 2, "promotion")) == promotion
