"""Scales and their ticks: values to units of a drawing, at round numbers that a reader expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

MINUS = "\u2212"
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_EQUAL = 1e-9  # a span below this share of the values is rounding
_LEAST = 1e-250  # a span below this is drawn as none
_SMALL, _LARGE = Decimal("1e-4"), Decimal("1e6")  # beyond these numbers are written with powers of ten


@dataclass(frozen=True)
class Tick:
    value: float
    label: str


@dataclass(frozen=True)
class Scale:
    """``low`` to ``high`` of the data lie at ``start`` to ``end`` of the drawing. ``whole``: values are whole
    numbers, and so are ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    @classmethod
    def of(cls, values: Iterable[float], name: str, start: float, end: float, log: bool = False) -> Scale:
        """The scale that shows ``values``, called ``name`` in errors; see ``domain``."""
        found = list(values)
        whole = not log and all(float(v).is_integer() for v in found)
        return cls(*domain(found, name, log=log), start, end, log, whole)

    def at(self, value: float) -> float:
        """Where ``value`` is drawn."""
        share = (self._turned(value) - self._turned(self.low)) / (
            self._turned(self.high) - self._turned(self.low)
        )
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[Tick]:
        """About ``most`` ticks."""
        if self.log:
            return log_ticks(self.low, self.high, most)
        return linear_ticks(self.low, self.high, most, whole=self.whole)

    def spaced(self, room: Callable[[str], float], most: int) -> list[Tick]:
        """As many ticks as leave each label the ``room`` that it needs along the axis."""
        for count in range(most, 1, -1):
            found = self.ticks(count)
            pairs = pairwise(found)
            if all(abs(self.at(b.value) - self.at(a.value)) > _between(room, a, b) for a, b in pairs):
                return found
        return self.ticks(2)[:1]

    def _turned(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _between(room: Callable[[str], float], a: Tick, b: Tick) -> float:
    return (room(a.label) + room(b.label)) / 2


def domain(
    values: Iterable[float], name: str = "", *, log: bool = False, pad: float = 0.04
) -> tuple[float, float]:
    """From the lowest to the highest of ``values``, and ``pad`` of that on both sides; equal values get room.
    ``name`` is what errors call them.

    ValueError: there are none, they are too far apart to draw, or not positive on a logarithmic scale.
    """
    found = list(values)
    if not found:
        raise ValueError(f"{name}: there are no points to draw")
    low, high = min(found), max(found)
    if log and low <= 0:
        raise ValueError(f"{name}: {low:g} cannot be drawn on a logarithmic scale")
    if not math.isfinite(2 * (high - low)):
        raise ValueError(f"{name}: {low:g} and {high:g} are too far apart to draw")
    if log and (low < _LEAST or high > 1 / _LEAST):
        raise ValueError(f"{name}: {low:g} to {high:g} is beyond what a logarithmic scale can show")
    if log:
        return _log_domain(math.log10(low), math.log10(high), pad)
    largest = max(abs(low), abs(high))
    if high - low <= max(_EQUAL * largest, _LEAST):
        room = 0.05 * largest if largest > _LEAST else 1.0
        return low - room, high + room
    return low - pad * (high - low), high + pad * (high - low)


def _log_domain(low: float, high: float, pad: float) -> tuple[float, float]:
    room = pad * (high - low) if high - low > _EQUAL else 0.3
    return 10 ** (low - room), 10 ** (high + room)


def linear_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[Tick]:
    """About ``most`` multiples of 1, 2, 2.5 or 5 times a power of ten within ``low`` to ``high``; only whole
    numbers if ``whole``."""
    raw = (high - low) / max(most, 1)
    exponent = math.floor(math.log10(raw)) - 1
    steps = (Decimal(unit).scaleb(exponent) for unit in (10, 20, 25, 50, 100))
    wide = (step for step in steps if float(step) >= 0.8 * raw)
    step = next((step for step in wide if not whole or step == step.to_integral_value()), Decimal(1))
    size = float(step)
    first, last = math.ceil(low / size - 1e-6), math.floor(high / size + 1e-6)
    values = [i * step for i in range(first, last + 1)]
    return [Tick(float(v), label) for v, label in zip(values, labels(values), strict=True)]


def log_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Powers of ten; within few decades also 2 and 5 times them, within one other round numbers."""
    ends = math.ceil(math.log10(low) - _EQUAL), math.floor(math.log10(high) + _EQUAL)
    decades = range(ends[0], ends[1] + 1)
    if len(decades) >= 3 or len(decades) >= most:
        apart = math.ceil(len(decades) / max(most, 1))
        values = [Decimal(1).scaleb(e) for e in decades if e % apart == 0]
    else:
        every = (Decimal(m).scaleb(e) for e in range(ends[0] - 1, ends[1] + 1) for m in (1, 2, 5))
        values = [v for v in every if low * (1 - _EQUAL) <= float(v) <= high * (1 + _EQUAL)]
        if len(values) > most and len(decades) > 1:
            values = [Decimal(1).scaleb(e) for e in decades]
        if len(values) < 2:
            return linear_ticks(low, high, most)
    return [Tick(float(v), label) for v, label in zip(values, labels(values, each=True), strict=True)]


def minor_ticks(low: float, high: float) -> list[float]:
    """2 to 9 times the powers of ten, which show that an axis is logarithmic; none over many decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if last - first > 6:
        return []
    values = (m * 10.0**e for e in range(first, last) for m in range(2, 10))
    return [v for v in values if low <= v <= high]


def labels(values: list[Decimal], *, each: bool = False) -> list[str]:
    """Ticks as texts, with one number of decimals, or one power of ten if they are very small or large.

    ``each``: every tick has the decimals and the power of its own, as on logarithmic axes.
    """
    sizes = [abs(v) for v in values if v]
    if not sizes or (min(sizes) >= _SMALL and max(sizes) < _LARGE):
        return [signed(_trimmed(v) if each else _fixed(v, values)) for v in values]
    power = max(v.adjusted() for v in values if v)
    shifted = [v.scaleb(-power) for v in values]
    if each:
        return [_powered(_trimmed(v.scaleb(-v.adjusted())), v.adjusted()) for v in values]
    return [_powered(_fixed(v, shifted), power) if v else "0" for v in shifted]


def _trimmed(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _fixed(value: Decimal, among: list[Decimal]) -> str:
    exponents = (v.normalize().as_tuple().exponent for v in among)
    return f"{value:.{max(0, *(-e for e in exponents if isinstance(e, int)), 0)}f}"


def _powered(mantissa: str, power: int) -> str:
    raised = f"10{str(power).translate(_RAISED)}"
    return signed(raised if mantissa == "1" else f"{mantissa}\u00d7{raised}")


def signed(text: str) -> str:
    """A number's text with a real minus sign."""
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def short(value: float) -> str:
    """A number in four digits, as tooltips and cells say it."""
    if value and not float(_SMALL) <= abs(value) < float(_LARGE):
        mantissa, power = f"{value:.2e}".split("e")
        return _powered(mantissa.rstrip("0").rstrip("."), int(power))
    return signed(f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}")


def decimals(values: Iterable[float]) -> int | None:
    """With how many decimals numbers side by side tell each other apart; None: not with a fixed number."""
    found = list(values)
    largest = max(map(abs, found))
    span = max(found) - min(found)
    if span <= _EQUAL * largest:
        places = 2 - math.floor(math.log10(largest)) if largest else 0
    else:
        places = 1 - math.floor(math.log10(span))
    return None if largest >= float(_LARGE) or places > 6 else max(places, 0)


def aligned(value: float, places: int | None) -> str:
    """``value`` with the decimals that ``decimals`` found."""
    if places is None:
        return short(value)
    text = f"{value:.{places}f}"
    return signed(text.removeprefix("-") if float(text) == 0 else text)
