"""Search trials as the analyses take them: turned, sorted, and with how they came about."""

from __future__ import annotations

from typing import Any

import pytest

from ablate.report.analysis.pools import NoAnalysis, drawn_evenly, in_words, read_search, varied
from tests.report.analysis.made_search import Made, made_events, search, sweep_of

ARMS = {
    "baseline": "plain",
    "each": {"plain": {}, "deep": {"head.depth": 3}},
    "replicates": 2,
}
NUISANCE = {"optim.lr": {"float": [0.01, 1.0], "log": True, "role": "nuisance"}}


def test_an_empty_ledger_and_one_without_a_finished_trial_are_refused_in_words() -> None:
    with pytest.raises(NoAnalysis, match="nothing has been run"):
        read_search([])
    begun = [e for e in made_events(sweep_of(), [Made({1: 0.5})]) if e["event"] != "finished"]
    with pytest.raises(NoAnalysis, match="no search trial has finished"):
        read_search(begun)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_larger_scores_are_better_whatever_the_objective(mode: str, sign: int) -> None:
    found = search([Made({1: 0.2, 2: 0.5})], mode=mode)
    [trial] = found.of("search")
    assert (trial.score, trial.curve) == (sign * 0.5, {1: sign * 0.2, 2: sign * 0.5})
    assert found.shown(trial.score) == 0.5


def test_only_completed_trials_with_a_finite_objective_have_a_score() -> None:
    curve = {1: 0.4}
    states = ["COMPLETE", "PRUNED", "COLLAPSED", "FAILED"]
    found = search([*(Made(curve, state=s) for s in states), Made({1: float("nan")})])
    assert [t.score for t in found.of("search")] == [0.4, None, None, None, None]
    assert [t.stopped for t in found.of("search")] == [None, 1, None, None, None]
    assert in_words(found.of("search")) == "1 collapsed, 2 complete, 1 failed, 1 pruned"


def test_a_trial_stopped_by_hand_was_not_stopped_early() -> None:
    [trial] = search([Made({1: 0.4}, state="PRUNED", by_rule=False)]).of("search")
    assert (trial.state, trial.stopped) == ("PRUNED", None)


def test_an_infeasible_trial_cannot_have_been_chosen() -> None:
    constraint = [{"metric": "rank.h.rankme", "at_least": 3.0}]
    trials = [Made({1: 0.9}, more={"rank.h.rankme": 2.0}), Made({1: 0.4}, more={"rank.h.rankme": 4.0})]
    found = search(trials, constraints=constraint)
    assert [t.candidate for t in found.of("search")] == [None, 0.4]
    assert [t.score for t in found.of("search")] == [0.9, 0.4]


def test_pools_are_arms_and_replicates_with_the_baseline_first() -> None:
    trials = [Made({1: 0.1}, arm=arm, replicate=r) for r in (1, 0) for arm in ("deep", "plain", "plain")]
    found = search(trials, arms=ARMS, space=NUISANCE)
    assert [(p.arm, p.replicate, len(p.trials)) for p in found.pools] == [
        ("plain", 0, 2), ("plain", 1, 2), ("deep", 0, 1), ("deep", 1, 1),
    ]  # fmt: skip
    assert (found.arms, found.baseline) == (("plain", "deep"), "plain")
    assert len(found.of("plain")) == 4


def test_trials_are_in_the_order_in_which_they_finished() -> None:
    events = made_events(sweep_of(), [Made({1: 0.1}), Made({1: 0.2})])
    later = [e for e in events if e["event"] == "finished" and e["trial"] == "t0000"]
    events = [e for e in events if e not in later]
    found = read_search([*events[:-1], *later, events[-1]])
    assert [t.trial for t in found.of("search")] == ["t0001", "t0000"]


@pytest.mark.parametrize(
    ("sampler", "even"),
    [
        ({"kind": "random"}, [False, True, True, True]),
        ({"kind": "qmc"}, [False, True, True, True]),
        ({"kind": "tpe", "startup": 3}, [False, True, True, False]),
        ({"kind": "gp", "startup": 2}, [False, True, False, False]),
        ({"kind": "nsga2", "population": 2}, [False, True, False, False]),
    ],
)
def test_which_trials_were_drawn_evenly(sampler: dict[str, Any], even: list[bool]) -> None:
    """The first is a point given by hand."""
    found = search([Made({1: 0.1}, {"optim.lr": 0.1})] * 4, sampler_spec=sampler, points=[{"optim.lr": 0.1}])
    assert [drawn_evenly(found.sweep, t) for t in found.of("search")] == even


def test_no_trial_of_a_sampler_that_knew_earlier_ones_was_drawn_evenly() -> None:
    warm = search([Made({1: 0.1})], sampler="tpe", warm_start=["runs/earlier"])
    assert not drawn_evenly(warm.sweep, warm.of("search")[0])


def test_repeats_and_children_of_a_population_are_known() -> None:
    found = search([Made({1: 0.1}), Made({}, duplicate_of="t0000"), Made({2: 0.3}, parent="t0000")])
    assert [(t.repeat, t.inherited) for t in found.of("search")] == [
        (False, False), (True, False), (False, True),
    ]  # fmt: skip


def test_keys_with_one_value_do_not_vary() -> None:
    space = {
        "optim.lr": {"float": [0.1, 0.1]},
        "head.depth": {"int": [1, 2]},
        "loss.temperature": {"choice": [0.2]},
    }
    assert list(varied(sweep_of(space=space).space)) == ["head.depth"]


def test_a_sweep_whose_budget_was_raised_after_its_end_has_not_ended() -> None:
    events = made_events(sweep_of(), [Made({1: 0.5})])
    assert read_search(events).ended
    asked = next(e for e in events if e["event"] == "asked")
    assert not read_search([*events, {**asked, "trial": "t0099", "number": 1}]).ended
