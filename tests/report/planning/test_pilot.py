"""What a ledger tells of noise and pace, against numbers worked out another way."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ablate.report.planning.pilot import (
    Noise,
    Pilot,
    cells_of,
    epochs_by_machine,
    noise_of,
    pace_of,
    read_pilot,
    seconds_untrained,
)
from ablate.report.planning.plan import make_plan
from tests.report.planning.ran import METRIC, OBJECTIVE, Ran, arms_sweep
from tests.search.synthetic import sweep

SCORES = {"plain": [0.50, 0.52, 0.47, 0.55], "deep": [0.53, 0.50, 0.52, 0.56]}
THREE = ("plain", "deep", "shallow")


def pilot_of(ran: Ran) -> Pilot:
    return read_pilot(ran.events)


def confirmed(scores: dict[str, list[float | None]], **more: object) -> Pilot:
    return pilot_of(Ran(arms_sweep(each=THREE, **more)).confirm(scores))


# --- noise -----------------------------------------------------------------------------------------------


def test_the_noise_of_two_arms_is_the_sd_of_their_differences_on_shared_seeds() -> None:
    noise = noise_of([confirmed(SCORES)], "seed", METRIC)
    differences = np.subtract(SCORES["deep"], SCORES["plain"])
    assert noise is not None
    assert noise.sd == pytest.approx(differences.std(ddof=1))
    assert (noise.freedom, noise.source, noise.arms, noise.blocks) == (3, "confirm", 2, 4)
    assert noise.alike == pytest.approx((noise.sd, noise.sd))


@given(arrays(np.float64, (5, 3), elements=st.floats(0, 1, width=32)))
def test_the_noise_of_several_arms_is_the_mean_variance_of_all_pairs(table: np.ndarray) -> None:
    scores = dict(zip(THREE, table.T.tolist(), strict=True))
    noise = noise_of([confirmed(scores)], "seed", METRIC)
    variances = [np.var(table[:, i] - table[:, j], ddof=1) for i, j in combinations(range(3), 2)]
    if noise is None:
        assert np.mean(variances) == pytest.approx(0, abs=1e-20)
    else:
        assert noise.sd**2 == pytest.approx(np.mean(variances), rel=1e-6)
        assert noise.freedom == 8


def test_seeds_move_all_arms_and_leave_the_noise_as_it_is() -> None:
    shifted = {arm: [x + i for i, x in enumerate(row)] for arm, row in SCORES.items()}
    one, other = (noise_of([confirmed(s)], "seed", METRIC) for s in (SCORES, shifted))
    assert one is not None
    assert other is not None
    assert other.sd == pytest.approx(one.sd)


def test_a_failed_seed_is_left_out_of_every_arm_and_an_arm_with_few_seeds_altogether() -> None:
    failed = noise_of([confirmed({**SCORES, "deep": [0.53, None, 0.52, 0.56]})], "seed", METRIC)
    assert failed is not None
    kept = np.array([0.53, 0.52, 0.56]) - np.array([0.50, 0.47, 0.55])
    assert failed.sd == pytest.approx(kept.std(ddof=1))
    few = noise_of([confirmed({**SCORES, "shallow": [0.1, None, None, None]})], "seed", METRIC)
    assert few == noise_of([confirmed(SCORES)], "seed", METRIC)


def test_controls_are_no_part_of_the_noise() -> None:
    scores = {**SCORES, "pixels": [0.1, 0.9, 0.2, 0.8]}
    with_control = confirmed(scores, controls=["pixels"])
    assert noise_of([with_control], "seed", METRIC) == noise_of([confirmed(SCORES)], "seed", METRIC)


@pytest.mark.parametrize(
    "scores",
    [
        {"plain": [0.5, 0.6], "deep": [0.4, None]},
        {"plain": [0.5, 0.6, 0.7]},
        {"plain": [0.5, 0.6, 0.7], "deep": [0.4, 0.5, 0.6]},
    ],
    ids=["one shared seed", "one arm", "the same difference in every seed"],
)
def test_without_two_differing_pairs_there_is_no_noise(scores: dict[str, list[float | None]]) -> None:
    assert noise_of([confirmed(scores)], "seed", METRIC) is None


def test_another_metric_tells_nothing() -> None:
    assert noise_of([confirmed(SCORES)], "seed", "probe.z.test") is None


def test_several_pilots_are_pooled_by_their_degrees_of_freedom() -> None:
    short = {"plain": [0.5, 0.6, 0.7], "deep": [0.4, 0.7, 0.5]}
    one, other, both = (
        noise_of(p, "seed", METRIC)
        for p in ([confirmed(SCORES)], [confirmed(short)], [confirmed(SCORES), confirmed(short)])
    )
    assert one is not None
    assert other is not None
    assert both is not None
    assert both.freedom == 5
    assert both.sd**2 == pytest.approx((3 * one.sd**2 + 2 * other.sd**2) / 5)


def replicated() -> Pilot:
    """Three replicates, in which ``deep`` is better by .1, .3 and .2, give or take .01 from seed to seed."""
    ran = Ran(arms_sweep(replicates=3, seeds=2))
    for replicate, gain in enumerate((0.1, 0.3, 0.2)):
        scores = {"plain": [0.5, 0.6], "deep": [0.5 + gain + 0.01, 0.6 + gain - 0.01]}
        ran.confirm(scores, replicate=replicate, first_seed=1000 + 2 * replicate)
    return pilot_of(ran)


def test_the_unit_decides_whose_differences_are_compared() -> None:
    seeds, replicates = (noise_of([replicated()], unit, METRIC) for unit in ("seed", "replicate"))
    assert seeds is not None
    assert replicates is not None
    assert seeds.sd == pytest.approx(np.std([0.01, -0.01], ddof=1))
    assert (seeds.freedom, replicates.freedom) == (3, 2)
    assert replicates.sd == pytest.approx(np.std([0.1, 0.3, 0.2], ddof=1))


def test_one_replicate_says_nothing_of_replicates_not_even_by_its_search() -> None:
    assert noise_of([confirmed(SCORES)], "replicate", METRIC, OBJECTIVE) is None


def test_search_trials_with_the_same_number_stand_in_for_a_confirmation() -> None:
    ran = Ran(arms_sweep())
    for number, (plain, deep) in enumerate([(0.5, 0.6), (0.4, 0.3), (0.55, 0.5)]):
        ran.trial(f"t{2 * number:04d}", "plain", number=number, metrics={OBJECTIVE: plain})
        ran.trial(f"t{2 * number + 1:04d}", "deep", number=number, metrics={OBJECTIVE: deep})
    ran.trial("t0006", "plain", number=3, state="PRUNED", epochs=1, metrics={OBJECTIVE: 0.0})
    ran.trial("t0007", "deep", number=3, metrics={OBJECTIVE: 0.9})
    pilot = pilot_of(ran)
    noise = noise_of([pilot], "seed", METRIC, OBJECTIVE)
    assert noise is not None
    assert (noise.source, noise.freedom) == ("search", 2)
    assert noise.sd == pytest.approx(np.std([0.1, -0.1, -0.05], ddof=1))
    assert noise_of([pilot], "seed", METRIC) is None


def test_a_confirmation_counts_before_any_search() -> None:
    ran = Ran(arms_sweep())
    for i, (arm, score) in enumerate([("plain", 0.1), ("deep", 0.9), ("plain", 0.5), ("deep", 0.2)]):
        ran.trial(f"t{i:04d}", arm, number=i // 2, metrics={OBJECTIVE: score})
    ran.confirm(SCORES)
    found = noise_of([pilot_of(ran)], "seed", METRIC, OBJECTIVE)
    assert found == noise_of([confirmed(SCORES)], "seed", METRIC)


def test_without_arms_any_two_configurations_of_the_search_stand_in() -> None:
    ran, scores = Ran(sweep()), [0.5, 0.6, 0.4]
    for i, score in enumerate(scores):
        ran.trial(f"t{i:04d}", "search", number=i, metrics={OBJECTIVE: score})
    ran.trial("t0003", "search", number=3, metrics={OBJECTIVE: 0.6}, repeats="t0001")
    noise = noise_of([pilot_of(ran)], "seed", METRIC, OBJECTIVE)
    assert noise is not None
    assert noise.sd == pytest.approx(np.sqrt(2) * np.std(scores, ddof=1))
    assert (noise.source, noise.freedom) == ("search", 2)


# --- how sure the sd is ----------------------------------------------------------------------------------


def test_the_interval_of_the_sd_is_the_textbook_chi_square_interval() -> None:
    """Quantiles of chi-square with 9 degrees of freedom: 2.700, 19.023 (95%) and 5.380 (20%)."""
    noise = Noise(2.0, 9, "confirm", "seed")
    assert noise.interval == pytest.approx((2 * (9 / 19.023) ** 0.5, 2 * (9 / 2.700) ** 0.5), rel=1e-3)
    assert noise.cautious == pytest.approx(2 * (9 / 5.380) ** 0.5, rel=1e-3)


def test_the_sd_planned_with_is_below_the_true_one_in_a_fifth_of_all_pilots() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(0, 1, (4000, 5, 3))
    centred = scores - scores.mean(1, keepdims=True) - scores.mean(2, keepdims=True)
    centred += scores.mean((1, 2), keepdims=True)
    sds = np.sqrt(2 * (centred**2).sum((1, 2)) / 8)
    factor = Noise(1.0, 8, "confirm", "seed").cautious
    assert np.mean(sds * factor < np.sqrt(2)) == pytest.approx(0.2, abs=0.02)


def test_a_given_sd_is_taken_as_it_is() -> None:
    noise = Noise(0.02, None, "given", "seed")
    assert (noise.cautious, noise.interval) == (0.02, None)


# --- test images -----------------------------------------------------------------------------------------


def test_correctness_on_the_test_images_is_taken_from_the_pair_that_disagrees_most(tmp_path: Path) -> None:
    ran = Ran(arms_sweep(each=THREE)).confirm({arm: [0.5, 0.6, 0.7] for arm in THREE})
    rng = np.random.default_rng(0)
    shared = rng.random(50) < 0.5
    for i in range(9):  # plain, deep, shallow; the last of which is right where the others are wrong
        ran.correct[f"c{i:04d}"] = ~shared if i % 3 == 2 else shared ^ (rng.random(50) < 0.05)
    pilot = read_pilot(ran.events, ran.write(tmp_path / "s"))
    cells = cells_of([pilot], "seed", METRIC)
    assert cells is not None
    assert cells.shape == (3, 50)
    expected = [(~shared).astype(float) - ran.correct[f"c{i:04d}"] for i in (0, 3, 6)]
    assert np.array_equal(cells, np.array(expected))
    assert cells_of([pilot_of(ran)], "seed", METRIC) is None


def test_where_a_trial_stored_nothing_images_are_not_known(tmp_path: Path) -> None:
    ran = Ran(arms_sweep()).confirm(SCORES)
    ran.correct["c0000"] = np.ones(5, dtype=np.bool_)
    assert cells_of([read_pilot(ran.events, ran.write(tmp_path / "s"))], "seed", METRIC) is None


# --- pace ------------------------------------------------------------------------------------------------


def test_pace_is_that_of_the_arm_in_its_stage_then_of_whatever_is_nearest() -> None:
    ran = Ran(arms_sweep(each=THREE))
    ran.trial("t0000", "plain", each=8.0).trial("t0001", "deep", each=16.0)
    ran.confirm({"plain": [0.5], "deep": [0.5]}, each={"plain": 10.0, "deep": 20.0})
    pilots = [pilot_of(ran)]

    def pace(stage: str, arm: str) -> tuple[float, str]:
        found = pace_of(pilots, stage, arm)
        assert found is not None
        return found.seconds, found.whose

    assert pace("confirm", "deep") == (20.0, "deep")
    assert pace("search", "deep") == (16.0, "deep")
    assert pace("confirm", "shallow") == (15.0, "other arms of confirm")
    only_search = [pilot_of(Ran(arms_sweep()).trial("t0000", "plain", each=8.0))]
    found = [pace_of(only_search, "confirm", arm) for arm in ("plain", "deep")]
    assert [(p.seconds, p.whose) for p in found if p] == [(8.0, "plain"), (8.0, "other trials")]
    assert pace_of([], "search", "plain") is None


def test_every_epoch_counts_once_and_the_end_of_a_trial_is_part_of_its_epochs() -> None:
    ran = Ran(sweep())
    for i in range(4):  # stopped early, slow to start
        ran.trial(f"t{i:04d}", "search", epochs=1, each=30.0, state="PRUNED")
    ran.trial("t0004", "search", epochs=8, each=10.0, end=16.0)
    pace = pace_of([pilot_of(ran)], "search", "search")
    assert pace is not None
    assert (pace.seconds, pace.epochs) == (12.0, 12)
    assert (pace.low, pace.high) == (12.0, 30.0)


def test_failed_trials_repeats_and_ledgers_without_a_clock_tell_no_pace() -> None:
    ran = Ran(sweep()).trial("t0000", "search", each=99.0, state="FAILED")
    ran.trial("t0001", "search", each=0.0).trial("t0002", "search", repeats="t0001")
    assert pace_of([pilot_of(ran)], "search", "search") is None


def test_the_time_between_two_drivers_counts_for_nobody_and_repeated_epochs_twice() -> None:
    ran = Ran(sweep(), startup=5.0)
    ran.ask("t0000", "search", seed=0, number=0, replicate=0, repeats=None)
    ran.add("started", trial="t0000", slot="a", fence=1)
    ran.reports("t0000", 1, 2, 10.0)  # then its driver dies
    ran.now += 3600
    ran.add("resumed", fence=2, made_by={}, epochs={"t0000": 1}, changes={})
    ran.add("started", trial="t0000", slot="a", fence=2)
    ran.reports("t0000", 2, 3, 10.0)
    pilot = pilot_of(ran.finish("t0000", "COMPLETE", 3, {}).end())
    assert (pilot.wall, pilot.busy, pilot.startup) == (45.0, 40.0, 5.0)
    assert pilot.trained == {"search": 4}
    pace = pace_of([pilot], "search", "search")
    assert pace is not None
    assert pace.seconds == 10.0


def test_the_pace_is_that_of_one_type_of_machine(tmp_path: Path) -> None:
    ran = Ran(sweep())
    for i, (machine, each) in enumerate((("A100", 2.0), ("A100", 2.0), ("T4", 9.0), ("", 5.0))):
        ran.trial(f"t{i:04d}", "search", epochs=4, each=each)
        if machine:
            (tmp_path / f"trials/t{i:04d}").mkdir(parents=True)
            (tmp_path / f"trials/t{i:04d}/identity.json").write_text(f'{{"device": "{machine}"}}')
    mixed = read_pilot(ran.events, tmp_path)
    assert epochs_by_machine([mixed]) == {"A100": 8, "T4": 4}
    pace = pace_of([mixed], "search", "search")
    assert pace is not None
    assert (pace.machine, pace.epochs) == ("A100", 8)
    notes = make_plan(sweep(), [mixed]).cost.notes
    assert any("A100 (8 epochs), T4 (4 epochs): paces and hours are of A100 alone" in n for n in notes)
    (tmp_path / "trials/t0002/identity.json").unlink()
    pace = pace_of([read_pilot(ran.events, tmp_path)], "search", "search")
    assert pace is not None
    assert (pace.machine, pace.epochs) == ("A100", 16), "of one known type, those that do not tell are of it"


def test_controls_are_timed_by_the_trial() -> None:
    ran = Ran(arms_sweep(controls=["pixels", "untrained"]))
    pilots = [pilot_of(ran.confirm({"plain": [0.5, 0.5], "pixels": [0.2, 0.2]}))]
    assert seconds_untrained(pilots, "pixels") == 2.0
    assert seconds_untrained(pilots, "untrained") == 2.0
    assert seconds_untrained([], "pixels") is None


def test_a_sweep_with_a_retried_trial_has_not_ended() -> None:
    ran = Ran(sweep()).trial("t0000", "search", state="FAILED").end()
    assert pilot_of(ran).ended
    ran.add("retried", trial="t0000", epoch=0)
    assert not pilot_of(ran).ended


def test_a_ledger_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not the record of a sweep"):
        read_pilot([])
