"""The course of a sweep, decision by decision, without training and without a backend."""

from __future__ import annotations

import math
from typing import Any

import pytest
from optuna.trial import TrialState as OptunaState

from ablate.search import MAX_ABANDONED, InvalidEvent, Search, TrialState, begin, decide
from ablate.spec.identity import spec_hash
from ablate.spec.trial import TrialSpec
from tests.search.synthetic import LR, METRIC, SEEDS, sweep


class Course:
    """A sweep under way: its state, and all events so far. ``options`` are those of ``synthetic.sweep``."""

    def __init__(self, **options: Any) -> None:
        opened = {"event": "opened", "sweep": sweep(**options).as_dict(), "fence": 1}
        self.state, self.events = begin(opened), [opened]

    @property
    def only(self) -> Search:
        """The search of a sweep without arms."""
        return self.state.searches["search", 0]

    def happens(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        external = {"event": event, **fields}
        decisions = decide(self.state, external)
        self.events += [external, *decisions]
        return decisions

    def start(self, slot: str = "a") -> TrialState:
        started = self.happens("wanted", slot=slot)[-1]
        return self.state.trials[started["trial"]]

    def report(self, trial: str, epoch: int, value: float) -> list[str]:
        return names(self.happens("reported", trial=trial, epoch=epoch, metrics={METRIC: value}))

    def end(self, trial: str, state: str = "COMPLETE", **metrics: float) -> list[dict[str, Any]]:
        return self.happens("outcome", trial=trial, state=state, reason="", metrics=metrics)

    def run_all(self, value: float) -> None:
        """One trial after another, to the end of the sweep."""
        while self.state.ended is None:
            started = self.happens("wanted", slot="a")
            assert started, "nothing is running, so there must be something to do"
            if started[-1]["event"] == "started":
                self.finish(started[-1]["trial"], value)

    def run(self, value: float) -> list[dict[str, Any]]:
        """One trial from start to end."""
        return self.finish(self.start().id, value)

    def finish(self, trial: str, value: float) -> list[dict[str, Any]]:
        """A started trial, from where it stands to its end."""
        known = self.state.trials[trial]
        for epoch in range(known.epochs + 1, known.last_epoch + 1):
            if "finished" in self.report(trial, epoch, value):
                return []
        return self.end(trial, **{METRIC: value})

    def save(self, trial: str, epoch: int) -> list[dict[str, Any]]:
        path = f"trials/{trial}/1/{epoch}"
        return self.happens("checkpointed", trial=trial, epoch=epoch, path=path, digest="d", fence=1)

    def resume(self, **epochs: int) -> list[dict[str, Any]]:
        """A new driver; unfinished trials restart from the beginning unless ``epochs`` says otherwise."""
        restarts = {t.id: epochs.get(t.id, 0) for t in self.state.unfinished()}
        return self.happens("resumed", fence=self.state.fence + 1, epochs=restarts, changes={})

    def decided(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == name]


def names(decisions: list[dict[str, Any]]) -> list[str]:
    return [d["event"] for d in decisions]


def test_asked_records_everything_needed_to_run_the_trial_again() -> None:
    course = Course()
    asked, started = course.happens("wanted", slot="a")
    spec = TrialSpec.model_validate(asked["spec"])
    assert asked["spec_hash"] == spec_hash(spec)
    assert asked["params"] == {"optim.lr": spec.optim.lr}
    assert (asked["trial"], asked["number"], asked["stage"], asked["seed"]) == ("t0000", 0, "search", 0)
    assert started == {"event": "started", "trial": "t0000", "slot": "a", "fence": 1}


def test_slots_get_different_trials_until_all_are_asked_and_then_nothing() -> None:
    course = Course(trials=2)
    assert [course.start(slot).id for slot in ("a", "b")] == ["t0000", "t0001"]
    before = len(course.state.trials)
    assert course.happens("wanted", slot="c") == []
    assert len(course.state.trials) == before


def test_a_slot_cannot_hold_two_trials() -> None:
    course = Course()
    course.start("a")
    with pytest.raises(InvalidEvent, match="slot a wants work while it runs t0000"):
        course.start("a")


@pytest.mark.parametrize(("mode", "values", "best"), [
    ("max", (0.2, 0.6, 0.6), "t0001"), ("min", (0.6, 0.2, 0.2), "t0001"),
])  # fmt: skip
def test_the_best_complete_trial_is_chosen_and_the_first_of_equals(
    mode: str, values: tuple[float, ...], best: str
) -> None:
    course = Course(trials=3, mode=mode)
    decisions = [d for value in values for d in course.run(value)]
    assert names(decisions)[-3:] == ["chosen", "declared", "ended"]
    chosen, _, ended = decisions[-3:]
    assert (chosen["trial"], chosen["value"]) == (best, values[1])
    assert chosen["states"] == ended["states"] == {"COMPLETE": 3}
    assert ended["reason"] == ""


def test_search_scores_of_stopped_failed_and_collapsed_trials_are_never_chosen() -> None:
    course = Course(trials=4, rungs=(1,))
    course.run(0.5)
    trial = course.start()
    assert course.report(trial.id, 1, 0.4) == ["stopped", "finished"]
    for state in ("FAILED", "COLLAPSED"):
        trial = course.start()
        course.report(trial.id, 1, 0.9)
        course.end(trial.id, state)
    assert course.decided("chosen")[0]["trial"] == "t0000"
    assert course.decided("ended")[0]["states"] == {"COLLAPSED": 1, "COMPLETE": 1, "FAILED": 1, "PRUNED": 1}


def test_if_no_trial_completes_the_sweep_ends_with_the_reason() -> None:
    course = Course(trials=2, confirm=SEEDS)
    for _ in range(2):
        course.end(course.start().id, "FAILED")
    assert "no search trial completed (2 FAILED)" in course.decided("ended")[0]["reason"]
    assert course.decided("chosen") == []
    assert course.happens("wanted", slot="a") == []


def test_a_stopped_trial_is_finished_at_once_with_its_curve_and_the_cut_off() -> None:
    course = Course(trials=3, rungs=(1, 2), epochs=4)
    first, second = course.start("a"), course.start("b")
    assert course.report(first.id, 1, 0.5) == []
    assert course.report(second.id, 1, 0.6) == []
    course.report(first.id, 2, 0.55)
    assert course.report(second.id, 2, 0.5) == ["stopped", "finished"]
    stopped, finished = course.decided("stopped")[0], course.decided("finished")[0]
    assert (stopped["rung"], stopped["value"], stopped["cutoff"], stopped["seen"]) == (2, 0.5, 0.55, 2)
    assert (finished["state"], finished["epochs"]) == ("PRUNED", 2)
    assert finished["metrics"] == {METRIC: 0.5}
    told = course.only.study.optuna.trials[1]
    assert (told.state, told.intermediate_values) == (OptunaState.PRUNED, {1: 0.6, 2: 0.5})
    assert course.start("b").id == "t0002"


def test_when_smaller_is_better_the_larger_is_stopped() -> None:
    course = Course(trials=2, rungs=(1,), mode="min")
    course.start("a"), course.start("b")
    assert course.report("t0000", 1, 0.5) == []
    assert course.report("t0001", 1, 0.6) == ["stopped", "finished"]


def test_rungs_at_or_above_the_last_epoch_do_nothing() -> None:
    epochs = {"optim.epochs": {"choice": [2]}, **LR}
    course = Course(trials=2, epochs=5, rungs=(2, 3), space=epochs)
    course.start("a"), course.start("b")
    for epoch in (1, 2):
        assert course.report("t0000", epoch, 0.9) == []
        assert course.report("t0001", epoch, 0.1) == []


@pytest.mark.parametrize("metrics", [{}, {METRIC: math.nan}])
def test_a_trial_without_the_objective_fails_with_a_reason(metrics: dict[str, float]) -> None:
    course = Course(trials=2)
    finished = course.end(course.start().id, "COMPLETE", **metrics)[0]
    assert finished["state"] == "FAILED"
    assert METRIC in finished["reason"]
    at_rung = Course(trials=2, rungs=(1,))
    at_rung.happens("reported", trial=at_rung.start().id, epoch=1, metrics=metrics)
    assert at_rung.decided("finished")[0]["state"] == "FAILED"
    assert "rung 1" in at_rung.decided("finished")[0]["reason"]


def test_an_impossible_configuration_fails_and_the_search_goes_on() -> None:
    """A subvector wider than the encoder (64) is no trial."""
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"choice": [8, 8000]}, **LR}
    course = Course(trials=12, space=space, sampler={"kind": "random"})
    course.run_all(0.5)
    failed = [f for f in course.decided("finished") if f["state"] == "FAILED"]
    wide = [a for a in course.decided("asked") if a["params"]["head.subvector"] == 8000]
    assert 0 < len(wide) < 12
    assert [f["trial"] for f in failed] == [a["trial"] for a in wide]
    assert all("8000" in f["reason"] for f in failed)
    assert all(a["spec"] is None and a["spec_hash"] is None for a in wide)
    told = course.only.study.optuna.trials[wide[0]["number"]]
    assert told.constraints == {"healthy": 1.0}


