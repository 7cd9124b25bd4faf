"""Ends of ranges: pressed where the optimum lies beyond them, and hardly ever otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ablate.report.analysis.boundaries import Boundaries, Saturation, band, boundaries, goodness
from ablate.report.analysis.pools import read_search
from ablate.report.analysis.widen import End
from ablate.spec.grid import levels, value_at
from ablate.spec.space import FloatRange, IntRange
from tests.report.analysis.made_search import Made, drawn, made_events, search, sweep_of

SPACE: dict[str, Any] = {
    "optim.lr": {"float": [0.001, 0.1], "log": True},
    "head.depth": {"int": [1, 4]},
    "optim.momentum": {"float": [0.0, 0.9]},
}
ENDS: tuple[End, End] = ("low", "high")


def found_in(score: Any, count: int, *, seed: int = 0, **options: Any) -> Boundaries:
    sweep = sweep_of(**{"space": SPACE, **options})
    return boundaries(read_search(made_events(sweep, drawn(sweep, score, count, seed=seed))))


def pressed(found: Boundaries) -> list[tuple[str, str]]:
    return [(s.key, s.end) for s in found.ends if s.pressed]


def beyond(params: Mapping[str, Any]) -> float:
    """Best at a learning rate of 1, ten times the end of the range."""
    return -abs(math.log10(params["optim.lr"]))


def inside(params: Mapping[str, Any]) -> float:
    """Best in the middle of every range."""
    lr = abs(math.log10(params["optim.lr"]) + 2)
    return -lr - abs(params["optim.momentum"] - 0.45) - 0.2 * abs(params["head.depth"] - 2.5)


def test_an_optimum_beyond_an_end_presses_it_and_no_other() -> None:
    assert pressed(found_in(beyond, 40)) == [("optim.lr", "high")]
    assert pressed(found_in(lambda p: -beyond(p), 40)) == [("optim.lr", "low")]
    assert pressed(found_in(lambda p: p["head.depth"], 40)) == [("head.depth", "high")]


def test_smaller_is_better_where_the_objective_says_so() -> None:
    assert pressed(found_in(beyond, 40, mode="min")) == [("optim.lr", "low")]


def test_an_optimum_inside_presses_nothing() -> None:
    assert [pressed(found_in(inside, 60, seed=s)) for s in range(5)] == [[]] * 5


def test_without_any_relation_an_end_is_pressed_in_few_searches() -> None:
    rng, wrong = np.random.default_rng(0), 0
    for seed in range(120):
        wrong += bool(pressed(found_in(lambda _: rng.normal(), 40, seed=seed)))
    assert wrong / 120 <= 0.1


def test_the_numbers_are_those_of_a_count_by_hand() -> None:
    """16 trials, the best four at 0.9, 0.95, 0.2 and 1.0 of the range: three in the outer quarter."""
    places = [0.9, 0.95, 0.2, 1.0, *[0.5] * 12]
    made = [Made({1: 1.0 - 0.01 * i}, {"optim.momentum": 0.9 * x}) for i, x in enumerate(places)]
    found = boundaries(search(made, space={"optim.momentum": SPACE["optim.momentum"]}))
    [high] = [s for s in found.ends if s.end == "high"]
    p = 4 * 0.25**3 * 0.75 + 0.25**4
    assert high == Saturation(
        "search", "optim.momentum", "high", 0.9, 16, 4, 3, 3, 0.25, pytest.approx(p),
        pytest.approx(2 * p), False, True,
    )  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@settings(max_examples=150)
@given(
    low=st.integers(1, 30),
    width=st.integers(1, 200),
    step=st.integers(1, 7),
    log=st.booleans(),
    share=st.sampled_from([0.1, 0.25]),
)
def test_a_band_of_whole_numbers_holds_the_share_of_even_draws_that_it_says(
    end: End, low: int, width: int, step: int, log: bool, share: float
) -> None:
    entry = IntRange(int=(low, low + width), log=log, step=1 if log else step)
    drawn_evenly = [value_at(entry, (i + 0.5) / 4000) for i in range(4000)]
    found = band(entry, end, share)
    inside_band = [v for v in drawn_evenly if isinstance(v, int) and found.holds(v)]
    assert len(inside_band) / 4000 == pytest.approx(found.share, abs=2e-3)
    last = max(drawn_evenly) if end == "high" else min(drawn_evenly)  # type: ignore[type-var]
    assert set(inside_band) == {last} or found.share <= share + 1e-9


@pytest.mark.parametrize("end", ENDS)
@settings(max_examples=60)
@given(low=st.floats(1e-4, 10), factor=st.floats(1.01, 1e4), log=st.booleans())
def test_a_band_of_a_real_range_is_that_share_of_its_own_scale(
    end: End, low: float, factor: float, log: bool
) -> None:
    entry = FloatRange(float=(low, low * factor), log=log)
    values = [value_at(entry, (i + 0.5) / 400) for i in range(400)]
    found = band(entry, end, 0.25)
    assert found.share == 0.25
    assert sum(found.holds(v) for v in values if isinstance(v, float)) == pytest.approx(100, abs=1)


@settings(max_examples=60)
@given(steps=st.integers(2, 30), share=st.sampled_from([0.1, 0.25]))
def test_a_band_of_a_grid_counts_its_values(steps: int, share: float) -> None:
    entry = FloatRange(float=(0.0, 1.0))
    for end in ENDS:
        found = band(entry, end, share, steps)
        values = [v for v in levels(entry, steps) if isinstance(v, float)]
        held = [v for v in values if found.holds(v)]
        assert len(held) / steps == pytest.approx(found.share)
        assert len(held) >= 1
        assume(len(held) > 1)
        assert found.share <= share + 1e-9


def test_stopped_trials_rank_below_completed_ones_by_how_far_they_came() -> None:
    made = [
        Made({1: 0.9}, state="PRUNED"),
        Made({1: 0.5, 2: 0.3}, state="PRUNED"),
        Made({1: 0.1, 2: 0.1, 3: 0.1}),
        Made({}, state="COLLAPSED"),
        Made({1: 0.1, 2: 0.2, 3: 0.2}),
    ]
    trials = search(made, rungs=(1, 2)).of("search")
    order = sorted(trials, key=goodness, reverse=True)
    assert [t.number for t in order] == [4, 2, 1, 0, 3]


def test_failed_repeated_inherited_and_given_trials_are_left_out() -> None:
    sweep = sweep_of(space=SPACE, points=[{"optim.lr": 0.1, "head.depth": 1, "optim.momentum": 0.0}])
    made = drawn(sweep, beyond, 13)
    more = [
        Made({1: 9.0}, made[0].params, state="FAILED"),
        Made({}, made[0].params, duplicate_of="t0000"),
        Made({3: 9.0}, made[0].params, parent="t0000"),
    ]
    found = boundaries(read_search(made_events(sweep, [*made, *more])))
    assert {s.trials for s in found.ends} == {12}


def test_too_few_trials_are_refused_with_the_number_that_is_needed() -> None:
    found = found_in(beyond, 11)
    assert found.ends == ()
    assert found.refused[0] == "search, optim.lr: needs 12 trials, has 11"


def test_a_sampler_that_learns_makes_p_descriptive() -> None:
    assert all(s.even for s in found_in(beyond, 20).ends)
    assert not any(s.even for s in found_in(beyond, 20, sampler="tpe").ends)


def test_choices_and_fixed_keys_have_no_ends() -> None:
    space = {"head.kind": {"choice": ["mlp", "none"]}, "optim.lr": {"float": [0.1, 0.1]}}
    assert found_in(lambda _: 0.1, 20, space=space) == Boundaries((), ())
