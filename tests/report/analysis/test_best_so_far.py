"""Budget curves: what was seen, what resamples say around it, and what they can be taken for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.report.analysis.best_so_far import BestSoFar, best_so_far
from tests.report.analysis.made_search import Made, pool_of, search


def course(scores: list[float | None], **options: object) -> BestSoFar:
    [found] = best_so_far(pool_of(scores, **options))  # type: ignore[arg-type]
    return found


def test_the_observed_course_is_the_running_best_of_candidates() -> None:
    found = course([None, 0.3, 0.1, 0.5, None], costs=[1, 3, 1, 3, 2])
    assert found.by_trials.budget == (1, 2, 3, 4, 5)
    assert found.by_trials.best == (None, 0.3, 0.3, 0.5, 0.5)
    assert found.by_epochs.budget == tuple(range(1, 11))
    assert found.by_epochs.best == (None, None, None, 0.3, 0.3, 0.3, 0.3, 0.5, 0.5, 0.5)


def test_an_objective_that_is_made_small_is_the_mirror_image() -> None:
    curves = [0.5, 0.2, 0.9, 0.4]
    [up] = best_so_far(search([Made({1: v}) for v in curves]))
    [down] = best_so_far(search([Made({1: -v}) for v in curves], mode="min"))
    mirrored = [None if v is None else -v for v in down.by_trials.best]
    assert mirrored == list(up.by_trials.best)
    assert [-v for v in down.by_trials.high if v is not None] == list(up.by_trials.low)


@settings(max_examples=40)
@given(
    scores=st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=70),
    seed=st.integers(0, 9),
)
def test_bands_are_in_order_grow_and_never_leave_what_was_seen(scores: list[float | None], seed: int) -> None:
    costs = np.random.default_rng(seed).integers(1, 5, size=len(scores)).tolist()
    found = course(scores, costs=costs)
    top = max((s for s in scores if s is not None), default=None)
    for way in (found.by_trials, found.by_epochs):
        assert list(way.budget) == sorted(set(way.budget))
        assert way.best[-1] == top
        for ends in (way.low, way.middle, way.high, way.best):
            known = [-np.inf if v is None else v for v in ends]
            assert known == sorted(known)
            assert max(known) <= (-np.inf if top is None else top)
        for low, middle, high in zip(way.low, way.middle, way.high, strict=True):
            ordered = [-np.inf if v is None else v for v in (low, middle, high)]
            assert ordered == sorted(ordered)


def test_the_middle_after_one_trial_is_the_median_of_the_trials() -> None:
    found = course([float(i) for i in range(101)])
    assert found.by_trials.middle[0] == pytest.approx(50, abs=4)
    assert found.by_trials.low[0] == pytest.approx(2.5, abs=2)
    assert found.by_trials.high[0] == pytest.approx(97.5, abs=2)


def test_another_search_of_the_same_kind_lies_where_the_module_says_it_does() -> None:
    """Of exchangeable trials: within both ends after one trial, above the lower end everywhere, and above the
    best of n after n further ones half of the time."""
    n, repetitions = 40, 300
    rng = np.random.default_rng(1)
    first, above, beyond = 0, 0, 0
    for _ in range(repetitions):
        found = course(rng.normal(size=n).tolist()).by_trials
        another = np.maximum.accumulate(rng.normal(size=n))[np.array(found.budget) - 1]
        low, high = np.array(found.low, dtype=float), np.array(found.high, dtype=float)
        first += low[0] <= another[0] <= high[0]
        above += another[20] >= low[20]
        beyond += another[-1] > high[-1]
    assert first / repetitions >= 0.9
    assert above / repetitions >= 0.93
    assert beyond / repetitions == pytest.approx(0.5, abs=0.09)


def test_every_search_has_its_own_course_and_equal_ledgers_equal_ones() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}, "replicates": 2}
    space = {"optim.lr": {"float": [0.01, 1.0], "role": "nuisance"}}
    trials = [
        Made({1: 0.1 * i + 0.01 * r}, arm=arm, replicate=r) for r in range(2) for i, arm in enumerate("abab")
    ]
    found = best_so_far(search(trials, arms=arms, space=space))
    assert [(b.arm, b.replicate) for b in found] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [b.by_trials.best[-1] for b in found] == pytest.approx([0.2, 0.21, 0.3, 0.31])
    assert found == best_so_far(search(trials, arms=arms, space=space))


@pytest.mark.parametrize(
    ("sampler", "standing"),
    [("random", "exact"), ("qmc", "near"), ("grid", "near"), ("tpe", "descriptive")],
)
def test_what_a_band_means_depends_on_the_sampler(sampler: str, standing: str) -> None:
    assert course([0.1, 0.2], sampler=sampler).standing == standing


def test_early_stopping_and_points_given_by_hand_make_any_band_descriptive() -> None:
    assert course([0.1, 0.2], rungs=(1,)).standing == "descriptive"
    [by_hand] = best_so_far(search([Made({1: 0.1}, {"optim.lr": 0.1})] * 2, points=[{"optim.lr": 0.1}]))
    assert by_hand.standing == "descriptive"
    assert "by hand" in by_hand.why
