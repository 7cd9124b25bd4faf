"""Sweeps with arms: budgets alike, nuisance draws shared, comparisons across arms in confirmation only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from ablate.search import InvalidEvent, TrialState, refold, replay
from tests.search.synthetic import BRANCHES, LR, METRIC, quality
from tests.search.test_decide import Course

ARMS: dict[str, Any] = {"baseline": "deep", "each": {"wide": {"head.hidden": 512}, "deep": {"head.depth": 3}}}
CONFIRM: dict[str, Any] = {"seeds": 7, "first_seed": 1000, "controls": ()}
TEST = "probe.h.test"

Score = Callable[[TrialState], float]


def play(course: Course, score: Score, slots: int = 1) -> Course:
    """The sweep to its end, trials in the order they are handed out; ``score`` is of the search's metric and
    the test's alike."""
    running: dict[str, str] = {}
    while course.state.ended is None:
        for slot in map(str, range(slots)):
            if slot not in running and course.happens("wanted", slot=slot):
                started = course.events[-1]
                if started["event"] == "started":
                    running[slot] = started["trial"]
        slot, trial = next(iter(running.items()))
        del running[slot]
        step(course, trial, score)
        for other, held in list(running.items()):
            if course.state.trials[held].state is not None:
                del running[other]  # a look has ended it
    return course


def step(course: Course, trial: str, score: Score) -> None:
    known = course.state.trials[trial]
    for epoch in range(1, known.last_epoch + 1):
        if "finished" in course.report(trial, epoch, score(known)):
            return
    if known.state is None:
        course.end(trial, **{METRIC: score(known), TEST: score(known)})


def by_quality(trial: TrialState) -> float:
    assert trial.spec is not None
    return quality(trial.spec)


def replayed(course: Course) -> None:
    events = [{"sequence": i, **e} for i, e in enumerate(course.events)]
    assert replay(events).trials == course.state.trials
    again, due = refold(events)
    assert again.trials == course.state.trials
    assert due == []


@pytest.mark.parametrize("slots", [1, 3])
def test_every_arm_gets_its_trials_and_they_take_turns(slots: int) -> None:
    course = play(Course(trials=4, arms=ARMS, confirm=CONFIRM), by_quality, slots)
    asked = [e for e in course.decided("asked") if e["stage"] == "search"]
    assert Counter(e["arm"] for e in asked) == {"deep": 4, "wide": 4}
    assert [e["arm"] for e in asked[:4]] == ["deep", "wide"] * 2
    assert [e["number"] for e in asked] == [0, 0, 1, 1, 2, 2, 3, 3]
    chosen = {e["arm"]: e for e in course.decided("chosen")}
    for arm, choice in chosen.items():
        values = {e["trial"]: by_quality(course.state.trials[e["trial"]]) for e in asked if e["arm"] == arm}
        assert choice["trial"] == max(values, key=values.__getitem__)
        assert choice["states"] == {"COMPLETE": 4}
    replayed(course)


@pytest.mark.parametrize("sampler", [
    {"kind": "random"}, {"kind": "qmc"}, {"kind": "tpe", "startup": 5}, {"kind": "gp", "startup": 5},
], ids=lambda s: s["kind"])  # fmt: skip
def test_arms_share_the_draws_of_the_keys_they_share(sampler: dict[str, Any]) -> None:
    space = {key: entry for key, entry in BRANCHES.items() if key != "head.kind"}
    arms = {
        "baseline": "mlp",
        "each": {"mlp": {}, "directclr": {"head": {"kind": "directclr", "subvector": 8}}},
    }
    course = play(Course(trials=4, arms=arms, space=space, sampler=sampler), by_quality)
    drawn: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for e in course.decided("asked"):
        drawn[e["arm"]].append(e["params"])
    assert [p["optim.lr"] for p in drawn["mlp"]] == [p["optim.lr"] for p in drawn["directclr"]]
    assert all(set(p) == {"optim.lr", "head.depth"} for p in drawn["mlp"])
    assert all(set(p) == {"optim.lr", "head.subvector"} for p in drawn["directclr"])


def test_replicates_have_seeds_and_draws_of_their_own_and_arms_of_one_share_them() -> None:
    arms = {**ARMS, "replicates": 2}
    course = play(Course(trials=3, arms=arms, sampler={"kind": "random"}, confirm=CONFIRM), by_quality)
    found: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for e in course.decided("asked"):
        if e["stage"] == "search":
            found[e["arm"], e["replicate"]].append((e["seed"], e["params"]["optim.lr"]))
    assert found["deep", 0] == found["wide", 0] != found["deep", 1] == found["wide", 1]
    assert {seed for seed, _ in found["deep", 1]} == {1}
    confirmed = Counter(
        (e["arm"], e["replicate"]) for e in course.decided("asked") if e["stage"] == "confirm"
    )
    assert confirmed == {(arm, r): 7 for arm in ("deep", "wide") for r in (0, 1)}
    replayed(course)


def test_early_stopping_compares_within_an_arm_only() -> None:
    """The worse arm's trials are all below the better arm's, and yet its best goes on."""

    def far_apart(trial: TrialState) -> float:
        return by_quality(trial) / (100 if trial.arm == "wide" else 1)

    course = play(Course(trials=8, epochs=4, rungs=(2,), arms=ARMS), far_apart)
    outcomes = Counter((e["arm"], course.state.trials[e["trial"]].state) for e in course.decided("asked"))
    assert outcomes["wide", "COMPLETE"] == outcomes["deep", "COMPLETE"] > 0
    assert outcomes["wide", "PRUNED"] == outcomes["deep", "PRUNED"] > 0
    for stopped in course.decided("stopped"):
        arm = course.state.trials[stopped["trial"]].arm
        assert stopped["cutoff"] in {far_apart(t) for t in course.state.trials.values() if t.arm == arm}


