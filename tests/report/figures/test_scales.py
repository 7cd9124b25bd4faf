"""Scales show every value, and their ticks are round numbers that say what they are."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ablate.report.figures.scales import (
    Scale,
    Tick,
    aligned,
    decimals,
    domain,
    linear_ticks,
    log_ticks,
    short,
)

NUMBERS = st.floats(-1e200, 1e200, allow_nan=False)
POSITIVE = st.floats(1e-200, 1e200)
_LOWERED = str.maketrans(
    "\u2212\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "--0123456789"
)


def read(label: str) -> float:
    """The number that a reader sees."""
    mantissa, _, power = (
        label.rpartition("10")
        if label[-1:] in "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
        else (label, "", "")
    )
    sign = -1 if mantissa == "\u2212" else 1
    size = mantissa.rstrip("\u00d7").translate(_LOWERED)
    if not power:
        return float(size)
    return (sign if size in ("", "-") else float(size)) * 10.0 ** float(power.translate(_LOWERED))


@given(st.lists(NUMBERS, min_size=1), st.booleans())
def test_every_value_is_within_the_plot_and_in_order(values: list[float], log: bool) -> None:
    if log:
        values = [abs(v) for v in values]
        assume(all(v > 1e-200 for v in values))
    scale = Scale(*domain(values, log=log), 100.0, 700.0, log)
    places = [scale.at(v) for v in sorted(values)]
    assert all(100 - 1e-6 <= place <= 700 + 1e-6 for place in places)
    assert places == sorted(places)


@given(st.lists(NUMBERS, min_size=1), st.integers(2, 10))
def test_linear_ticks_are_round_evenly_spaced_and_few(values: list[float], most: int) -> None:
    low, high = domain(values)
    ticks = linear_ticks(low, high, most)
    check_labels(ticks)
    assert 1 <= len(ticks) <= 1.3 * most + 2
    span = high - low
    assert all(low - 1e-5 * span <= t.value <= high + 1e-5 * span for t in ticks)
    steps = [b.value - a.value for a, b in pairwise(ticks)]
    assert all(step == pytest.approx(steps[0]) for step in steps)


@given(st.lists(POSITIVE, min_size=1), st.integers(2, 10))
def test_log_ticks_rise_and_say_what_they_are(values: list[float], most: int) -> None:
    low, high = domain(values, log=True)
    ticks = log_ticks(low, high, most)
    check_labels(ticks)
    assert 1 <= len(ticks) <= 1.3 * most + 2
    assert all(low * (1 - 1e-6) <= t.value <= high * (1 + 1e-6) for t in ticks)


def check_labels(ticks: list[Tick]) -> None:
    assert [t.value for t in ticks] == sorted({t.value for t in ticks})
    assert len({t.label for t in ticks}) == len(ticks)
    for tick in ticks:
        assert read(tick.label) == pytest.approx(tick.value, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.013, 0.027, ["\u22120.01", "0.00", "0.01", "0.02"]),
        (0.0, 2.1e-5, ["0", *(f"{m}\u00d710\u207b\u2075" for m in ("0.5", "1.0", "1.5", "2.0"))]),
        (1.0, 500_000.0, ["100000", "200000", "300000", "400000", "500000"]),
    ],
)  # fmt: skip
def test_linear_labels(low: float, high: float, labels: list[str]) -> None:
    assert [t.label for t in linear_ticks(low, high, 5)] == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.9, 1100.0, ["1", "10", "100", "1000"]),
        (0.9, 33.0, ["1", "2", "5", "10", "20"]),
        (3e-4, 0.12, ["0.001", "0.01", "0.1"]),
        (1e-9, 10.0, ["10\u207b\u2078", "10\u207b\u2076", "10\u207b\u2074", "10\u207b\u00b2", "10\u2070"]),
        (0.52, 0.58, ["0.52", "0.53", "0.54", "0.55", "0.56", "0.57", "0.58"]),
    ],
)  # fmt: skip
def test_log_labels(low: float, high: float, labels: list[str]) -> None:
    assert [t.label for t in log_ticks(low, high, 6)] == labels


@pytest.mark.parametrize("value", [0.0, 3.0, -0.2, 1e-9, 1e12])
def test_equal_values_get_room_on_both_sides(value: float) -> None:
    low, high = domain([value, value])
    assert low < value < high


def test_what_cannot_be_drawn_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="lr: there are no points"):
        domain([], "lr")
    with pytest.raises(ValueError, match="lr: 0 cannot be drawn on a logarithmic scale"):
        domain([0.0, 1.0], "lr", log=True)
    with pytest.raises(ValueError, match="too far apart"):
        domain([-1e308, 1e308])
    with pytest.raises(ValueError, match="beyond what a logarithmic scale"):
        domain([1e-300, 1.0], log=True)


@given(st.lists(st.floats(-1e5, 1e5).map(lambda v: round(v, 3)), min_size=2, unique=True))
def test_aligned_numbers_tell_the_ends_apart(values: list[float]) -> None:
    places = decimals(values)
    said = [aligned(v, places) for v in (min(values), max(values))]
    assert said[0] != said[1]


@given(NUMBERS)
def test_short_numbers_are_near(value: float) -> None:
    assert read(short(value)) == pytest.approx(value, rel=6e-3)
    assert not math.isnan(read(short(value)))


def test_zero_has_no_sign() -> None:
    assert aligned(-0.0001, 2) == "0.00"
