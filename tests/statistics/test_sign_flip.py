"""The sign-flip test against enumeration by hand, scipy and its own symmetries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.statistics.sign_flip import seeds_needed, sign_flip_p, sign_flip_rows, smallest_p

whole = st.lists(st.integers(-20, 20), min_size=2, max_size=9)
finite = st.lists(st.integers(-(10**6), 10**6).map(lambda k: k / 997), min_size=2, max_size=12)


@given(whole)
def test_p_counts_every_pattern_of_signs(d: list[int]) -> None:
    found = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(d))
    ]
    exact = sum(value >= abs(sum(d)) for value in found) / len(found)
    assert sign_flip_p([float(x) for x in d]) == exact


@given(whole)
def test_scores_with_rounding_have_the_p_of_the_counts_behind_them(d: list[int]) -> None:
    """k/360 is not a binary fraction: ties must survive its rounding."""
    assert sign_flip_p([x / 360 for x in d]) == sign_flip_p([float(x) for x in d])


@pytest.mark.parametrize("n", [5, 8, 13])
def test_p_is_that_of_scipy(n: int) -> None:
    for seed in range(5):
        d = np.random.default_rng(seed).normal(0.4, 1, n)
        theirs = stats.permutation_test(
            (d,),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=2**16,
        )
        assert sign_flip_p(d) == pytest.approx(float(theirs.pvalue), rel=1e-12)


@given(finite)
def test_p_lies_between_its_floor_and_one(d: list[float]) -> None:
    p = sign_flip_p(d)
    assert p is not None
    assert smallest_p(len(d)) <= p <= 1


@given(finite, st.randoms(use_true_random=False))
def test_p_knows_neither_order_nor_sign_nor_units(d: list[float], random) -> None:  # type: ignore[no-untyped-def]
    p = sign_flip_p(d)
    shuffled = random.sample(d, len(d))
    assert sign_flip_p(shuffled) == p
    assert sign_flip_p([-x for x in d]) == p
    assert sign_flip_p([4 * x for x in d]) == p


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=10), st.integers(1, 30))
def test_p_does_not_grow_as_a_difference_is_shifted_away_from_zero(d: list[int], shift: int) -> None:
    if sum(d) < 0:
        d = [-x for x in d]
    near, far = sign_flip_p([float(x) for x in d]), sign_flip_p([float(x + shift) for x in d])
    assert near is not None
    assert far is not None
    assert far <= near


@pytest.mark.parametrize("n", range(2, 17))
def test_differences_all_of_one_sign_give_the_smallest_p(n: int) -> None:
    assert sign_flip_p([0.1 + 0.01 * i for i in range(n)]) == smallest_p(n) == 2.0 ** (1 - n)


def test_many_differences_are_sampled_repeatably_and_near_the_t_test() -> None:
    d = np.random.default_rng(0).normal(0.3, 1.0, 40)
    p = sign_flip_p(d)
    assert p == sign_flip_p(d)
    assert p == pytest.approx(float(stats.ttest_1samp(d, 0).pvalue), rel=0.2)
    assert sign_flip_p([1.0 + i for i in range(40)]) == smallest_p(40) == 1 / 65537


def test_sampled_and_exact_agree_where_they_meet() -> None:
    """17 differences of which one is zero have the exact p of the other 16."""
    d = list(np.random.default_rng(3).normal(0.5, 1.0, 16))
    exact, sampled = sign_flip_p(d), sign_flip_p([*d, 0.0])
    assert exact is not None
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact / 65536))


@pytest.mark.parametrize("n", [2, 9, 17])
def test_equal_arms_have_p_one(n: int) -> None:
    assert sign_flip_p([0.0] * n) == 1.0
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0  # sums to rounding, not to zero


def test_one_difference_has_no_p() -> None:
    assert sign_flip_p([0.1]) is None
    assert sign_flip_p([]) is None


@pytest.mark.parametrize("n", [4, 14, 18])
def test_rows_are_tested_each_for_itself(n: int) -> None:
    d = np.random.default_rng(1).normal(0.3, 1, (7, n))
    assert list(sign_flip_rows(d)) == [sign_flip_p(row) for row in d]


@pytest.mark.parametrize("n", [6, 15, 18])
def test_a_ceiling_changes_no_p_below_it_and_lets_none_fall_below_it(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, (60, n))
    full, cut = sign_flip_rows(d), sign_flip_rows(d, ceiling=0.05)
    low = full <= 0.05
    assert 0 < low.sum() < 60
    assert list(cut[low]) == list(full[low])
    assert np.all((cut[~low] > 0.05) & (cut[~low] <= full[~low]))


@pytest.mark.parametrize(("family", "seeds"), [(1, 6), (2, 7), (3, 7), (5, 8), (10, 9), (20, 10)])
def test_seeds_needed_after_holm(family: int, seeds: int) -> None:
    assert seeds_needed(0.05, family) == seeds
    assert smallest_p(seeds) * family <= 0.05 < smallest_p(seeds - 1) * family


@pytest.mark.parametrize(("alpha", "family"), [(0.05, 10**6), (0.0, 1), (1.0, 1), (0.05, 0)])
def test_seeds_needed_refuses_what_no_number_of_seeds_can_do(alpha: float, family: int) -> None:
    with pytest.raises(ValueError, match="alpha"):
        seeds_needed(alpha, family)


def test_level_is_exact_for_symmetric_noise_that_is_far_from_normal() -> None:
    noise = np.random.default_rng(2).standard_cauchy((20000, 7))
    share = float(np.mean(sign_flip_rows(noise) <= 3 / 64))
    assert share == pytest.approx(3 / 64, abs=4 * np.sqrt(3 / 64 / 20000))
