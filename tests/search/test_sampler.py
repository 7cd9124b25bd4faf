"""What the sampler suggests and what it is told: reproducible, conditional, honest about stopped trials."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from ablate.search.sampler import Study
from ablate.spec.draw import apply
from tests.search.synthetic import BRANCHES, LR, quality, sweep

RANDOM = {"kind": "random"}
TPE = {"kind": "tpe", "startup": 4}


def study(**options: Any) -> Study:
    spec = sweep(**options)
    return Study(spec.search, spec.space, spec.base)


def searched(count: int, **options: Any) -> tuple[Study, list[dict[str, Any]]]:
    found = study(**options)
    params = []
    for number in range(count):
        params.append(found.ask(number))
        found.complete(number, quality(apply(found.base, params[-1])))
    return found, params


@pytest.mark.parametrize("sampler", [RANDOM, TPE, {**TPE, "group": False}])
def test_the_same_seed_and_results_give_the_same_suggestions(sampler: dict[str, Any]) -> None:
    options: dict[str, Any] = {"sampler": sampler, "space": BRANCHES}
    assert searched(12, **options)[1] == searched(12, **options)[1]
    assert searched(12, **options)[1] != searched(12, seed=1, **options)[1]


def test_suggestions_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    """Python's sets of strings are ordered anew in each process, and Optuna groups parameters by sets."""
    program = (
        "from tests.search.test_sampler import searched, TPE, BRANCHES\n"
        "print(searched(12, sampler=TPE, space=BRANCHES)[1])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
def test_conditional_keys_are_drawn_only_under_their_condition(sampler: dict[str, Any]) -> None:
    _, params = searched(30, sampler=sampler, space=BRANCHES)
    kinds = {p["head.kind"] for p in params}
    assert kinds == {"mlp", "directclr"}
    for p in params:
        own = {"mlp": "head.depth", "directclr": "head.subvector"}[p["head.kind"]]
        assert set(p) == {"head.kind", own, "optim.lr"}
        assert 0.01 <= p["optim.lr"] <= 1.0
        assert p.get("head.depth", 1) in (1, 2, 3)


def test_tpe_comes_nearer_to_the_optimum_than_its_random_start() -> None:
    _, params = searched(40, sampler={"kind": "tpe", "startup": 10})
    distance = [abs(math.log10(p["optim.lr"]) + 1) for p in params]
    assert sum(distance[20:]) / 20 < sum(distance[:10]) / 10 / 2


def test_each_outcome_is_told_as_what_it_is() -> None:
    found = study(trials=9)
    for number in range(6):
        found.ask(number)
    found.complete(0, 0.4)
    found.pruned(1, {1: 0.2, 2: 0.3})
    found.worst(2, "no spread left")
    found.failed(3, "out of memory")
    found.pruned(4, {})
    complete, pruned, collapsed, failed, empty, running = found.optuna.trials
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 0.4)
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 0.2, 2: 0.3})
    assert (collapsed.state, collapsed.value) == (TrialState.COMPLETE, 0.2)
    assert collapsed.constraints == {"healthy": 1.0}
    assert (failed.state, failed.user_attrs) == (TrialState.FAIL, {"reason": "out of memory"})
    assert empty.state is TrialState.PRUNED
    assert running.state is TrialState.RUNNING


def test_the_worst_value_follows_the_direction() -> None:
    found = study(trials=9, mode="min")
    for number, value in enumerate((0.4, 0.9, 0.1)):
        found.ask(number)
        found.complete(number, value)
    found.ask(3)
    found.worst(3, "no spread left")
    assert found.optuna.trials[3].value == 0.9


def test_parallel_trials_are_spread_out() -> None:
    """Trials that run count as bad for TPE, so that one state of knowledge does not give one suggestion."""
    found, _ = searched(20, sampler=TPE)
    running = [found.ask(number)["optim.lr"] for number in range(20, 26)]
    assert len({round(math.log10(lr), 3) for lr in running}) == 6


def share_beyond_the_edge(told: str, seed: int) -> float:
    """Share of later trials where all collapse: beyond x = .65, with the optimum just before. 7 of 8 other
    trials are stopped early, as under ASHA."""
    found = study(trials=60, sampler={"kind": "tpe", "startup": 10}, space=LR, seed=seed)
    fell = []
    for number in range(60):
        x = (math.log10(found.ask(number)["optim.lr"]) + 2) / 2  # in [0, 1]
        fell.append(x > 0.65)
        if x <= 0.65:
            found.pruned(number, {1: x}) if number % 8 else found.complete(number, x)
        elif told == "worst":
            found.worst(number, "no spread left")
        elif told == "only the worst value":
            found.complete(number, 0.0)
        else:
            found.failed(number, "no spread left")
    return sum(fell[20:]) / 40


def test_a_search_beside_a_collapsing_region_keeps_off() -> None:
    told = ("worst", "only the worst value", "fail")
    ours, only_value, fail = (sum(share_beyond_the_edge(t, seed) for seed in range(3)) / 3 for t in told)
    assert ours < 0.75 * only_value
    assert only_value < fail
