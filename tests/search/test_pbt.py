"""Population based training: generations, exchange, mutation, and what becomes of lost members."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ablate.search import replay
from ablate.search.pbt import is_boundary, mutate, parent, worst
from ablate.spec.scheduler import PBT
from ablate.spec.search_check import contains
from ablate.spec.space import Distribution
from ablate.spec.trial import TrialSpec
from tests.search.synthetic import METRIC, SEEDS
from tests.search.test_decide import Course

PLAN: dict[str, Any] = {"kind": "pbt", "every": 2, "quantile": 0.25, "mutate": ["optim.lr"]}


def course(trials: int = 4, epochs: int = 6, **options: Any) -> Course:
    return Course(trials=trials, epochs=epochs, **{"scheduler": PLAN, **options})


def to_boundary(course: Course, trial: str, value: float) -> list[dict[str, Any]]:
    """Let a started trial train to the end of its generation and save there."""
    known = course.state.trials[trial]
    for epoch in range(known.epochs + 1, known.last_epoch + 1):
        if not known.pausing:
            assert course.report(trial, epoch, value) == []
    return course.save(trial, known.epochs)


def generation(course: Course, values: dict[str, float]) -> list[dict[str, Any]]:
    """Every waiting or new member runs to the boundary, one after another; returns the last decisions."""
    decisions: list[dict[str, Any]] = []
    for _ in range(len(values)):
        trial = course.start().id
        decisions = to_boundary(course, trial, values[trial])
    return decisions


VALUES = {"t0000": 0.4, "t0001": 0.9, "t0002": 0.1, "t0003": 0.5}


def test_boundaries_are_whole_generations_before_the_last_epoch() -> None:
    plan = PBT(every=3, mutate=("optim.lr",))
    assert [e for e in range(10) if is_boundary(plan, e, 9)] == [3, 6]


def test_members_wait_for_one_another_and_then_the_worst_gives_way_to_a_child_of_the_best() -> None:
    sweep = course()
    decisions = generation(sweep, VALUES)
    paused, asked, finished = decisions
    assert paused == {"event": "paused", "trial": "t0003", "epoch": 2}
    assert (asked["trial"], asked["parent"], asked["number"]) == ("t0004", "t0001", 4)
    assert asked["checkpoint"] == {"epoch": 2, "path": "trials/t0001/1/2", "digest": "d", "fence": 1}
    assert (finished["trial"], finished["state"], finished["epochs"]) == ("t0002", "PRUNED", 2)
    assert finished["reason"] == (
        "among the worst 1 of 4 after epoch 2: t0004 goes on in its place, from the weights of t0001"
    )
    child, mother = sweep.state.trials["t0004"], sweep.state.trials["t0001"]
    lr = TrialSpec.model_validate(asked["spec"]).optim.lr
    assert child.params == {"optim.lr": lr} != mother.params
    assert (child.epochs, child.inherited) == (2, 2)
    assert [sweep.start(slot).id for slot in "abcd"] == ["t0000", "t0001", "t0003", "t0004"]
    assert sweep.happens("wanted", slot="e") == []


def test_the_next_generation_starts_from_all_and_the_sweep_ends_with_a_whole_population() -> None:
    sweep = course(confirm=SEEDS)
    generation(sweep, VALUES)
    generation(sweep, {"t0000": 0.4, "t0001": 0.9, "t0003": 0.5, "t0004": 0.95})
    assert sweep.state.trials["t0005"].parent == "t0004"
    assert sweep.state.trials["t0005"].inherited == 4
    while sweep.state.declared is None:
        sweep.finish(sweep.start().id, 0.5)
    assert sweep.state.states() == {"COMPLETE": 4, "PRUNED": 2}
    assert sweep.only.paid == 4 * 6, "an epoch is paid once"
    assert sweep.start().stage == "confirm"
    events = [{"sequence": i, **e} for i, e in enumerate(sweep.events)]
    assert replay(events).trials == sweep.state.trials


def test_what_happens_does_not_depend_on_who_comes_first() -> None:
    """Any order of arrival gives the same exchange."""
    orders = (["t0000", "t0001", "t0002", "t0003"], ["t0003", "t0002", "t0001", "t0000"])
    found = []
    for order in orders:
        sweep = course()
        for slot in "abcd":
            sweep.start(slot)
        for trial in order:
            to_boundary(sweep, trial, VALUES[trial])
        found.append([{k: v for k, v in e.items() if k != "sequence"} for e in sweep.events[-2:]])
    assert found[0] == found[1]


def test_lost_members_are_replaced_at_the_end_of_the_generation() -> None:
    sweep = course()
    for slot in "abcd":
        sweep.start(slot)
    sweep.end("t0000", "FAILED")
    sweep.end("t0003", "COLLAPSED")
    to_boundary(sweep, "t0001", 0.9)
    decisions = to_boundary(sweep, "t0002", 0.1)
    assert [e["event"] for e in decisions] == ["paused", "asked", "asked"]  # a quarter of two is nobody
    assert [e["parent"] for e in decisions[1:]] == ["t0001", "t0001"]
    assert len(sweep.state.unfinished()) == 4


def test_the_last_to_fail_lets_the_others_go_on() -> None:
    sweep = course()
    for slot in "abcd":
        sweep.start(slot)
    for trial in ("t0000", "t0001", "t0002"):
        to_boundary(sweep, trial, VALUES[trial])
    decisions = sweep.end("t0003", "FAILED")
    assert [e["event"] for e in decisions] == ["finished", "asked"]
    assert sweep.start("a").id == "t0000"


def test_a_member_that_an_operator_stops_is_not_replaced() -> None:
    sweep = course()
    generation_of_three = [sweep.start(slot).id for slot in "abcd"][:3]
    for trial in generation_of_three:
        to_boundary(sweep, trial, VALUES[trial])
    decisions = sweep.happens("cancelled", trial="t0003", reason="stopped by the operator")
    assert [e["event"] for e in decisions] == ["finished"]
    assert len(sweep.state.unfinished()) == 3


def test_a_retried_member_runs_to_its_end_alone() -> None:
    sweep = course()
    for slot in "abcd":
        sweep.start(slot)
    sweep.end("t0003", "FAILED")
    for trial in ("t0000", "t0001", "t0002"):
        to_boundary(sweep, trial, VALUES[trial])
    sweep.happens("retried", trial="t0003", epoch=0)
    while (trial := sweep.start("a")).id != "t0003":
        sweep.happens("cancelled", trial=trial.id, reason="")
    assert sweep.finish("t0003", 0.2)[0]["state"] == "COMPLETE"


def test_a_crash_between_report_and_checkpoint_pauses_again_and_the_paused_stay_so() -> None:
    sweep = course()
    for slot in "abcd":
        sweep.start(slot)
    to_boundary(sweep, "t0000", 0.4)
    for epoch in (1, 2):
        sweep.report("t0001", epoch, 0.9)
    sweep.resume(t0000=2)
    assert [sweep.start(slot).id for slot in "abc"] == ["t0001", "t0002", "t0003"]
    for trial in ("t0001", "t0002", "t0003"):
        decisions = to_boundary(sweep, trial, VALUES[trial])
    assert [e["event"] for e in decisions] == ["paused", "asked", "finished"]


def test_a_paused_member_whose_checkpoint_is_gone_runs_to_the_boundary_again() -> None:
    sweep = course()
    generation_of_two = [sweep.start(slot).id for slot in "ab"]
    for trial in generation_of_two:
        to_boundary(sweep, trial, VALUES[trial])
    sweep.resume(t0001=2)
    for _ in range(3):
        trial = sweep.start("a").id
        assert trial != "t0001"
        decisions = to_boundary(sweep, trial, VALUES[trial])
    assert [e["event"] for e in decisions] == ["paused", "asked", "finished"]


def test_a_member_that_falls_behind_does_not_wait_at_boundaries_it_came_through() -> None:
    sweep = course()
    generation(sweep, VALUES)
    sweep.resume()  # all checkpoints are gone
    assert sweep.state.trials["t0004"].state == "FAILED", "the weights that it starts from are among them"
    assert "weights of t0001" in sweep.decided("finished")[-1]["reason"]
    trial = sweep.start("a")
    for epoch in (1, 2, 3, 4):
        assert sweep.report(trial.id, epoch, 0.5) == []
        assert trial.pausing is (epoch == 4)


def test_members_that_the_loss_of_another_lets_go_at_a_restart_wait_once() -> None:
    sweep = course(epochs=8)
    generation(sweep, VALUES)
    generation(sweep, {"t0000": 0.4, "t0001": 0.9, "t0003": 0.5, "t0004": 0.95})
    for slot in "abcd":
        sweep.start(slot)
    for trial in ("t0001", "t0003", "t0005"):
        to_boundary(sweep, trial, 0.5)
    sweep.resume(t0001=6, t0003=6, t0005=6)  # the weights that t0004 starts from are gone
    assert sweep.state.trials["t0004"].state == "FAILED"
    assert list(sweep.state.waiting) == ["t0001", "t0003", "t0005", "t0006"]


def test_once_the_search_is_closed_nobody_waits_any_more() -> None:
    sweep = course()
    for slot in "abcd":
        sweep.start(slot)
    to_boundary(sweep, "t0000", 0.4)
    for epoch in (1, 2):
        sweep.report("t0001", epoch, 0.9)
    sweep.happens("halted", by="hours", reason="over", running="finish", confirm=True)
    assert sweep.start("a").id == "t0000"
    assert [e["event"] for e in sweep.save("t0001", 2)] == ["paused"]
    assert sweep.start("b").id == "t0001"
    for trial in ("t0002", "t0003"):
        assert sweep.report(trial, 1, 0.5) == sweep.report(trial, 2, 0.5) == []
        assert not sweep.state.trials[trial].pausing
    for trial in list(sweep.state.slots.values()):
        sweep.finish(trial, 0.5)
    assert sweep.state.states() == {"COMPLETE": 4}


def test_a_member_without_the_objective_at_the_boundary_fails() -> None:
    sweep = course()
    trial = sweep.start().id
    sweep.happens("reported", trial=trial, epoch=1, metrics={})
    finished = sweep.happens("reported", trial=trial, epoch=2, metrics={METRIC: math.nan})
    assert [(e["state"], e["reason"]) for e in finished] == [
        ("FAILED", f"{METRIC} was nan at the end of its generation, epoch 2")
    ]


def test_checkpoints_stay_as_long_as_the_trial_or_a_child_needs_them() -> None:
    sweep = course(resources={"keep": []})
    generation(sweep, VALUES)
    assert sweep.state.take_discarded() == ["trials/t0002/1/2"]
    for slot in "abcd":
        sweep.start(slot)
    to_boundary(sweep, "t0001", 0.9)
    assert sweep.state.take_discarded() == [], "t0004 starts from the checkpoint at 2"
    sweep.end("t0004", "FAILED")
    assert sweep.state.take_discarded() == ["trials/t0001/1/2"]


ENTRIES: list[dict[str, Any]] = [
    {"float": [0.01, 1.0], "log": True},
    {"float": [-1.0, 1.0]},
    {"int": [1, 9], "step": 3},
    {"int": [1, 100], "log": True},
    {"choice": ["a", "b", True, 1]},
]
entry = st.sampled_from([TypeAdapter(Distribution).validate_python(e) for e in ENTRIES])


@settings(max_examples=200)
@given(entry, st.integers(0, 2**32), st.floats(0, 1))
def test_mutated_values_lie_in_the_space(space: Distribution, seed: int, resample: float) -> None:
    plan = PBT(every=1, mutate=("key", "absent"), resample=resample)
    rng = Random(seed)
    values: dict[str, Any] = {"key": 1, "other": "untouched"}
    if not contains(space, 1):
        values["key"] = space.choice[0] if hasattr(space, "choice") else 4
    for _ in range(5):
        values = mutate(values, plan, {"key": space, "absent": space}, rng)
        assert contains(space, values["key"])
        assert values.keys() == {"key", "other"}


def test_perturbing_multiplies_or_moves_to_a_neighbour_and_whole_numbers_move_at_least_a_step() -> None:
    plan = PBT(every=1, mutate=("x",), resample=0.0, factors=(0.8, 1.25))

    def perturbed(raw: dict[str, Any], value: Any) -> set[Any]:
        space = {"x": TypeAdapter(Distribution).validate_python(raw)}
        return {mutate({"x": value}, plan, space, Random(seed))["x"] for seed in range(20)}

    assert perturbed({"float": [0.1, 1.0]}, 0.4) == {0.4 * 0.8, 0.4 * 1.25}
    assert perturbed({"float": [0.1, 1.0]}, 0.9) == {0.9 * 0.8, 1.0}
    assert perturbed({"int": [1, 9]}, 2) == {1, 3}
    assert perturbed({"int": [1, 9]}, 8) == {6, 9}
    assert perturbed({"int": [0, 9], "step": 3}, 3) == {0, 6}
    assert perturbed({"choice": ["a", "b", "c"]}, "b") == {"a", "c"}


def test_the_worst_and_the_parents_are_quantiles_of_the_ranking() -> None:
    plan = PBT(every=1, quantile=0.25, mutate=("x",))
    ranked = [f"t{i}" for i in range(8)]
    assert worst(plan, ranked) == ["t6", "t7"]
    assert {parent(plan, ranked, Random(seed)) for seed in range(40)} == {"t0", "t1"}
    assert worst(plan, ["t0"]) == []
    assert parent(plan, ["t0"], Random(0)) == "t0"


@pytest.mark.parametrize(("change", "message"), [
    ({"mutate": ["optim.momentum"]}, "not a key of the space"),
    ({"every": 6}, "must be below base.optim.epochs"),
    ({"quantile": 0.2}, "population"),
])  # fmt: skip
def test_a_plan_that_cannot_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        course(scheduler={**PLAN, **change})


def test_a_grid_is_no_population() -> None:
    with pytest.raises(ValueError, match="grid would be used up"):
        course(sampler={"kind": "grid"})


def test_what_cannot_change_while_a_trial_trains_is_refused() -> None:
    space = {"head.hidden": {"int": [8, 64]}, "optim.lr": {"float": [0.1, 1.0]}}
    with pytest.raises(ValueError, match=r"'head\.hidden' cannot change while a trial trains"):
        course(space=space, scheduler={**PLAN, "mutate": ["head.hidden"]})