def test_equal_arms_are_searched_and_confirmed_each_for_itself() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {}}}
    course = play(Course(trials=2, arms=arms, confirm=CONFIRM), by_quality)
    assert not any(e["duplicate_of"] for e in course.decided("asked"))
    assert len(course.decided("started")) == 2 * 2 + 2 * 7
    (looked,) = course.decided("looked")
    assert looked["comparisons"]["b - a"]["p"] == 1


def test_a_baseline_without_a_result_leaves_nothing_to_confirm() -> None:
    course = Course(trials=1, arms=ARMS, confirm=CONFIRM)
    course.end(course.start("a").id, "FAILED")
    course.finish(course.start("a").id, 0.5)
    assert course.state.ended is not None
    assert "deep, the baseline: no search trial completed" in course.state.ended["reason"]
    replayed(course)


def test_another_arm_without_a_result_is_left_out_with_the_reason() -> None:
    each = {**ARMS["each"], "narrow": {"head.hidden": 8}}
    course = Course(trials=1, arms={**ARMS, "each": each}, confirm=CONFIRM)
    course.finish(course.start("a").id, 0.5)
    course.end(course.start("a").id, "FAILED")
    course.finish(course.start("a").id, 0.5)
    (declared,) = course.decided("declared")
    assert declared["arms"] == ["deep", "narrow"]
    assert "no search trial completed (1 FAILED)" in declared["impossible"]["wide"]
    assert declared["comparisons"] == [["narrow", "deep"]]


def test_a_search_whose_hours_are_spent_asks_no_more_and_the_others_go_on() -> None:
    course = Course(trials=3, arms=ARMS, budget={"arm_hours": 1.0})
    course.finish(course.start("a").id, 0.5)
    (closed,) = course.happens("spent", arm="deep", replicate=0, reason="1 hours of slots were spent")
    assert (closed["event"], closed["arm"], closed["by"]) == ("closed", "deep", "arm_hours")
    play(course, by_quality)
    asked = Counter(e["arm"] for e in course.decided("asked"))
    assert asked == {"deep": 1, "wide": 3}
    with pytest.raises(InvalidEvent, match="no search that asks"):
        course.happens("spent", arm="deep", replicate=0, reason="")
    replayed(course)


def test_a_larger_budget_opens_the_searches_of_all_arms_again() -> None:
    course = play(Course(trials=1, arms=ARMS), by_quality)
    course.happens("resumed", fence=2, epochs={}, changes={"search.trials": 2})
    play(course, by_quality)
    assert Counter(e["arm"] for e in course.decided("asked")) == {"deep": 2, "wide": 2}
    assert len(course.decided("chosen")) == 4
    replayed(course)


def test_arms_may_have_nothing_to_tune() -> None:
    course = play(Course(trials=1, arms=ARMS, space={}, confirm=CONFIRM), by_quality)
    assert [e["params"] for e in course.decided("asked")[:2]] == [{}, {}]
    assert course.decided("looked")


def test_an_arm_that_only_repeats_itself_does_not_keep_slots_from_the_others() -> None:
    """The subvector is all that the one arm tunes, and has one value; the other's depth has three."""
    space = {
        "head.subvector": {"choice": [8], "when": {"head.kind": "directclr"}},
        "optim.lr": {"float": [0.01, 1.0], "log": True, "when": {"head.kind": "mlp"}},
    }
    each = {"directclr": {"head": {"kind": "directclr", "subvector": 4}}, "mlp": {}}
    course = Course(trials=6, arms={"baseline": "directclr", "each": each}, space=space)
    first, other = course.start("a"), course.start("b")
    assert (first.arm, other.arm) == ("directclr", "mlp")
    for _ in range(3):
        step(course, other.id, by_quality)
        other = course.start("b")
        assert other.arm == "mlp"
    for trial in (other, first):
        step(course, trial.id, by_quality)
    play(course, by_quality)
    replayed(course)


def test_a_population_lives_in_each_arm() -> None:
    pbt = {"kind": "pbt", "every": 2, "quantile": 0.5, "mutate": ["optim.lr"]}
    course = Course(trials=2, epochs=4, arms=ARMS, space=LR, sampler={"kind": "random"}, scheduler=pbt)
    trials = [course.start(slot).id for slot in "abcd"]
    for trial in trials:
        for epoch in (1, 2):
            course.report(trial, epoch, by_quality(course.state.trials[trial]))
        course.save(trial, 2)
    children = [t for t in course.state.trials.values() if t.parent]
    assert sorted(t.arm for t in children) == ["deep", "wide"]
    assert all(course.state.trials[t.parent or ""].arm == t.arm for t in children)


@pytest.mark.parametrize("sampler", [
    {"kind": "random"}, {"kind": "qmc"}, {"kind": "tpe", "startup": 1}, {"kind": "gp", "startup": 1},
    {"kind": "nsga2", "population": 2}, {"kind": "grid"}, {"kind": "exhaustive"},
], ids=lambda s: s["kind"])  # fmt: skip
def test_every_sampler_takes_a_space_with_nothing_in_it(sampler: dict[str, Any]) -> None:
    course = play(Course(trials=3, arms=ARMS, space={}, sampler=sampler, confirm=CONFIRM), by_quality)
    assert len([e for e in course.decided("asked") if e["stage"] == "confirm"]) == 14
    ran = {e["trial"] for e in course.decided("started")}
    assert Counter(t.arm for t in course.state.trials.values() if t.id in ran and t.stage == "search") == {
        "deep": 1,
        "wide": 1,
    }
    replayed(course)
