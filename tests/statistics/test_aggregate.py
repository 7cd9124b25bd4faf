"""Aggregates over data sets: their definitions, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from ablate.statistics.aggregate import (
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_band,
    stratified_interval,
)

matrices = arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 4)), elements=st.floats(0, 1))


@given(matrices)
def test_iqm_drops_a_quarter_at_each_end(scores: np.ndarray) -> None:
    ordered = sorted(scores.ravel())
    cut = len(ordered) // 4
    assert iqm(scores) == pytest.approx(np.mean(ordered[cut : len(ordered) - cut]))


def test_iqm_does_not_follow_one_outlier() -> None:
    scores = np.array([[0.5, 0.6], [0.5, 0.6], [0.5, 0.6], [0.5, 99.0]])
    assert iqm(scores) == pytest.approx(0.55)


@given(matrices, st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=6))
def test_profile_is_the_share_above(scores: np.ndarray, thresholds: list[float]) -> None:
    assert list(performance_profile(scores, thresholds)) == pytest.approx(
        [float(np.mean(scores > t)) for t in thresholds]
    )


def test_optimality_gap_does_not_reward_what_is_above_the_target() -> None:
    scores = np.array([[0.5, 2.0], [0.7, 1.0]])
    assert optimality_gap(scores) == pytest.approx((0.5 + 0.3) / 4)
    assert optimality_gap(scores, target=2.0) == pytest.approx((1.5 + 0.0 + 1.3 + 1.0) / 4)


def test_probability_of_improvement_averages_data_sets() -> None:
    a, b = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [0.5, 1.0], [0.2, 2.0]])
    assert probability_of_improvement(a, b) == pytest.approx((1.0 + (1 / 3) / 2) / 2)
    assert probability_of_improvement(b, a) == pytest.approx(1 - (1.0 + (1 / 3) / 2) / 2)
    assert probability_of_improvement(a, a) == 0.5
    with pytest.raises(ValueError, match="data sets"):
        probability_of_improvement(a, b[:, :1])


def test_interval_of_a_mean_is_close_to_that_of_theory_and_repeatable() -> None:
    scores = np.random.default_rng(0).normal(0.5, 0.1, (40, 3))
    interval = stratified_interval(np.mean, scores)
    assert interval is not None
    error = float(np.sqrt((scores.var(axis=0) / 40).mean() / 3))
    half = stats.norm.ppf(0.975) * error
    assert interval.low == pytest.approx(scores.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(scores.mean() + half, abs=0.15 * half)
    assert stratified_interval(np.mean, scores) == interval


def test_seeds_are_drawn_within_data_sets() -> None:
    """Data sets that differ much leave no trace in the interval if seeds do not differ within them."""
    scores = np.tile([0.1, 0.9], (5, 1))
    interval = stratified_interval(iqm, scores, repetitions=50)
    assert interval is not None
    assert interval.low == interval.high == pytest.approx(0.5)


def test_data_sets_are_drawn_apart() -> None:
    """Seeds that are good on one data set and bad on the other would cancel if drawn together."""
    good = np.linspace(0.0, 1.0, 9)
    interval = stratified_interval(np.mean, np.stack([good, 1 - good], axis=1), repetitions=200)
    assert interval is not None
    assert interval.high - interval.low > 0.1


def test_interval_of_two_arms_and_band_of_a_profile() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.7, 0.05, (8, 3)), rng.normal(0.5, 0.05, (8, 3))
    interval = stratified_interval(probability_of_improvement, a, b, repetitions=200)
    assert interval is not None
    assert 0.8 < interval.low <= interval.high <= 1
    thresholds = [0.4, 0.6, 0.8]
    band = stratified_band(lambda s: performance_profile(s, thresholds), a, repetitions=200)
    assert band is not None
    low, high = band
    assert low.shape == high.shape == (3,)
    assert np.all(low <= performance_profile(a, thresholds))
    assert np.all(performance_profile(a, thresholds) <= high)


def test_one_seed_has_no_interval() -> None:
    assert stratified_interval(iqm, np.ones((1, 3))) is None
