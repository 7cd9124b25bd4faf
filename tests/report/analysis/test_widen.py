"""Wider ranges: on their own scale, never narrower, and never beyond what the schema allows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.analysis.widen import End, Limit, limit_of, widened
from ablate.spec.space import FloatRange, IntRange


@pytest.mark.parametrize(
    ("key", "end", "limit"),
    [
        ("optim.momentum", "low", Limit(0.0)),
        ("optim.momentum", "high", Limit(1.0, open=True)),
        ("loss.temperature", "low", Limit(0.0, open=True)),
        ("loss.temperature", "high", Limit(10.0)),
        ("loss.margin.angular", "low", Limit(-0.5)),
        ("optim.lr", "high", Limit(math.inf)),
        ("head.depth", "high", Limit(8.0)),
        ("head.sparsity.weight", "low", Limit(0.0)),
    ],
)
def test_limits_are_those_of_the_schema(key: str, end: End, limit: Limit) -> None:
    assert limit_of(key, end) == limit


@pytest.mark.parametrize(
    ("entry", "end", "bounds"),
    [
        (FloatRange(float=(0.1, 1.0), log=True), "high", (0.1, 3.2)),
        (FloatRange(float=(0.1, 1.0), log=True), "low", (0.032, 1.0)),
        (FloatRange(float=(1.0, 2.0)), "high", (1.0, 2.5)),
        (FloatRange(float=(0.1, 1.0)), "low", (0.05, 1.0)),  # half-way to 0, which it must stay above
        (IntRange(int=(2, 10)), "high", (2, 14)),
        (IntRange(int=(2, 11), step=4), "high", (2, 14)),  # from 10, the last that is drawn
        (IntRange(int=(2, 3)), "low", (1, 3)),
        (IntRange(int=(4, 64), log=True), "high", (4, 256)),
        (IntRange(int=(4, 64), log=True), "low", (1, 64)),
    ],
)
def test_an_end_moves_by_half_of_the_width(
    entry: FloatRange | IntRange, end: End, bounds: tuple[float, float]
) -> None:
    assert widened(entry, [end], 0.5, "optim.lr") == pytest.approx(bounds)


def test_a_range_stops_at_the_limit_of_its_key() -> None:
    assert widened(FloatRange(float=(1.0, 9.0)), ["high"], 0.5, "loss.temperature") == (1.0, 10.0)
    assert widened(FloatRange(float=(1.0, 10.0)), ["high"], 0.5, "loss.temperature") == (1.0, 10.0)
    low, high = widened(FloatRange(float=(0.5, 0.99)), ["high"], 0.5, "optim.momentum")
    assert (low, 0.99 < high < 1.0) == (0.5, True)
    assert widened(IntRange(int=(1, 7)), ["low", "high"], 0.5, "head.depth") == (1, 8)


@given(
    low=st.floats(1e-6, 9.9),
    share=st.sampled_from([0.5, 0.25, 0.125]),
    reach=st.floats(0.001, 1),
    log=st.booleans(),
    ends=st.sampled_from([["low"], ["high"], ["low", "high"]]),
)
def test_a_wider_range_holds_the_old_one_and_no_forbidden_value(
    low: float, share: float, reach: float, log: bool, ends: list[End]
) -> None:
    high = low + reach * (10.0 - low)
    new_low, new_high = widened(FloatRange(float=(low, high), log=log), ends, share, "loss.temperature")
    assert 0 < new_low <= low <= high <= new_high <= 10
    assert ("low" in ends) == (new_low < low)
    assert ("high" in ends and high < 10) == (new_high > high)


@given(
    low=st.integers(1, 8),
    width=st.integers(1, 7),
    step=st.integers(1, 3),
    log=st.booleans(),
    ends=st.sampled_from([["low"], ["high"], ["low", "high"]]),
)
def test_a_wider_range_of_whole_numbers_keeps_to_its_steps(
    low: int, width: int, step: int, log: bool, ends: list[End]
) -> None:
    high = min(low + width, 8)
    entry = IntRange(int=(low, high), log=log, step=1 if log else step)
    new_low, new_high = widened(entry, ends, 0.5, "head.depth")
    last = low + (high - low) // entry.step * entry.step
    assert 1 <= new_low <= low
    assert last <= new_high <= 8
    assert (low - new_low) % entry.step == 0
    assert (new_high - last) % entry.step == 0 or new_high == high
