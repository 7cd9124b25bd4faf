"""Holm and Benjamini-Hochberg: a worked table, other implementations, and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.statistics.multiplicity import benjamini_hochberg, holm, holm_rows, reached

p_values = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=12)


def test_holm_of_a_worked_table() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.4, 0.9, 0.6]) == (1.0, 1.0, 1.0)
    assert holm([0.03]) == (0.03,)
    assert holm([]) == ()


@given(p_values)
def test_holm_of_rows_is_holm(p: list[float]) -> None:
    rows = np.array([p, p[::-1]])
    assert [tuple(row) for row in holm_rows(rows)] == [holm(p), holm(p[::-1])]


@given(p_values)
def test_holm_rejects_what_stepping_down_rejects(p: list[float]) -> None:
    """Holm's own procedure: smallest first, against alpha/m, alpha/(m-1), ..., until one fails."""
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - step) > 0.05:
            break
        rejected.add(i)
    assert {i for i, x in enumerate(holm(p)) if x <= 0.05} == rejected


@given(p_values)
def test_holm_keeps_order_and_lies_between_p_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for x, a in zip(p, adjusted, strict=True):
        assert x <= a <= min(1.0, x * len(p) * (1 + 1e-12)) or a == max(
            adjusted[j] for j in range(len(p)) if p[j] <= x
        )
        assert all(adjusted[j] <= a for j in range(len(p)) if p[j] <= x)


@given(p_values, st.randoms(use_true_random=False))
def test_relabelling_comparisons_relabels_adjusted_p(p: list[float], random) -> None:  # type: ignore[no-untyped-def]
    order = random.sample(range(len(p)), len(p))
    for method in (holm, benjamini_hochberg):
        adjusted = method(p)
        assert method([p[i] for i in order]) == pytest.approx([adjusted[i] for i in order], rel=1e-12)


@given(p_values, st.data())
def test_a_smaller_p_never_makes_any_adjusted_p_larger(p: list[float], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(p) - 1))
    smaller = [x / 2 if j == i else x for j, x in enumerate(p)]
    for method in (holm, benjamini_hochberg):
        assert all(a <= b * (1 + 1e-12) for a, b in zip(method(smaller), method(p), strict=True))


@pytest.mark.parametrize("m", [1, 2, 5, 20])
def test_both_agree_with_statsmodels_and_scipy(m: int) -> None:
    """On p-values with ties, some of them small. (statsmodels is too slow for many examples.)"""
    p = np.random.default_rng(m).integers(1, 65, m) ** 2 / 2**14
    assert holm(p) == tuple(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(tuple(multipletests(p, method="fdr_bh")[1]))
    assert benjamini_hochberg(p) == pytest.approx(tuple(stats.false_discovery_control(p)))


def test_exploration_corrects_less_than_a_claim() -> None:
    p = [0.01, 0.02, 0.03, 0.04]
    assert benjamini_hochberg(p) == pytest.approx((0.04, 0.04, 0.04, 0.04))
    assert max(holm(p)) > 0.05
    assert benjamini_hochberg([]) == ()


def test_an_equal_p_has_reached_alpha_and_a_larger_one_has_not() -> None:
    assert reached(0.1 + 0.2, 0.3)
    assert not reached(0.0501, 0.05)
    assert list(reached(np.array([0.04, 0.05, 0.06]), 0.05)) == [True, True, False]
