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
from tests.search.synthetic import BRANCHES, LR, METRIC, quality, sweep

RANDOM = {"kind": "random"}
TPE = {"kind": "tpe", "startup": 4}
GP = {"kind": "gp", "startup": 4}
CMAES = {"kind": "cma-es", "startup": 4}
NSGA2 = {"kind": "nsga2", "population": 4}
QMC = {"kind": "qmc"}
GRID = {"kind": "grid", "steps": 4}
ALL = [RANDOM, TPE, {**TPE, "group": False}, CMAES, NSGA2, QMC, {**QMC, "sequence": "halton"}, GRID]
TWO: dict[str, Any] = {**LR, "loss.temperature": {"float": [0.05, 1.0]}}
MIXED: dict[str, Any] = {**BRANCHES, "loss.temperature": {"float": [0.05, 1.0]}}
KINDS = {"ids": lambda s: "-".join(map(str, s.values()))}


def study(*, warm: tuple[dict[str, Any], ...] = (), **options: Any) -> Study:
    spec = sweep(**options)
    return Study(spec.search, spec.space, spec.base, warm)


def value(found: Study, params: dict[str, Any] | None) -> dict[str, float]:
    assert params is not None
    return {METRIC: quality(apply(found.base, params)) - abs(params.get("loss.temperature", 0.5) - 0.5)}


def searched(count: int, **options: Any) -> tuple[Study, list[dict[str, Any]]]:
    found = study(**options)
    params: list[dict[str, Any]] = []
    for number in range(count):
        params.append(found.ask(number) or {})
        found.complete(number, value(found, params[-1]))
    return found, params


@pytest.mark.parametrize("sampler", ALL, **KINDS)
def test_the_same_seed_and_results_give_the_same_suggestions(sampler: dict[str, Any]) -> None:
    options: dict[str, Any] = {"sampler": sampler, "space": MIXED, "trials": 14}
    assert searched(14, **options)[1] == searched(14, **options)[1]
    assert searched(14, **options)[1] != searched(14, seed=1, **options)[1]


@pytest.mark.parametrize("sampler", [*ALL, GP], **KINDS)
def test_a_study_rebuilt_from_a_record_goes_on_as_if_nothing_had_happened(sampler: dict[str, Any]) -> None:
    """Three trials run at any time, every fourth is stopped and every seventh collapses."""
    count, killed = (10, 8) if sampler is GP else (30, 23)

    def tell(found: Study, number: int, params: dict[str, Any]) -> None:
        if number % 7 == 6:
            found.worst(number, "no spread left")
        elif number % 4 == 3:
            found.pruned(number, {1: value(found, params)})
        else:
            found.complete(number, value(found, params))

    def run(found: Study, record: list[dict[str, Any]], upto: int, start: int = 0) -> None:
        for number in range(start, upto):
            known = record[number] if number < len(record) else None
            params = found.ask(number, known) or {}
            if known is None:
                record.append(params)
            assert params == record[number]
            if number >= 2:
                tell(found, number - 2, record[number - 2])

    options: dict[str, Any] = {"sampler": sampler, "space": MIXED, "trials": count}
    points = [{"optim.lr": 0.1}]
    whole: list[dict[str, Any]] = []
    run(study(points=points, **options), whole, count)
    rebuilt, record = study(points=points, **options), whole[:killed]
    run(rebuilt, record, count)
    assert record == whole


def suggested() -> str:
    """By samplers that go through what trials have in common."""
    found = [searched(12, sampler=TPE, space=BRANCHES)[1]]
    found += [searched(14, sampler=sampler, space=MIXED)[1] for sampler in (CMAES, NSGA2)]
    return repr(found)


