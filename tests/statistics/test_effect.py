"""Effect sizes against plain counting and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.statistics.effect import cohen_dz, probability_better, probability_better_unpaired

whole = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@given(whole)
def test_probability_better_counts_wins_and_half_the_ties(d: list[float]) -> None:
    wins, ties = sum(x > 0 for x in d), sum(x == 0 for x in d)
    assert probability_better(d) == pytest.approx((wins + ties / 2) / len(d))


@given(whole, whole)
def test_unpaired_is_mann_whitney_u_and_turns_with_the_arms(a: list[float], b: list[float]) -> None:
    p = probability_better_unpaired(a, b)
    assert p == pytest.approx(float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b)))
    assert probability_better_unpaired(b, a) == pytest.approx(1 - p)


def test_dz_is_the_t_statistic_over_the_root_of_n() -> None:
    d = np.random.default_rng(0).normal(0.4, 1, 9)
    assert cohen_dz(d) == pytest.approx(float(stats.ttest_1samp(d, 0).statistic) / 3)


def test_no_spread_or_no_units_have_no_size() -> None:
    assert cohen_dz([0.2, 0.2, 0.2]) is None
    assert cohen_dz([0.2]) is None
    assert probability_better([]) is None
    with pytest.raises(ValueError, match="at least one"):
        probability_better_unpaired([], [1.0])
