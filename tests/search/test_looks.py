"""Looks at the confirmation: what is declared before, when they are taken, and what a stop leaves undone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.search import TrialState
from ablate.spec.identity import spec_hash
from tests.search.test_arms import ARMS, TEST, Course, by_quality, play, replayed, step

LOOKS: dict[str, Any] = {"seeds": 12, "first_seed": 1000, "looks": [8, 12], "controls": ()}


def ahead(by: float, noise: float) -> Any:
    """Score of confirmation: the arm "wide" is ahead, but for noise that alternates with the seed."""

    def score(trial: TrialState) -> float:
        if trial.stage == "search":
            return by_quality(trial)
        return 0.5 + (by + noise * (-1) ** trial.seed if trial.arm == "wide" else 0.0)

    return score


def test_what_is_judged_and_how_is_on_record_before_the_first_trial() -> None:
    course = play(Course(trials=2, arms=ARMS, confirm={**LOOKS, "margin": 0.01}), ahead(0.1, 0.01))
    (declared,) = course.decided("declared")
    place = course.events.index(declared)
    assert not any(e["event"] == "asked" and e["stage"] == "confirm" for e in course.events[:place])
    assert declared["arms"] == ["deep", "wide"]
    assert declared["comparisons"] == [["wide", "deep"]]
    assert (declared["metric"], declared["mode"], declared["margin"]) == (TEST, "max", 0.01)
    first, last = (look["alpha"] for look in declared["looks"])
    assert first == pytest.approx(0.05 * (8 / 12) ** 3)
    assert first + last == pytest.approx(0.05)


def test_the_digest_changes_with_anything_that_the_verdict_depends_on() -> None:
    plans: list[dict[str, Any]] = [
        LOOKS, {**LOOKS, "margin": 0.01}, {**LOOKS, "alpha": 0.01}, {**LOOKS, "looks": [10, 12]},
        {**LOOKS, "first_seed": 2000}, {**LOOKS, "controls": ["pixels"]},
    ]  # fmt: skip
    digests = {
        play(Course(trials=1, arms=ARMS, confirm=plan), ahead(0.1, 0.01)).decided("declared")[0]["digest"]
        for plan in plans
    }
    other = play(Course(trials=1, arms=ARMS, confirm=LOOKS, seed=1), ahead(0.1, 0.01))
    digests.add(other.decided("declared")[0]["digest"])
    assert len(digests) == len(plans) + 1


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_confirmation_stops_at_the_look_that_settles_all(slots: int) -> None:
    course = play(Course(trials=1, arms=ARMS, confirm=LOOKS), ahead(0.1, 0.01), slots)
    (looked,) = course.decided("looked")
    assert (looked["look"], looked["seeds"], looked["stop"]) == (1, 8, True)
    found = looked["comparisons"]["wide - deep"]
    assert found["mean"] == pytest.approx(0.1)
    assert found["p"] == 2**-7
    assert found["settled"]
    confirm = [t for t in course.state.trials.values() if t.stage == "confirm"]
    assert sum(t.state == "COMPLETE" for t in confirm if t.seed < 1008) == 16
    assert all(t.state in ("COMPLETE", "PRUNED") for t in confirm)
    assert len(confirm) < 24
    assert course.state.ended is not None
    assert course.state.ended["reason"] == ""
    replayed(course)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("looks", [[8, 12], []])
def test_controls_have_all_the_seeds_that_were_looked_at(slots: int, looks: list[int]) -> None:
    """They come last in the ladder, and a stop does not leave them out."""
    plan = {**LOOKS, "looks": looks, "seeds": 12 if looks else 8, "controls": ["untrained"]}
    course = play(Course(trials=1, arms=ARMS, confirm=plan), ahead(0.1, 0.01), slots)
    confirm = [t for t in course.state.trials.values() if t.stage == "confirm" and t.state == "COMPLETE"]
    assert sorted(t.seed for t in confirm if t.arm == "untrained" and t.seed < 1008) == [*range(1000, 1008)]


def test_it_goes_on_where_nothing_is_settled_and_the_last_look_ends_it() -> None:
    course = play(Course(trials=1, arms=ARMS, confirm=LOOKS), ahead(0.0, 0.1))
    first, last = course.decided("looked")
    assert (first["seeds"], first["stop"], last["seeds"], last["stop"]) == (8, False, 12, True)
    assert not last["comparisons"]["wide - deep"]["settled"]
    assert len([t for t in course.state.trials.values() if t.stage == "confirm"]) == 24


def test_equivalence_settles_a_comparison_too() -> None:
    without = play(Course(trials=1, arms=ARMS, confirm=LOOKS), ahead(0.0, 1e-4))
    within = play(Course(trials=1, arms=ARMS, confirm={**LOOKS, "margin": 0.01}), ahead(0.0, 1e-4))
    assert len(without.decided("looked")) == 2
    assert [e["stop"] for e in within.decided("looked")] == [True]


def test_one_look_after_all_seeds_where_none_is_asked_for() -> None:
    course = play(Course(trials=1, arms=ARMS, confirm={"seeds": 7, "controls": ()}), ahead(0.1, 0.01))
    (looked,) = course.decided("looked")
    assert (looked["seeds"], looked["alpha"], looked["stop"]) == (7, 0.05, True)


def test_a_missing_score_leaves_the_look_out_until_the_trial_is_run_again() -> None:
    course, lost = Course(trials=1, arms=ARMS, confirm=LOOKS), ""
    while course.state.ended is None:
        trial = course.start()
        if trial.stage == "confirm" and not lost:
            course.end(trial.id, "FAILED")
            lost = trial.id
        else:
            step(course, trial.id, ahead(0.1, 0.01))
    assert course.decided("looked") == []
    assert len([t for t in course.state.trials.values() if t.stage == "confirm"]) == 24
    course.happens("retried", trial=lost, epoch=0)
    assert course.start().id == lost
    step(course, lost, ahead(0.1, 0.01))
    (looked,) = course.decided("looked")
    assert (looked["seeds"], looked["stop"]) == (8, True)
    replayed(course)


def test_with_replicates_the_unit_is_a_replicate() -> None:
    arms = {**ARMS, "replicates": 6}
    course = play(Course(trials=1, arms=arms, confirm={"seeds": 2, "controls": ()}), ahead(0.1, 0.01))
    (looked,) = course.decided("looked")
    found = looked["comparisons"]["wide - deep"]
    assert found["p"] == 2**-5
    assert found["mean"] == pytest.approx(0.1)


def test_without_arms_the_best_is_compared_with_each_reference() -> None:
    confirm = {"seeds": 6, "references": {"deep": {"head.depth": 3}, "wide": {"head.hidden": 512}}}
    course = play(Course(trials=2, confirm=confirm), by_quality)
    (declared,) = course.decided("declared")
    assert declared["comparisons"] == [["best", "deep"], ["best", "wide"]]
    assert set(declared["arms"]) == {"best", "deep", "wide", "pixels", "untrained"}
    (looked,) = course.decided("looked")
    assert set(looked["comparisons"]) == {"best - deep", "best - wide"}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-0.2, 0.2), min_size=12, max_size=12), st.integers(1, 4))
def test_the_looks_do_not_depend_on_the_slots(noise: list[float], slots: int) -> None:
    def score(trial: TrialState) -> float:
        if trial.stage == "search":
            return by_quality(trial)
        return 0.5 + (noise[trial.seed - 1000] if trial.arm == "wide" else 0.0)

    one = play(Course(trials=1, arms=ARMS, confirm=LOOKS), score)
    other = play(Course(trials=1, arms=ARMS, confirm=LOOKS), score, slots)
    assert one.decided("looked") == other.decided("looked")
    assert [spec_hash(t.spec) for t in one.state.trials.values() if t.spec] == [
        spec_hash(t.spec) for t in other.state.trials.values() if t.spec
    ][: len(one.state.trials)]


def test_a_look_leaves_a_search_trial_alone_that_runs_again() -> None:
    """Its seed is none of those looked at, but it is not the look's to end."""
    course, score = Course(trials=2, arms=ARMS, confirm=LOOKS), ahead(0.1, 0.01)
    lost = course.start().id
    course.end(lost, "FAILED")
    while course.state.declared is None:
        step(course, course.start().id, score)
    course.happens("retried", trial=lost, epoch=0)
    assert course.start("z").id == lost
    while not course.decided("looked"):
        step(course, course.start().id, score)
    assert course.decided("looked")[0]["stop"]
    assert course.state.trials[lost].state is None
    assert course.state.ended is None
    step(course, lost, score)
    assert course.state.trials[lost].state == "COMPLETE"
    assert course.state.ended is not None
    replayed(course)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_missing_one(bad: float) -> None:
    """Above 16 seeds, where signs are sampled, one NaN would give the smallest p that there is."""

    def score(trial: TrialState) -> float:
        return bad if (trial.arm, trial.seed) == ("wide", 1003) else by_quality(trial)

    plan = {"seeds": 17, "first_seed": 1000, "controls": ()}
    course = play(Course(trials=1, arms=ARMS, confirm=plan), score)
    assert course.decided("looked") == []
