"""Differences between sweeps: recalculated from their files, and withheld where they would claim too much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.report.compare.differences import Difference, of_gains, of_scores, welch_interval
from ablate.report.results import write_results
from tests.report.compare.two_sweeps import HIGH, correct, made, side, written

samples = st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=2, max_size=8)  # as scores are


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    runs = tmp_path_factory.mktemp("runs")
    return written(runs, made("low")), written(runs, made("high", HIGH))


def table(folder: Path) -> pd.DataFrame:
    rows = pd.read_parquet(write_results(folder))
    return rows[rows["stage"] == "confirm"].set_index(["arm", "seed"])


def by_name(found: tuple[Difference, ...]) -> dict[str, Difference]:
    return {d.name: d for d in found}


def test_scores_on_the_same_data_and_seeds_are_subtracted_pair_by_pair(both: tuple[Path, Path]) -> None:
    low, high = both
    found = by_name(of_scores(side(low), side(high, "B")))
    rows = table(low), table(high)
    assert list(found) == ["plain", "deep", "wide", "pixels"]
    for arm in ("plain", "deep", "wide"):
        d = found[arm]
        a, b = (each.loc[arm]["probe.h.test"] for each in rows)
        expected = (b - a).to_numpy()
        assert d.paired
        assert d.units == (8, 8)
        assert d.points == pytest.approx(tuple(expected))
        assert d.mean == pytest.approx(expected.mean())
        low_end, high_end = stats.t.interval(0.95, 7, expected.mean(), stats.sem(expected))
        assert d.interval is not None
        assert (d.interval.low, d.interval.high) == pytest.approx((low_end, high_end))
        assert d.trials == tuple(rows[1].loc[arm]["trial_id"])


def test_the_interval_over_images_takes_both_sweeps_correctness(both: tuple[Path, Path]) -> None:
    low, high = both
    (d,) = (d for d in of_scores(side(low), side(high, "B")) if d.name == "plain")
    trials = [list(table(folder).loc["plain"]["trial_id"]) for folder in both]
    cells = np.stack([correct(high, b) - correct(low, a) for a, b in zip(*trials, strict=True)])
    n, e = cells.shape
    by_unit, by_image = stats.sem(cells.mean(1)) ** 2, stats.sem(cells.mean(0)) ** 2
    freedom = (by_unit + by_image) ** 2 / (by_unit**2 / (n - 1) + by_image**2 / (e - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(by_unit + by_image)
    assert d.wide is not None
    assert (d.wide.low, d.wide.high) == pytest.approx((cells.mean() - half, cells.mean() + half))
    assert d.headline == d.wide


def test_a_gain_is_compared_with_the_gain_of_the_other_sweep(both: tuple[Path, Path]) -> None:
    low, high = (table(folder)["probe.h.test"] for folder in both)
    found = by_name(of_gains(*map(side, both, "AB")))
    assert list(found) == ["deep - plain", "wide - plain"]
    gains = [each.loc["deep"] - each.loc["plain"] for each in (low, high)]
    assert found["deep - plain"].points == pytest.approx(tuple(gains[1] - gains[0]))
    assert found["deep - plain"].wide is not None


def test_p_is_adjusted_for_all_arms_and_not_for_controls(both: tuple[Path, Path]) -> None:
    found = by_name(of_scores(*map(side, both, "AB")))
    alone = {
        arm: stats.permutation_test(
            (np.array(found[arm].points),), np.mean, permutation_type="samples", n_resamples=2**8
        ).pvalue
        for arm in ("plain", "deep", "wide")
    }
    least = stats.false_discovery_control(list(alone.values()))
    for arm, p in zip(alone, least, strict=True):
        assert found[arm].p is not None
        assert found[arm].p >= p * (1 - 1e-9)  # over images too it is the larger of two
    assert found["plain"].p == pytest.approx(least[0])
    assert found["plain"].least_p == 2**-7


def test_other_seeds_are_not_pairs(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("high", HIGH, first_seed=2000))
    (d,) = (d for d in of_scores(*map(side, folders, "AB")) if d.name == "plain")
    a, b = (table(folder).loc["plain"]["probe.h.test"] for folder in folders)
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert not d.paired
    assert (d.p, d.wide, d.points) == (None, None, ())
    assert d.interval is not None
    assert (d.interval.low, d.interval.high) == pytest.approx((expected.low, expected.high))


def test_seeds_without_a_partner_are_left_out_and_counted(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low", seeds=4)), written(tmp_path, made("high", HIGH, first_seed=1002))
    (d,) = (d for d in of_scores(*map(side, folders, "AB")) if d.name == "plain")
    assert d.seeds == ((1002,), (1003,))
    assert d.notes == ("2 of A have no partner", "6 of B have no partner")


def test_other_data_give_no_difference_of_scores_and_unpaired_gains(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("high", HIGH), data="fedcba")
    assert of_scores(*map(side, folders, "AB")) == ()
    gains = of_gains(*map(side, folders, "AB"))
    assert [d.paired for d in gains] == [False, False]
    assert all(d.interval is not None and d.p is None for d in gains)


def test_data_that_are_not_recorded_are_never_the_same(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("high", HIGH))
    for folder in folders:
        for file in folder.glob("trials/*/identity.json"):
            file.unlink()
    assert of_scores(*map(side, folders, "AB")) == ()
    assert "identity.json" in side(folders[0]).why_no_digest


def test_data_that_changed_within_a_sweep_are_not_the_same_as_any(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("high", HIGH))
    (folders[0] / "trials" / "c0003" / "identity.json").write_text('{"data": "other", "code": "1"}')
    assert of_scores(*map(side, folders, "AB")) == ()
    assert "the data changed while A was confirmed" in side(folders[0]).why_no_digest


def test_a_lost_trial_withholds_the_differences_of_its_arm_only(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("high", HIGH), lost=("c0005",))
    found = by_name(of_scores(*map(side, folders, "AB")))
    lost = [name for name, d in found.items() if d.why_none]
    assert lost == ["deep"]
    assert found["deep"].why_none == "deep has no score on seed 1001 in B (B-c0005 FAILED)"
    assert found["deep"].mean is None
    gains = by_name(of_gains(*map(side, folders, "AB")))
    assert gains["deep - plain"].why_none == found["deep"].why_none
    assert gains["wide - plain"].mean is not None


def test_replicates_are_the_units_where_both_repeat_their_searches(tmp_path: Path) -> None:
    folders = (
        written(tmp_path, made("low", replicates=3, seeds=2)),
        written(tmp_path, made("high", HIGH, replicates=3, seeds=2)),
    )
    (d,) = (d for d in of_scores(*map(side, folders, "AB")) if d.name == "plain")
    means = [table(folder).loc["plain"].groupby("replicate")["probe.h.test"].mean() for folder in folders]
    assert (d.unit, d.units) == ("replicate", (3, 3))
    assert d.points == pytest.approx(tuple(means[1] - means[0]))


def test_seeds_of_one_search_are_the_units_where_only_one_sweep_repeats(tmp_path: Path) -> None:
    folders = (
        written(tmp_path, made("low", replicates=3, seeds=4)),
        written(tmp_path, made("high", HIGH, seeds=4)),
    )
    (d,) = (d for d in of_scores(*map(side, folders, "AB")) if d.name == "plain")
    assert (d.unit, d.seeds) == ("seed", ((1000,), (1001,), (1002,), (1003,)))


def test_trials_of_equal_specs_are_told(tmp_path: Path) -> None:
    folders = written(tmp_path, made("low")), written(tmp_path, made("again"))
    found = of_scores(*map(side, folders, "AB"))
    assert all(d.same_specs for d in found)
    assert all(point == 0 for d in found for point in d.points)


@given(samples, samples)
def test_welch_is_scipys(a: list[float], b: list[float]) -> None:
    one, other = np.array(a), np.array(b)
    found = welch_interval(one, other)
    if np.ptp(one) + np.ptp(other) == 0:
        assert found.low == found.high == one.mean() - other.mean()
        return
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
