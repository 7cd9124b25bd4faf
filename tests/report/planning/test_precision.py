"""The closed forms against the tests themselves, on simulated differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ablate.report.planning.precision import Precision
from ablate.statistics.equivalence import tost_rows
from ablate.statistics.power import power

SAMPLES = 20_000


@pytest.mark.parametrize(("n", "level"), [(3, 0.05), (8, 0.05), (8, 0.0125), (20, 0.05)])
def test_equal_arms_are_shown_to_be_equivalent_within_the_margin_as_often_as_asked(
    n: int, level: float
) -> None:
    margin = Precision(0.02).margin(n, level, 0.8)
    differences = np.random.default_rng(1).normal(0, 0.02, (SAMPLES, n))
    assert np.mean(tost_rows(differences, margin) <= level) == pytest.approx(0.8, abs=0.015)


def test_images_widen_the_margin_as_the_test_over_both_does() -> None:
    rng = np.random.default_rng(5)
    cells = rng.choice([-1.0, 0.0, 1.0], (8, 200), p=[0.1, 0.8, 0.1])
    cells += rng.normal(0, 0.1, 200)
    with_images = Precision.of(0.02, cells)
    margin = with_images.margin(8, 0.05, 0.8)
    assert margin > Precision(0.02).margin(8, 0.05, 0.8)
    simulated = power(0.0, 0.02, (8,), (0.05,), 1, margin, cells, repetitions=SAMPLES)
    assert simulated.equivalent == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("n", "effect", "level"), [(5, 0.03, 0.05), (12, 0.01, 0.05), (12, 0.02, 0.01)])
def test_power_is_that_of_the_t_test(n: int, effect: float, level: float) -> None:
    differences = np.random.default_rng(2).normal(effect, 0.02, (SAMPLES, n))
    test = stats.ttest_1samp(differences, 0, axis=1, alternative="greater")
    found = Precision(0.02).power(n, effect, level)
    assert np.mean(test.pvalue <= level / 2) == pytest.approx(found, abs=0.012)


def test_what_is_detectable_has_the_power_asked_for() -> None:
    for precision in (Precision(0.02), Precision(0.02, taste=0.1, residual=0.1, images=1000)):
        found = precision.detectable(8, 0.0125, 0.8)
        assert precision.power(8, found, 0.0125) == pytest.approx(0.8, abs=0.002)


def test_the_number_of_units_is_the_first_that_suffices() -> None:
    precision = Precision(0.02)
    n = precision.units_to_find(0.015, 0.05, 0.8)
    assert n is not None
    assert precision.power(n, 0.015, 0.05) >= 0.8 > precision.power(n - 1, 0.015, 0.05)
    n = precision.units_to_equate(0.015, 0.05, 0.8)
    assert n is not None
    assert precision.margin(n, 0.05, 0.8) <= 0.015 < precision.margin(n - 1, 0.05, 0.8)


def test_no_number_of_units_makes_up_for_few_images() -> None:
    precision = Precision(0.02, taste=0.1, residual=0.1, images=100)
    assert precision.units_to_find(0.01, 0.05, 0.8) is None
    assert precision.units_to_equate(0.01, 0.05, 0.8) is None
    assert Precision(0.02, taste=0.1, residual=0.1, images=10**6).units_to_find(0.01, 0.05, 0.8) is not None
