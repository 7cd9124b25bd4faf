"""Trials, epochs, hours and money, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ablate.report.planning.cost import (
    CPU,
    GPU,
    MONEY,
    SLOT,
    WALL,
    Amount,
    Cost,
    Prices,
    confirm_arms,
    cost_of,
)
from ablate.report.planning.pilot import Pilot, read_pilot
from ablate.search.hyperband import expected_epochs
from ablate.spec.sweep import SweepSpec
from tests.report.planning.ran import Ran, arms_sweep
from tests.search.synthetic import BRANCHES, LR, sweep


def cost(spec: SweepSpec, *pilots: Pilot, used: float = 1.0, **prices: float) -> Cost:
    return cost_of(spec, pilots, Prices(**prices), used)


def expected(spec: SweepSpec, *pilots: Pilot, **more: float) -> dict[str, float | None]:
    return {name: amount.expected for name, amount in cost(spec, *pilots, **more).amounts.items()}


def timed(**more: Any) -> Pilot:
    """Ten seconds an epoch, in search and confirmation; a control takes two."""
    ran = Ran(arms_sweep(controls=["pixels"]), **more).trial("t0000", "plain")
    return read_pilot(ran.confirm({"plain": [0.5, 0.6], "pixels": [0.1, 0.2]}).end().events)


def test_every_arm_of_every_replicate_searches_and_is_confirmed_and_controls_once() -> None:
    spec = arms_sweep(each=("plain", "deep", "shallow"), replicates=4, seeds=2, trials=5, controls=["pixels"])
    found = expected(spec)
    assert found["search trials"] == 3 * 4 * 5
    assert found["search epochs"] == 3 * 4 * 5 * 3
    assert found["confirm trials"] == 3 * 4 * 2 + 2
    assert found["confirm epochs"] == 3 * 4 * 2 * 3


def test_without_arms_the_best_and_its_references_are_confirmed() -> None:
    longer = {"longer": {"optim.epochs": 9}}
    spec = sweep(trials=7, confirm={"seeds": 4, "references": longer, "controls": ["pixels", "untrained"]})
    assert confirm_arms(spec) == ("best", "longer")
    found = expected(spec)
    assert (found["search trials"], found["confirm trials"]) == (7, 4 * 4)
    assert found["confirm epochs"] == 4 * (3 + 9)


def test_a_reference_that_the_base_does_not_admit_counts_as_the_base() -> None:
    spec = sweep(confirm={"seeds": 2, "references": {"narrow": {"head.subvector": 8}}, "controls": []})
    assert expected(spec)["confirm epochs"] == 2 * (3 + 3)


def test_without_confirmation_only_the_search_costs() -> None:
    found = expected(sweep(trials=6))
    assert (found["search trials"], found["confirm trials"], found["confirm epochs"]) == (6, 0, 0)


@pytest.mark.parametrize(
    ("space", "sampler", "trials"),
    [
        ({"head.depth": {"int": [1, 3]}}, {"kind": "random"}, 3),
        ({"head.depth": {"int": [1, 3]}}, {"kind": "exhaustive"}, 3),
        (LR, {"kind": "grid", "steps": 4}, 4),
        (LR, {"kind": "random"}, 20),
        (BRANCHES, {"kind": "random"}, 20),
    ],
    ids=["few configurations", "exhaustive", "grid", "real", "conditional"],
)
def test_no_configuration_is_run_twice(space: dict[str, Any], sampler: dict[str, Any], trials: int) -> None:
    assert expected(sweep(trials=20, space=space, sampler=sampler))["search trials"] == trials


def test_arms_without_anything_to_tune_are_searched_with_one_trial_each() -> None:
    assert expected(arms_sweep(space={}, trials=9))["search trials"] == 2


# --- early stopping --------------------------------------------------------------------------------------


def test_asha_is_expected_to_stop_one_half_at_each_rung_and_at_most_nobody() -> None:
    found = cost(sweep(trials=8, epochs=8, rungs=(2, 4))).amounts["search epochs"]
    assert found == Amount(8 * expected_epochs((2, 4), 2, 8), 64)
    assert found.expected == 8 * (2 + 2 / 2 + 4 / 4)


@pytest.mark.parametrize(("trials", "epochs"), [
    (8, 8 * 2 + 4 * 2 + 2 * 4), (11, 11 * 2 + 5 * 2 + 2 * 4), (1, 8), (3, 3 * 2 + 2 + 4),
])  # fmt: skip
def test_promotion_lets_a_whole_number_through_each_rung_and_one_at_least(trials: int, epochs: int) -> None:
    for variant in ("promotion", "patient"):
        scheduler = {"kind": "asha", "rungs": [2, 4], "variant": variant}
        found = cost(sweep(trials=trials, epochs=8, scheduler=scheduler)).amounts["search epochs"]
        assert found == Amount(pytest.approx(epochs), trials * 8)


def test_a_pilot_of_the_other_variant_tells_nothing_of_stops() -> None:
    ran = Ran(sweep(trials=8, epochs=8, rungs=(2, 4))).trial("t0000", "search", epochs=3)
    pilot = read_pilot(ran.events)
    assert expected(sweep(trials=8, epochs=8, rungs=(2, 4)), pilot)["search epochs"] == 8 * 3
    promotion = {"kind": "asha", "rungs": [2, 4], "reduction": 2, "variant": "promotion"}
    assert expected(sweep(trials=8, epochs=8, scheduler=promotion), pilot)["search epochs"] == 32


def test_a_pilot_with_the_same_rungs_tells_better() -> None:
    spec = sweep(trials=8, epochs=8, rungs=(2, 4))
    ran = Ran(spec).trial("t0000", "search", epochs=8).trial("t0001", "search", epochs=4, state="PRUNED")
    assert expected(spec, read_pilot(ran.events))["search epochs"] == 8 * 6
    other = sweep(trials=8, epochs=8, rungs=(1, 4))
    assert expected(other, read_pilot(ran.events))["search epochs"] == expected(other)["search epochs"]


def test_the_brackets_of_hyperband_share_the_epochs() -> None:
    scheduler = {"kind": "hyperband", "rungs": [2, 4], "reduction": 2, "brackets": 2}
    found = expected(sweep(trials=60, epochs=8, scheduler=scheduler))["search epochs"]
    first, second = 2 + 1 + 1, 4 + 2  # epochs a trial: with two rungs, and with the last only
    in_first = 60 * second / (first + second)
    assert found == pytest.approx(in_first * first + (60 - in_first) * second)


def test_a_population_trains_in_every_place_to_the_end() -> None:
    scheduler = {"kind": "pbt", "every": 2, "quantile": 0.25, "mutate": ["optim.lr"]}
    found = expected(sweep(trials=8, epochs=6, scheduler=scheduler, sampler={"kind": "random"}))
    assert found["search trials"] == 8 + 2 * 2
    assert found["search epochs"] == pytest.approx(8 * 6)


def test_drawn_epochs_count_with_their_mean_and_at_most_with_the_largest() -> None:
    spec = sweep(trials=10, space={**LR, "optim.epochs": {"choice": [2, 4]}})
    assert cost(spec).amounts["search epochs"] == Amount(30, 40)


def test_looks_make_the_expected_confirmation_smaller_but_not_the_largest() -> None:
    found = cost(arms_sweep(seeds=12, looks=[6, 12]), used=0.75).amounts["confirm trials"]
    assert found == Amount(18, 24)


# --- hours and money -------------------------------------------------------------------------------------


def test_hours_are_those_of_the_slots_after_the_startup() -> None:
    spec = arms_sweep(trials=5, seeds=3, controls=["pixels"], resources={"slots": 2, "cpus": 4})
    found = expected(spec, timed(startup=36.0))
    search, confirmation = 10 * 30.0, 6 * 30.0 + 3 * 2.0
    assert found[SLOT] == pytest.approx((search + confirmation) / 3600)
    assert found[CPU] == pytest.approx(4 * (search + confirmation) / 3600)
    # a slot each for plain and deep; then in the order of the ladder (30, 30, 2 seconds), two slots
    assert found[WALL] == pytest.approx((36.0 + 150.0 + (30 + 2 + 30 + 30 + 2)) / 3600)
    assert found[GPU] == 0


def test_one_slot_runs_one_trial_after_the_other() -> None:
    found = expected(arms_sweep(trials=5, seeds=3), timed())
    assert found[WALL] == pytest.approx(found[SLOT] or 0.0)


def test_each_worker_of_a_trial_has_its_own_cpus_and_gpus() -> None:
    spec = arms_sweep(resources={"workers": 2, "cpus": 3, "gpus": 1.0})
    found = expected(spec, timed(), cpu_hour=0.5, gpu_hour=2.0)
    hours = found[SLOT] or 0.0
    assert (found[CPU], found[GPU]) == (pytest.approx(6 * hours), pytest.approx(2 * hours))
    assert found[MONEY] == pytest.approx(0.5 * 6 * hours + 2.0 * 2 * hours)


def test_nothing_is_invented_without_a_pilot_or_a_price() -> None:
    bare = cost(arms_sweep(), cpu_hour=1.0)
    assert [bare.amounts[name].most for name in (WALL, SLOT, CPU, GPU, MONEY)] == [None] * 5
    assert any("how long an epoch takes" in what for what in bare.unknown)
    assert cost(arms_sweep(), timed()).amounts[MONEY] == Amount(None, None)


def test_gpus_that_are_yet_to_be_measured_are_unknown_and_so_is_their_price() -> None:
    found = cost(arms_sweep(resources={"gpus": "auto"}), timed(), gpu_hour=2.0)
    assert (found.amounts[GPU].most, found.amounts[MONEY].most) == (None, None)
    assert any("resources.gpus is auto" in what for what in found.unknown)


def test_money_without_the_price_of_gpus_says_that_it_is_only_part() -> None:
    found = cost(arms_sweep(resources={"gpus": 1.0}), timed(), cpu_hour=1.0)
    assert any("that of CPU hours alone" in what for what in found.unknown)


def test_an_untimed_control_counts_as_one_epoch_and_that_is_said() -> None:
    spec = arms_sweep(controls=["pixels"], seeds=2, trials=1, space={})
    pilot = read_pilot(Ran(arms_sweep()).trial("t0000", "plain").events)
    found = cost(spec, pilot)
    assert found.amounts[SLOT].most == pytest.approx((2 * 30 + 4 * 30 + 2 * 10) / 3600)
    assert any("pixels: not timed" in note for note in found.notes)


@pytest.mark.parametrize(
    ("budget", "trials"),
    [({"epochs": 9}, 2 * 3), ({"arm_hours": 60 / 3600}, 2 * 2), ({"hours": 120 / 3600}, 4)],
    ids=["epochs of each search", "slot hours of each search", "hours of all"],
)
def test_a_budget_ends_the_searches_before(budget: dict[str, float], trials: int) -> None:
    found = cost(arms_sweep(trials=10, budget=budget), timed())
    assert found.amounts["search trials"] == Amount(trials, trials)
    assert any("search.budget allows" in note for note in found.notes)