def test_suggestions_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    """Python's sets of strings are ordered anew in each process, and Optuna groups parameters by sets."""
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    elsewhere = subprocess.run(
        [sys.executable, "-c", "from tests.search.test_sampler import suggested; print(suggested())"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": other},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert elsewhere.strip() == suggested()


@pytest.mark.parametrize("sampler", ALL, **KINDS)
def test_conditional_keys_are_drawn_only_under_their_condition(sampler: dict[str, Any]) -> None:
    subvector = {"int": [4, 64], "step": 20, "when": {"head.kind": "directclr"}}
    _, params = searched(30, sampler=sampler, space={**MIXED, "head.subvector": subvector}, trials=30)
    kinds = {p["head.kind"] for p in params}
    assert kinds == {"mlp", "directclr"}
    for p in params:
        own = {"mlp": "head.depth", "directclr": "head.subvector"}[p["head.kind"]]
        assert set(p) == {"head.kind", own, "optim.lr", "loss.temperature"}
        assert 0.01 <= p["optim.lr"] <= 1.0
        assert p.get("head.depth", 1) in (1, 2, 3)


@pytest.mark.parametrize(("sampler", "count"), [
    ({"kind": "tpe", "startup": 10}, 40), (CMAES, 60), ({"kind": "nsga2", "population": 8}, 80), (GP, 12),
], ids=["tpe", "cma-es", "nsga2", "gp"])  # fmt: skip
def test_results_are_used_later_suggestions_are_better_than_the_first(
    sampler: dict[str, Any], count: int
) -> None:
    found, params = searched(count, sampler=sampler, space=TWO, trials=count)
    values = [value(found, p)[METRIC] for p in params]
    quarter = count // 4
    first, last = values[:quarter], values[-quarter:]
    assert sum(last) / quarter > sum(first) / quarter + 0.1
    assert sorted(last)[quarter // 2] > sorted(first)[quarter // 2]


def test_cma_es_goes_on_adapting_whatever_conditional_keys_the_trials_so_far_have_in_common() -> None:
    """Optuna's own choice of keys would make it random for good once directclr follows on mlp."""
    found, params = searched(24, sampler=CMAES, space=MIXED)
    assert {p["head.kind"] for p in params[:8]} == {"mlp", "directclr"}
    generations = [t.system_attrs.get("cma:generation") for t in found.optuna.trials]
    assert generations[:4] == [None] * 4
    assert generations[4:] == sorted(generations[4:])
    assert generations[-1] >= 2


def test_a_gaussian_process_is_asked_over_the_keys_that_every_trial_has() -> None:
    found, _ = searched(6, sampler=GP, space=MIXED)
    assert list(found._common) == ["head.kind", "optim.lr", "loss.temperature"]
    assert found.optuna.trials[-1].system_attrs


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_a_quasi_random_sequence_has_a_point_in_each_cell(sequence: str) -> None:
    """Of 16 Sobol points one lies in each sixteenth of an axis; of 16 Halton points some in each eighth."""
    _, params = searched(16, sampler={"kind": "qmc", "sequence": sequence}, space=TWO)
    cells = 16 if sequence == "sobol" else 8
    shares = [((math.log10(p["optim.lr"]) + 2) / 2, (p["loss.temperature"] - 0.05) / 0.95) for p in params]
    for axis in range(2):
        filled = {int(share[axis] * cells) for share in shares}
        assert filled == set(range(cells))


def test_a_grid_is_tried_once_each_in_an_order_of_the_seed_and_then_it_is_over() -> None:
    space = {**BRANCHES, "head.subvector": {"choice": [4, 8], "when": {"head.kind": "directclr"}}}
    options: dict[str, Any] = {"sampler": {"kind": "grid", "steps": 2}, "space": space, "trials": 50}
    found, params = searched(10, **options)
    assert len({tuple(sorted(p.items())) for p in params}) == 10
    assert {p["optim.lr"] for p in params} == {0.01, 1.0}
    assert {(p.get("head.depth"), p.get("head.subvector")) for p in params} == {
        (1, None), (2, None), (3, None), (None, 4), (None, 8),
    }  # fmt: skip
    assert found.ask(10) is None
    assert params != searched(10, seed=1, **options)[1]


def test_a_point_on_the_grid_is_not_tried_again() -> None:
    options: dict[str, Any] = {"sampler": {"kind": "grid", "steps": 2}, "space": TWO, "trials": 9}
    points = [{"optim.lr": 1.0, "loss.temperature": 1.0}, {"optim.lr": 0.5}]
    found, params = searched(5, points=points, **options)
    assert params[0] == points[0]
    assert (params[1]["optim.lr"], params[1]["loss.temperature"] in (0.05, 1.0)) == (0.5, True)
    assert points[0] not in params[2:]
    assert found.ask(5) is None


def test_exhaustive_is_every_combination() -> None:
    space = {"head.depth": {"int": [1, 3]}, "head.norm": {"choice": ["batch", "none"]}}
    found, params = searched(6, sampler={"kind": "exhaustive"}, space=space, trials=9)
    assert {(p["head.depth"], p["head.norm"]) for p in params} == {
        (d, n) for d in (1, 2, 3) for n in ("batch", "none")
    }
    assert found.ask(6) is None


@pytest.mark.parametrize("sampler", [TPE, GP, QMC, NSGA2, CMAES], **KINDS)
def test_points_come_first_and_what_they_leave_out_is_drawn(sampler: dict[str, Any]) -> None:
    points = [{"optim.lr": 0.5, "loss.temperature": 0.2}, {"optim.lr": 1}]
    _, params = searched(4, sampler=sampler, space=TWO, points=points)
    assert params[0] == points[0]
    assert params[1]["optim.lr"] == 1.0
    assert 0.05 <= params[1]["loss.temperature"] <= 1.0
    assert params[2]["optim.lr"] not in (0.5, 1.0)


def test_each_outcome_is_told_as_what_it_is() -> None:
    found = study(trials=9)
    for number in range(6):
        found.ask(number)
    found.complete(0, {METRIC: 0.4, "loss": 9.0})
    found.pruned(1, {1: {METRIC: 0.2}, 2: {METRIC: 0.3}, 3: {METRIC: math.nan}, 4: {}})
    found.worst(2, "no spread left")
    found.failed(3, "out of memory")
    found.pruned(4, {})
    complete, pruned, collapsed, failed, empty, running = found.optuna.trials
    assert (complete.state, complete.value, complete.constraints) == (
        TrialState.COMPLETE,
        0.4,
        {"healthy": 0.0},
    )
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 0.2, 2: 0.3})
    assert (collapsed.state, collapsed.value) == (TrialState.COMPLETE, 0.2)
    assert collapsed.constraints == {"healthy": 1.0}
    assert (failed.state, failed.user_attrs) == (TrialState.FAIL, {"reason": "out of memory"})
    assert empty.state is TrialState.PRUNED
    assert running.state is TrialState.RUNNING


def test_the_worst_value_follows_the_direction() -> None:
    found = study(trials=9, mode="min")
    for number, seen in enumerate((0.4, 0.9, 0.1)):
        found.ask(number)
        found.complete(number, {METRIC: seen})
    found.ask(3)
    found.worst(3, "no spread left")
    assert found.optuna.trials[3].value == 0.9


def test_before_anything_was_seen_nothing_is_the_worst() -> None:
    """A made-up value, say 0, would be the best of all where the loss is the objective."""
    found = study(trials=9, mode="min")
    for number in range(3):
        found.ask(number)
    found.worst(0, "no spread left")
    found.worst(1, "no spread left")
    assert [t.state for t in found.optuna.trials] == [TrialState.RUNNING] * 3
    found.complete(2, {METRIC: 0.7})
    assert [t.value for t in found.optuna.trials] == [0.7, 0.7, 0.7]
    assert [t.constraints["healthy"] for t in found.optuna.trials] == [1.0, 1.0, 0.0]


def test_a_failed_trial_that_runs_again_counts_with_what_it_comes_to() -> None:
    found = study(trials=9)
    params = found.ask(0)
    found.failed(0, "node lost")
    assert params is not None
    found.again(0, params)
    found.complete(0, {METRIC: 0.4})
    assert [(t.state, t.params) for t in found.optuna.trials] == [
        (TrialState.FAIL, params), (TrialState.COMPLETE, params),
    ]  # fmt: skip


def test_constraints_are_told_by_how_much_they_are_violated() -> None:
    bounds = [{"metric": "head.zeros", "at_least": 0.5, "at_most": 0.9}, {"metric": "loss", "at_most": 2.0}]
    found = study(trials=9, constraints=bounds)
    for number, (zeros, loss) in enumerate(((0.6, 1.0), (0.25, 4.0))):
        found.ask(number)
        found.complete(number, {METRIC: 0.5, "head.zeros": zeros, "loss": loss})
    found.ask(2)
    found.worst(2, "no spread left")
    good, bad, collapsed = ([*t.constraints.values()] for t in found.optuna.trials)
    assert good == pytest.approx([0.0, -0.1, -0.3, -1.0])
    assert bad == pytest.approx([0.0, 0.25, -0.65, 2.0])
    assert collapsed == pytest.approx([1.0, 0.25, 0.0, 2.0])


@pytest.mark.parametrize("sampler", [TPE, GP, NSGA2], **KINDS)
def test_several_objectives_and_constraints_together(sampler: dict[str, Any]) -> None:
    tradeoffs = [{"metric": "head.zeros", "mode": "max"}]
    bounds = [{"metric": "loss", "at_most": 0.7}]
    options: dict[str, Any] = {
        "sampler": sampler,
        "space": TWO,
        "tradeoffs": tradeoffs,
        "constraints": bounds,
    }
    found = study(trials=20, **options)
    for number in range(8):
        params = found.ask(number)
        assert params is not None
        t = params["loss.temperature"]
        if number == 4:
            found.worst(number, "no spread left")
        elif number == 5:
            found.pruned(number, {1: {METRIC: 0.1}})  # an operator may
        else:
            found.complete(number, {METRIC: 1 - t, "head.zeros": t, "loss": t})
    told = found.optuna.trials
    assert told[4].values == [min(t.values[0] for t in told[:4]), min(t.values[1] for t in told[:4])]
    assert (told[5].state, told[5].intermediate_values) == (TrialState.PRUNED, {})
    front = [t.number for t in found.optuna.best_trials]
    assert front == [t.number for t in told if t.number not in (4, 5) and t.params["loss.temperature"] <= 0.7]


def test_nsga2_moves_towards_the_front() -> None:
    """Both objectives grow with lr; only the temperature trades one against the other."""
    sampler = {"kind": "nsga2", "population": 8}
    found = study(sampler=sampler, space=TWO, trials=80, tradeoffs=[{"metric": "head.zeros"}])
    rates = []
    for number in range(80):
        params = found.ask(number)
        assert params is not None
        rates.append(math.log10(params["optim.lr"]))
        t = params["loss.temperature"]
        found.complete(number, {METRIC: rates[-1] + t, "head.zeros": rates[-1] - t})
    assert sum(rates[-20:]) / 20 > sum(rates[:8]) / 8 + 0.5


def test_parallel_trials_are_spread_out() -> None:
    """Trials that run count as bad for TPE, so that one state of knowledge does not give one suggestion."""
    found, _ = searched(20, sampler=TPE)
    running = [found.ask(number) or {} for number in range(20, 26)]
    assert len({round(math.log10(p["optim.lr"]), 3) for p in running}) == 6


EARLIER: dict[str, Any] = {"from": "earlier/t0000", "state": "COMPLETE"}


def earlier(count: int) -> tuple[dict[str, Any], ...]:
    """Completed trials of an earlier sweep, the best at lr 0.1 and temperature 0.5."""
    found, params = searched(count, sampler=RANDOM, space=TWO, seed=7)
    return tuple({**EARLIER, "params": p, "metrics": value(found, p)} for p in params)


def test_a_warm_start_is_told_each_trial_as_it_ended() -> None:
    warm = (
        {**EARLIER, "params": {"optim.lr": 0.1}, "metrics": {METRIC: 0.8}},
        {**EARLIER, "params": {"optim.lr": 0.3}, "state": "PRUNED", "curve": {"1": {METRIC: 0.2}}},
        {**EARLIER, "params": {"optim.lr": 0.9}, "state": "COLLAPSED"},
    )
    found = study(warm=warm)
    assert [t.state.name for t in found.optuna.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert [t.params["optim.lr"] for t in found.optuna.trials] == [0.1, 0.3, 0.9]
    assert found.optuna.trials[1].intermediate_values == {1: 0.2}
    assert (found.optuna.trials[2].value, found.optuna.trials[2].constraints) == (0.2, {"healthy": 1.0})
    assert found.ask(0) is not None
    found.complete(0, {METRIC: 0.5})


@pytest.mark.parametrize("sampler", [TPE, CMAES, NSGA2, GP], **KINDS)
def test_a_warm_start_makes_the_first_suggestions_better(sampler: dict[str, Any]) -> None:
    warm = earlier(24)
    asks = 2 if sampler is GP else 10

    def first(warm: tuple[dict[str, Any], ...], seed: int) -> float:
        found = study(warm=warm, sampler=sampler, space=TWO, seed=seed)
        return sum(value(found, found.ask(n))[METRIC] for n in range(asks)) / asks

    seeds = range(1) if sampler is GP else range(3)
    assert sum(first(warm, s) for s in seeds) > sum(first((), s) for s in seeds) + 0.1 * len(seeds)


def test_a_search_ends_when_no_more_is_to_be_expected() -> None:
    options: dict[str, Any] = {"trials": 99, "space": LR, "converged": {"after": 20, "error": 0.05}}
    found = study(sampler={"kind": "tpe", "startup": 8}, **options)
    ended: list[int] = []
    for number in range(60):
        found.complete(number, value(found, found.ask(number)))
        reason = found.converged()
        assert found.converged() == reason
        if reason:
            ended.append(number + 1)
            assert "below 0.05" in reason
    assert ended[0] >= 20
    assert ended[0] % 5 == 0
    assert ended == list(range(ended[0], 61))


def test_a_search_that_still_finds_better_has_not_converged() -> None:
    found = study(sampler=RANDOM, trials=99, space=TWO, converged={"after": 20, "error": 1e-4})
    for number in range(30):
        found.complete(number, value(found, found.ask(number)))
        assert found.converged() is None
    assert study(trials=9).converged() is None


def test_trials_that_collapsed_do_not_look_like_much_to_gain() -> None:
    """CMA-ES is not told of constraints, and so collapsed trials look COMPLETE to Optuna."""
    options: dict[str, Any] = {"sampler": CMAES, "space": TWO, "converged": {"after": 4, "error": 0.1}}

    def gain(collapsed: int) -> float:
        found = study(trials=99, **options)
        for number in range(8):
            found.ask(number)
            found.complete(number, {METRIC: 0.5 + 0.001 * number})
        for number in range(8, 8 + collapsed):
            found.ask(number)
            found.worst(number, "no spread left")
        return found._possible_gain()

    assert gain(3) == gain(0)


def share_beyond_the_edge(told: str, seed: int, sampler: dict[str, Any], *, stops: bool = True) -> float:
    """Share of later trials where all collapse: beyond x = .65, with the optimum just before. If ``stops``,
    7 of 8 other trials are stopped early, as under ASHA."""
    count = 60 if sampler["kind"] == "tpe" else 18
    found = study(trials=count, sampler=sampler, space=LR, seed=seed)
    fell = []
    for number in range(count):
        params = found.ask(number)
        assert params is not None
        x = (math.log10(params["optim.lr"]) + 2) / 2  # in [0, 1]
        fell.append(x > 0.65)
        if x <= 0.65:
            if stops and number % 8:
                found.pruned(number, {1: {METRIC: x}})
            else:
                found.complete(number, {METRIC: x})
        elif told == "worst":
            found.worst(number, "no spread left")
        elif told == "only the worst value":
            found.complete(number, {METRIC: 0.0})
        else:
            found.failed(number, "no spread left")
    later = fell[count // 3 :]
    return sum(later) / len(later)


def test_a_search_beside_a_collapsing_region_keeps_off() -> None:
    sampler = {"kind": "tpe", "startup": 10}
    told = ("worst", "only the worst value", "fail")
    ours, only_value, fail = (
        sum(share_beyond_the_edge(t, seed, sampler) for seed in range(3)) / 3 for t in told
    )
    assert ours < 0.75 * only_value
    assert only_value < fail


def test_a_gaussian_process_beside_a_collapsing_region_keeps_off() -> None:
    sampler = {"kind": "gp", "startup": 6}
    ours, fail = (share_beyond_the_edge(t, 0, sampler, stops=False) for t in ("worst", "fail"))
    assert ours <= 0.25
    assert fail >= 0.75
