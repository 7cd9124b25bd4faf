"""A range with an end moved outwards: on its own scale, and as far as the trial's schema lets its key go."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ablate.spec.paths import slots
from ablate.spec.space import FloatRange, IntRange
from ablate.spec.trial import TrialSpec

DIGITS = 2  # of a new end

End = Literal["low", "high"]
Range = FloatRange | IntRange


@dataclass(frozen=True)
class Limit:
    """What a key may be at most, at a high end, or at least, at a low one; ``open``: not the value itself."""

    value: float
    open: bool = False

    def forbids(self, value: float, end: End) -> bool:
        over = value - self.value if end == "high" else self.value - value
        return over > 0 or (self.open and over == 0)


def limit_of(key: str, end: End) -> Limit:
    """The bound of a trial's key; where kinds of a section differ, the loosest. Infinite without one."""
    names = ("le", "lt") if end == "high" else ("ge", "gt")
    found = []
    for slot in slots(TrialSpec, key):
        given = [(getattr(m, n, None), n == names[1]) for m in slot.field.metadata for n in names]
        limits = [Limit(float(value), strict) for value, strict in given if value is not None]
        found.append(limits[0] if limits else Limit(math.inf if end == "high" else -math.inf))
    sign = 1 if end == "high" else -1
    return max(found, key=lambda limit: (sign * limit.value, not limit.open))


def bounds_of(entry: Range) -> tuple[float, float]:
    """Its two ends, as written."""
    return entry.float if isinstance(entry, FloatRange) else entry.int


def widened(entry: Range, ends: Iterable[End], share: float, key: str) -> tuple[float, float]:
    """The ends of ``entry``, of which ``ends`` are moved out by ``share`` of its width.

    Where that is further than ``key`` may go: to the limit, or half-way to one that it must stay short of.
    """
    low, high = bounds_of(entry)
    for end in ends:
        move = _whole if isinstance(entry, IntRange) else _real
        moved = move(entry, end, share, limit_of(key, end))
        low, high = (moved, high) if end == "low" else (low, moved)
    return low, high


def _real(entry: Range, end: End, share: float, limit: Limit) -> float:
    low, high = bounds_of(entry)
    sign, here = (1, high) if end == "high" else (-1, low)
    far: float = here * (high / low) ** (sign * share) if entry.log else here + sign * share * (high - low)
    if limit.forbids(far, end):
        far = (here + limit.value) / 2 if limit.open else limit.value
    rounded = float(f"{far:.{DIGITS}g}")
    return far if limit.forbids(rounded, end) or sign * (rounded - here) <= 0 else rounded


def _whole(entry: Range, end: End, share: float, limit: Limit) -> int:
    assert isinstance(entry, IntRange)
    low, high = entry.int
    last = low + (high - low) // entry.step * entry.step
    sign, here = (1, last) if end == "high" else (-1, low)
    far: float = here * (last / low) ** (sign * share) if entry.log else here + sign * share * (last - low)
    steps = max(1, round(abs(far - here) / entry.step))
    while steps and not _possible(entry, here + sign * steps * entry.step, end, limit):
        steps -= 1
    return here + sign * steps * entry.step


def _possible(entry: IntRange, value: int, end: End, limit: Limit) -> bool:
    return not limit.forbids(value, end) and not (entry.log and value < 1)
