"""Intervals and p-values of means against the textbook and scipy, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.statistics.intervals import (
    Interval,
    bca_interval,
    crossed_interval,
    crossed_p,
    t_interval,
)

scores = st.lists(st.integers(-360, 360).map(lambda k: k / 360), min_size=2, max_size=9)
levels = st.sampled_from([0.8, 0.95, 0.99])


@given(scores, levels)
def test_t_interval_is_the_textbook_one(d: list[float], level: float) -> None:
    interval = t_interval(d, level)
    assert interval is not None
    half = stats.t.ppf((1 + level) / 2, len(d) - 1) * np.std(d, ddof=1) / np.sqrt(len(d))
    assert interval.low == pytest.approx(np.mean(d) - half)
    assert interval.high == pytest.approx(np.mean(d) + half)


def test_t_interval_is_that_of_scipy() -> None:
    d = np.random.default_rng(0).normal(0.1, 1, 6)
    theirs = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert t_interval(d, 0.9) == Interval(pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_t_interval_of_five_normal_differences_covers() -> None:
    samples = np.random.default_rng(5).normal(0, 1, (4000, 5))
    found = [t_interval(d) for d in samples]
    covered = np.mean([interval is not None and interval.covers_zero for interval in found])
    assert 0.93 <= covered <= 0.97


def test_bca_is_that_of_scipy_and_covers_less_with_five() -> None:
    d = np.random.default_rng(1).normal(0.1, 1, 12)
    theirs = stats.bootstrap((d,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0))
    low, high = theirs.confidence_interval
    assert bca_interval(d) == Interval(pytest.approx(low), pytest.approx(high))
    five = np.random.default_rng(6).normal(0, 1, (300, 5))
    covered = np.mean([interval is not None and interval.covers_zero for interval in map(bca_interval, five)])
    assert 0.75 <= covered <= 0.93


def test_bca_needs_three_that_differ() -> None:
    assert bca_interval([0.1, 0.3]) is None
    assert bca_interval([0.2] * 6) is None
    assert bca_interval([0.1, 0.2, 0.4], 0.9) is not None


def test_one_unit_or_one_image_has_no_interval() -> None:
    assert t_interval([0.1]) is None
    assert crossed_interval(np.ones((1, 9))) is None
    assert crossed_p(np.ones((9, 1))) is None


def _cells(seed: int, taste: float = 0.3, effect: float = 0.0, units: int = 6) -> np.ndarray:
    """Differences on 120 images, each of which favours one arm whatever the seed."""
    rng = np.random.default_rng(seed)
    by_image = rng.normal(effect, taste, size=120)
    return by_image + rng.normal(0, 0.05, size=(units, 1)) + rng.normal(0, 0.3, size=(units, 120))


def test_crossed_interval_adds_two_variances_and_their_degrees_of_freedom() -> None:
    cells = np.array([[1.0, 0.0, 1.0, -1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, -1.0]])
    by_unit = np.var([0.25, 0.5, 0.25], ddof=1) / 3
    by_image = np.var([2 / 3, 2 / 3, 2 / 3, -2 / 3], ddof=1) / 4
    freedom = (by_unit + by_image) ** 2 / (by_unit**2 / 2 + by_image**2 / 3)
    half = stats.t.ppf(0.95, freedom) * np.sqrt(by_unit + by_image)
    assert crossed_interval(cells, 0.9) == Interval(pytest.approx(1 / 3 - half), pytest.approx(1 / 3 + half))


def test_crossed_interval_covers_where_one_over_units_alone_does_not() -> None:
    covered = {"both": 0, "units": 0}
    for seed in range(400):
        cells = _cells(seed)
        both, units = crossed_interval(cells), t_interval(cells.mean(1))
        assert both is not None
        assert units is not None
        covered["both"] += both.covers_zero
        covered["units"] += units.covers_zero
    assert covered["both"] / 400 > 0.93
    assert covered["units"] / 400 < 0.90


@pytest.mark.parametrize("seed", range(8))
def test_crossed_p_is_at_most_alpha_where_the_interval_excludes_zero(seed: int) -> None:
    cells = _cells(seed, effect=0.08)
    p = crossed_p(cells)
    assert p is not None
    assert 0 < p <= 1
    for alpha in (0.5, 0.2, 0.05, 0.01, p * 1.001, p * 0.999):
        interval = crossed_interval(cells, 1 - alpha)
        assert interval is not None
        assert (p <= alpha) == (not interval.covers_zero)


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_crossed_p_knows_neither_order_nor_sign(seed: int, random) -> None:  # type: ignore[no-untyped-def]
    cells = np.random.default_rng(seed).integers(-1, 2, size=(4, 7)).astype(float)
    p = crossed_p(cells)
    assert p is not None
    assert 0 < p <= 1
    rows, columns = random.sample(range(4), 4), random.sample(range(7), 7)
    assert crossed_p(cells[rows][:, columns]) == pytest.approx(p, rel=1e-9)
    assert crossed_p(-cells) == pytest.approx(p, rel=1e-9)


def test_with_many_images_alike_crossed_is_the_paired_t_test() -> None:
    """If no image favours an arm and images are many, seeds alone decide."""
    by_unit = np.array([0.3, 0.1, 0.4, 0.2, 0.35])
    cells = np.repeat(by_unit[:, np.newaxis], 50, axis=1)
    assert crossed_p(cells) == pytest.approx(float(stats.ttest_1samp(by_unit, 0).pvalue))


def test_crossed_p_without_spread() -> None:
    assert crossed_p(np.zeros((5, 9))) == 1.0
    assert crossed_p(np.ones((5, 9))) == 2.0**-4
    assert crossed_interval(np.zeros((5, 9))) == Interval(0.0, 0.0)
