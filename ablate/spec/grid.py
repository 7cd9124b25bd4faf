"""Spaces as finite sets: the values of each key, and every combination of them that a draw could give."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ablate.spec.draw import draw
from ablate.spec.space import Choice, Distribution, IntRange, Scalar
from ablate.spec.trial import TrialSpec


def levels(entry: Distribution, steps: int) -> tuple[Scalar, ...]:
    """Every value of a choice or an integer range; of a real range ``steps`` values from end to end."""
    if isinstance(entry, Choice):
        return entry.choice
    if isinstance(entry, IntRange):
        low, high = entry.int
        return tuple(range(low, high + 1, entry.step))
    count = 1 if entry.float[0] == entry.float[1] else steps
    return tuple(value_at(entry, i / max(count - 1, 1)) for i in range(count))


def combinations(
    space: Mapping[str, Distribution], steps: int, base: TrialSpec
) -> Iterator[dict[str, Scalar]]:
    """Each point of the grid once: ``when`` leaves a key out, and so its values multiply nothing."""
    values = {key: levels(entry, steps) for key, entry in space.items()}
    place: list[int] = []  # of each key drawn so far, in the order of drawing: an odometer
    while True:
        drawn: list[str] = []

        def suggest(key: str, _: Distribution, drawn: list[str] = drawn) -> Scalar:
            if len(drawn) == len(place):
                place.append(0)
            drawn.append(key)
            return values[key][place[len(drawn) - 1]]

        yield draw(space, suggest, base)
        while place and place[-1] + 1 == len(values[drawn[len(place) - 1]]):
            place.pop()
        if not place:
            return
        place[-1] += 1


def value_at(entry: Distribution, share: float) -> Scalar:
    """The value that lies at ``share``, in [0, 1], of the way through a distribution's values."""
    if isinstance(entry, Choice):
        return entry.choice[min(int(share * len(entry.choice)), len(entry.choice) - 1)]
    if isinstance(entry, IntRange):
        low, high = entry.int
        if entry.log:
            return min(max(round(_between(low - 0.5, high + 0.5, share, log=True)), low), high)
        count = (high - low) // entry.step + 1
        return low + entry.step * min(int(share * count), count - 1)
    start, end = entry.float
    return min(max(_between(start, end, share, log=entry.log), start), end)


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    if log:
        return float(10 ** _between(math.log10(low), math.log10(high), share, log=False))
    return low + share * (high - low)
