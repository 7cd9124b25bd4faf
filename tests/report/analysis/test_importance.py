"""Importance: a function whose important parameter is known, and what the words beside it say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ablate.report.analysis.importance import Importance, importances
from ablate.report.analysis.pools import Searched, read_search
from tests.report.analysis.made_search import Made, drawn, made_events, search, sweep_of

THREE: dict[str, Any] = {
    "loss.temperature": {"float": [0.05, 1.0]},
    "optim.lr": {"float": [0.01, 1.0], "log": True},
    "optim.momentum": {"float": [0.0, 0.9]},
}
BRANCHES: dict[str, Any] = {
    "head.kind": {"choice": ["mlp", "directclr"]},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}},
}


def peak(params: Mapping[str, Any]) -> float:
    """Best at a learning rate of 0.1; momentum matters hardly, temperature not at all."""
    return -((math.log10(params["optim.lr"]) + 1) ** 2) - 0.02 * params.get("optim.momentum", 0.0)


def of_random(count: int, **options: Any) -> Searched:
    sweep = sweep_of(space=THREE, **options)
    return read_search(made_events(sweep, drawn(sweep, peak, count)))


def by_method(searched: Searched, method: str) -> Importance:
    [found] = [i for i in importances(searched) if i.method == method]
    return found


@pytest.mark.parametrize("method", ["PED-ANOVA", "fANOVA"])
def test_the_parameter_that_decides_comes_first_and_a_dead_one_has_hardly_a_share(method: str) -> None:
    found = by_method(of_random(100), method)
    assert (found.refused, found.notes, found.trials) == ("", (), 100)
    first, shares = found.shares[0], {s.key: s.share for s in found.shares}
    assert (first.key, first.rank, first.rank_low, first.rank_high) == ("optim.lr", 1, 1, 1)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["optim.lr"] > 0.5
    assert shares["loss.temperature"] < 0.25
    assert all(s.rank_low <= s.rank <= s.rank_high for s in found.shares)


def test_a_log_range_counts_on_its_own_scale() -> None:
    """Half of the effect is in the lowest hundredth of the range."""
    space = {"optim.lr": {"float": [0.0001, 1.0], "log": True}, "optim.momentum": {"float": [0.0, 0.9]}}
    sweep = sweep_of(space=space)
    made = drawn(sweep, lambda p: -math.log10(p["optim.lr"]) + p["optim.momentum"], 80)
    for found in importances(read_search(made_events(sweep, made))):
        assert found.shares[0].key == "optim.lr", found.method


def test_with_few_trials_the_ranks_of_the_others_are_open() -> None:
    found = by_method(of_random(12), "PED-ANOVA")
    assert found.top == pytest.approx(5 / 12)
    assert any(s.rank_high - s.rank_low >= 1 for s in found.shares[1:])


def test_equal_ledgers_give_equal_importances() -> None:
    assert importances(of_random(50)) == importances(of_random(50))


@pytest.mark.parametrize(
    ("count", "score", "words"),
    [(9, peak, "needs 10 completed trials, has 9"), (30, lambda _: 0.5, "the same objective")],
)
def test_too_little_is_refused_with_what_is_missing(count: int, score: Any, words: str) -> None:
    sweep = sweep_of(space=THREE)
    [found] = importances(read_search(made_events(sweep, drawn(sweep, score, count))))
    assert words in found.refused
    assert found.shares == ()


def test_fanova_can_be_left_out_and_the_rest_is_the_same() -> None:
    searched = of_random(60)
    both = importances(searched)
    assert {i.method for i in both} == {"PED-ANOVA", "fANOVA"}
    assert importances(searched, with_fanova=False) == tuple(i for i in both if i.method == "PED-ANOVA")


def test_one_parameter_has_no_share_of_anything() -> None:
    sweep = sweep_of()
    [found] = importances(read_search(made_events(sweep, drawn(sweep, peak, 30))))
    assert found.refused == "fewer than two parameters vary"


def test_conditional_parameters_are_judged_where_they_are_and_fanova_is_left_out() -> None:
    """The depth decides among MLPs; the other branch is all alike."""
    sweep = sweep_of(space={**BRANCHES, "loss.temperature": {"float": [0.05, 1.0]}})

    def score(params: Mapping[str, Any]) -> float:
        return float(params["head.depth"] == 2) if "head.depth" in params else 0.0

    [found] = importances(read_search(made_events(sweep, drawn(sweep, score, 120))))
    assert found.method == "PED-ANOVA"
    trials = {s.key: s.trials for s in found.shares}
    assert trials["head.depth"] + trials["head.subvector"] == trials["head.kind"] == 120
    assert found.notes == ("conditional, judged within the trials that have it: head.depth, head.subvector",)
    order = [s.key for s in found.shares]
    assert order.index("head.depth") < order.index("head.subvector")
    assert order.index("head.depth") < order.index("loss.temperature")


def test_a_sampler_that_learns_biases_and_its_random_start_is_taken_where_it_is_large() -> None:
    small = by_method(of_random(40, sampler_spec={"kind": "tpe", "startup": 8}), "PED-ANOVA")
    assert small.trials == 40
    assert "biased: tpe" in small.notes[0]
    assert "drawn evenly: 8 of 40" in small.notes[0]
    large = by_method(of_random(40, sampler_spec={"kind": "tpe", "startup": 25}), "PED-ANOVA")
    assert large.trials == 25
    assert large.notes == ("of the 25 trials drawn evenly over the space, not of all 40",)


def test_early_stopping_biases_and_stopped_trials_do_not_count() -> None:
    sweep = sweep_of(space=THREE, rungs=(1,))
    made = drawn(sweep, peak, 30)
    stopped = [Made({1: -9.0}, m.params, state="PRUNED") for m in drawn(sweep, peak, 20, seed=1)]
    found = importances(read_search(made_events(sweep, [*made, *stopped])))[0]
    assert found.trials == 30
    assert "biased: 20 trials were stopped early" in found.notes[0]


def test_repeats_and_children_do_not_count() -> None:
    sweep = sweep_of(space=THREE)
    made = drawn(sweep, peak, 12)
    more = [Made({}, made[0].params, duplicate_of="t0000"), Made({3: 9.0}, made[0].params, parent="t0000")]
    assert importances(read_search(made_events(sweep, [*made, *more])))[0].trials == 12


def test_arms_are_never_mixed() -> None:
    """The learning rate decides in one arm, the momentum in the other."""
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}}
    space = {key: {**entry, "role": "nuisance"} for key, entry in THREE.items()}
    sweep = sweep_of(space=space, arms=arms)
    trials = drawn(sweep, peak, 50, arm="a")
    trials += drawn(sweep, lambda p: -abs(p["optim.momentum"] - 0.5), 50, arm="b", seed=1)
    rng = np.random.default_rng(0)
    rng.shuffle(trials)  # type: ignore[arg-type]
    found = importances(read_search(made_events(sweep, trials)))
    first = {(i.arm, i.method): i.shares[0].key for i in found}
    assert first == {
        ("a", "PED-ANOVA"): "optim.lr",
        ("a", "fANOVA"): "optim.lr",
        ("b", "PED-ANOVA"): "optim.momentum",
        ("b", "fANOVA"): "optim.momentum",
    }


def test_an_arm_without_a_completed_trial_is_refused_and_the_others_are_not() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}}
    space = {key: {**entry, "role": "nuisance"} for key, entry in THREE.items()}
    sweep = sweep_of(space=space, arms=arms)
    failed = [Made({}, m.params, state="FAILED", arm="b") for m in drawn(sweep, peak, 5, arm="b")]
    found = importances(search([*drawn(sweep, peak, 20, arm="a"), *failed], space=space, arms=arms))
    assert {i.arm: bool(i.refused) for i in found} == {"a": False, "b": True}