def test_a_space_without_any_possible_trial_ends_the_sweep() -> None:
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"choice": [8000]}}
    course = Course(trials=3, space=space)
    assert names(course.happens("wanted", slot="a")) == ["asked", "finished"] * 3 + ["ended"]


def test_confirmation_runs_the_paired_ladder_on_fresh_seeds_and_never_stops() -> None:
    references = {"shallow": {"head.depth": 1}}
    course = Course(trials=1, rungs=(1,), confirm={**SEEDS, "references": references})
    chosen, declared = course.run(0.5)[-2:]
    assert declared["arms"] == ["best", "shallow", "pixels", "untrained"]
    assert declared["seeds"] == [1000, 1001]
    while not course.state.ended:
        trial = course.start()
        assert trial.stage == "confirm"
        if trial.last_epoch:
            assert course.report(trial.id, 1, 0.01) == []
        course.end(trial.id, **{METRIC: 0.01})
    asked = course.decided("asked")[1:]
    assert [(a["seed"], a["arm"]) for a in asked] == [
        (s, arm) for s in (1000, 1001) for arm in declared["arms"]
    ]
    assert [a["trial"] for a in asked] == [f"c{i:04d}" for i in range(8)]
    specs = {a["arm"]: TrialSpec.model_validate(a["spec"]) for a in asked[4:]}
    assert all(spec.seed == 1001 for spec in specs.values())
    best = TrialSpec.model_validate(chosen["spec"])
    assert specs["best"] == best.model_copy(update={"seed": 1001})
    assert specs["shallow"].head.depth == 1
    assert specs["shallow"].optim == best.optim
    assert (specs["untrained"].optim.epochs, specs["untrained"].encoder) == (0, best.encoder)
    assert (specs["pixels"].optim.epochs, specs["pixels"].encoder.kind) == (0, "pixels")
    assert course.decided("ended")[0]["states"] == {"COMPLETE": 9}


