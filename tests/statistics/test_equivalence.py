"""Two one-sided tests against statsmodels, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_paired

from ablate.statistics.equivalence import crossed_tost_p, tost_p, tost_rows
from ablate.statistics.intervals import t_interval

finite = st.lists(st.floats(-10, 10), min_size=2, max_size=9)
margins = st.floats(0.01, 20)


@pytest.mark.parametrize("n", [3, 6, 20])
@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
def test_p_is_that_of_statsmodels(n: int, margin: float) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.1, 1, n), rng.normal(0, 1, n)
    theirs = float(ttost_paired(a, b, -margin, margin)[0])
    assert tost_p(a - b, margin) == pytest.approx(theirs, rel=1e-9)


@given(finite, margins)
def test_p_is_a_p_and_knows_no_sign(d: list[float], margin: float) -> None:
    p = tost_p(d, margin)
    assert p is not None
    assert 0 < p <= 1
    assert tost_p([-x for x in d], margin) == p


@given(finite, margins, st.floats(1.0, 3.0))
def test_a_wider_margin_never_has_a_larger_p(d: list[float], margin: float, factor: float) -> None:
    near, far = tost_p(d, margin), tost_p(d, margin * factor)
    if np.std(d) > 1e-6:
        assert near is not None
        assert far is not None
        assert far <= near


@pytest.mark.parametrize("seed", range(6))
def test_equivalent_where_the_interval_of_twice_the_alpha_lies_inside(seed: int) -> None:
    d = np.random.default_rng(seed).normal(0.3, 0.5, 7)
    p, interval = tost_p(d, 0.6), t_interval(d, 0.9)
    assert p is not None
    assert interval is not None
    assert (p <= 0.05) == (interval.low > -0.6 and interval.high < 0.6)


def test_error_at_the_margin_is_alpha() -> None:
    samples = np.random.default_rng(7).normal(1.0, 0.5, (20000, 6))
    assert np.mean(tost_rows(samples, 1.0) <= 0.05) == pytest.approx(0.05, abs=0.006)


def test_without_spread_the_signs_decide() -> None:
    assert tost_p([0.0] * 5, 0.01) == 2.0**-5
    assert tost_p([0.1, 0.1, 0.1 + 1e-16], 0.2) == 2.0**-3
    assert tost_p([0.3] * 5, 0.2) == 1.0
    assert tost_p([0.2] * 5, 0.2) == 1.0
    assert tost_p([0.1], 0.2) is None


def test_no_margin_shows_nothing_equivalent() -> None:
    for margin in (0.0, -1.0):
        p = tost_p([0.1, -0.1, 0.05, 0.02], margin)
        assert p is not None
        assert p >= 0.5


@pytest.mark.parametrize("n", [2, 7])
def test_rows_are_tested_each_for_itself(n: int) -> None:
    d = np.random.default_rng(1).normal(0.3, 1, (7, n))
    d[0] = 0.0
    assert list(tost_rows(d, 0.8)) == [tost_p(row, 0.8) for row in d]


def test_images_that_vary_make_equivalence_harder() -> None:
    rng = np.random.default_rng(2)
    unit = rng.normal(0, 0.01, size=(8, 1))
    alike, varied = unit + np.zeros(40), unit + rng.permutation(np.linspace(-1, 1, 40))
    same, harder = crossed_tost_p(alike, 0.03), crossed_tost_p(varied, 0.03)
    assert same == pytest.approx(tost_p(unit.ravel(), 0.03))
    assert same is not None
    assert harder is not None
    assert same < 0.05 < harder
    assert crossed_tost_p(np.zeros((5, 9)), 0.01) == 2.0**-5
    assert crossed_tost_p(np.ones((1, 9)), 0.01) is None
