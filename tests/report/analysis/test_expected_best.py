"""The expected best of k: against all subsets, against the truth, and what it refuses."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.report.analysis.expected_best import best_weights, expected_best
from ablate.report.analysis.pools import Searched
from tests.report.analysis.made_search import Made, pool_of, search

ARMS = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}}
SPACE = {"optim.lr": {"float": [0.01, 1.0], "role": "nuisance"}}


def two_arms(a: list[float], b: list[float], **options: Any) -> Searched:
    """With equal draws, trial by trial, unless ``shift`` moves those of b."""
    shift = options.pop("shift", 0.0)
    trials = [Made({1: v}, {"optim.lr": 0.1 + i / 1000}, arm="a") for i, v in enumerate(a)]
    trials += [Made({1: v}, {"optim.lr": 0.1 + i / 1000 + shift}, arm="b") for i, v in enumerate(b)]
    return search(trials, arms=ARMS, space=SPACE, **options)


@settings(max_examples=60)
@given(scores=st.lists(st.floats(-1, 1), min_size=1, max_size=8), k=st.integers(1, 8))
def test_it_is_the_mean_over_all_subsets(scores: list[float], k: int) -> None:
    k = min(k, len(scores))
    by_weights = float(np.sort(scores) @ best_weights(len(scores), k))
    assert by_weights == pytest.approx(fmean(max(s) for s in combinations(scores, k)), abs=1e-12)


def test_it_is_unbiased_where_the_truth_is_known() -> None:
    """Of k uniform values the largest is k / (k + 1) in the mean."""
    rng = np.random.default_rng(0)
    found = [expected_best(pool_of(rng.random(16).tolist())).expected[0] for _ in range(400)]
    assert found[0].k == (1, 2, 4)
    for place, k in enumerate(found[0].k):
        values = [f.expected[place] for f in found]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - k / (k + 1)) < 4 * error
        covered = np.mean([f.low[place] <= k / (k + 1) <= f.high[place] for f in found])
        assert covered > 0.85


def test_a_constant_advantage_on_shared_draws_is_found_exactly() -> None:
    scores = np.random.default_rng(0).random(20).tolist()
    found = expected_best(two_arms(scores, [s + 0.25 for s in scores]))
    assert [(d.arm, d.against, d.k, d.paired) for d in found.differences] == [
        ("b", "a", k, True) for k in (1, 2, 4)
    ]
    for d in found.differences:
        assert (d.difference, d.low, d.high) == pytest.approx((0.25, 0.25, 0.25))


def test_smaller_is_better_where_the_objective_says_so() -> None:
    scores = np.random.default_rng(0).random(20).tolist()
    found = expected_best(two_arms(scores, [s - 0.25 for s in scores], mode="min"))
    assert all(d.difference == pytest.approx(0.25) for d in found.differences)
    [a, b] = found.expected
    assert [x - y for x, y in zip(a.expected, b.expected, strict=True)] == pytest.approx([0.25] * 3)
    assert all(low <= mean <= high for low, mean, high in zip(a.low, a.expected, a.high, strict=True))


def test_arms_that_drew_other_parameters_are_resampled_apart() -> None:
    scores = np.random.default_rng(0).random(20).tolist()
    found = expected_best(two_arms(scores, [s + 0.25 for s in scores], shift=0.01))
    assert not any(d.paired for d in found.differences)
    assert all(d.low < 0.25 < d.high for d in found.differences)


def test_equal_arms_are_rarely_told_apart() -> None:
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(150):
        found = expected_best(
            two_arms(rng.normal(size=24).tolist(), rng.normal(size=24).tolist(), shift=0.01)
        )
        [at_four] = [d for d in found.differences if d.k == 4]
        wrong += not at_four.low <= 0 <= at_four.high
    assert wrong / 150 < 0.12


def test_a_collapsed_trial_counts_as_the_worst_and_a_failed_one_not_at_all() -> None:
    scores = [0.1 * i for i in range(1, 10)]
    made = [Made({1: s}) for s in scores]
    plain = expected_best(search(made)).expected[0]
    collapsed = expected_best(search([*made, Made({}, state="COLLAPSED")])).expected[0]
    failed = expected_best(search([*made, Made({}, state="FAILED")])).expected[0]
    assert plain.expected[0] == pytest.approx(0.5)
    assert collapsed.expected[0] == pytest.approx((sum(scores) + 0.1) / 10)
    assert failed == plain


def test_stopped_trials_and_too_few_are_refused_with_the_number_that_is_needed() -> None:
    stopped = [Made({1: 0.1 * i}) for i in range(9)] + [Made({1: 0.0}, state="PRUNED")]
    found = expected_best(search(stopped, rungs=(1,)))
    assert found.expected == ()
    assert "1 of its random trials were stopped early" in found.refused[0]
    assert expected_best(pool_of([0.1] * 7)).refused == ("search: needs 8 completed random trials, has 7",)
    assert expected_best(pool_of([0.1] * 30, sampler="gp")).expected[0].trials == 10  # its start