def test_a_confirm_trial_without_the_objective_is_complete_all_the_same() -> None:
    """Where the search improves the loss: an untrained encoder has none, but it has a test score."""
    course = Course(trials=1, confirm=SEEDS)
    course.run(0.5)
    finished = course.end(course.start().id, **{"probe.h.test": 0.4})[0]
    assert (finished["state"], finished["metrics"]) == ("COMPLETE", {"probe.h.test": 0.4})


def test_a_reference_that_the_best_configuration_does_not_admit_is_named() -> None:
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"choice": [8]}}
    course = Course(trials=1, space=space, confirm={**SEEDS, "references": {"deep": {"head.depth": 3}}})
    chosen = course.run(0.5)[-1]
    assert "deep" not in chosen["arms"]
    assert "depth" in chosen["impossible"]["deep"]


def test_a_lost_slot_gives_its_trial_back_at_most_so_many_times() -> None:
    course = Course(trials=2)
    for _ in range(MAX_ABANDONED + 1):
        trial = course.start()
        assert trial.id == "t0000"
        course.report(trial.id, 1, 0.5)
        course.happens("abandoned", trial=trial.id, reason="node died", epoch=0)
    finished = course.decided("finished")[0]
    assert (finished["state"], "node died" in finished["reason"]) == ("FAILED", True)
    assert course.start().id == "t0001"


def test_after_a_restart_unfinished_trials_come_first_and_rung_decisions_stand() -> None:
    course = Course(trials=4, rungs=(1,), epochs=3)
    for slot, value in (("a", 0.5), ("b", 0.6)):
        course.report(course.start(slot).id, 1, value)
    course.happens("checkpointed", trial="t0001", epoch=1, path="x", digest="d", fence=1)
    course.report("t0001", 2, 0.7)
    course.happens("resumed", fence=2, epochs={"t0000": 0, "t0001": 1}, changes={})
    assert [course.start(slot).id for slot in ("c", "d")] == ["t0000", "t0001"]
    assert course.decided("started")[-1]["fence"] == 2
    assert sorted(course.state.trials["t0001"].curve) == [1]
    assert course.report("t0000", 1, 0.5) == [], "t0000 had been let through; .6 must not stop it now"
    assert course.report("t0001", 2, 0.7) == []
    assert course.only.rungs[0, 1].losses == [-0.6, -0.5]
    assert course.start("e").id == "t0002"


def test_only_external_events_are_decided_upon() -> None:
    course = Course()
    for event in ({"event": "asked"}, {"event": "opened"}):
        with pytest.raises(InvalidEvent):
            decide(course.state, event)
    with pytest.raises(InvalidEvent, match="no slot is running t0007"):
        course.report("t0007", 1, 0.5)
