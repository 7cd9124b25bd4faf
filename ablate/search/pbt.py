"""Population based training (Jaderberg et al., arXiv 1711.09846, section 3) by generations.

The paper lets members exchange weights whenever one is ready, so that what happens depends on who came first.
Here all members wait for one another at the end of a generation, and so the exchange depends on nothing but
their values there. Truncation selection: the worst end, and in the place of each a new trial goes on from the
weights of one of the best, with its parameters perturbed or drawn anew.

Pure: randomness is the caller's generator, of which only ``random()`` is used, whose sequence Python promises
to keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from ablate.spec.draw import matches
from ablate.spec.scheduler import PBT
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange, Scalar

T = TypeVar("T")


def is_boundary(scheduler: PBT, epoch: int, last: int) -> bool:
    """Whether a generation ends after ``epoch`` of ``last`` epochs; after the last nothing is exchanged."""
    return 0 < epoch < last and epoch % scheduler.every == 0


def worst(scheduler: PBT, ranked: Sequence[str]) -> list[str]:
    """Of the members, best first, those that end."""
    return list(ranked[len(ranked) - int(scheduler.quantile * len(ranked)) :])


def parent(scheduler: PBT, ranked: Sequence[str], rng: Random) -> str:
    """Of the members, best first, the one whose weights a new one goes on from: any of the best."""
    return _pick(ranked[: max(1, int(scheduler.quantile * len(ranked)))], rng)


def mutate(
    params: Mapping[str, Scalar], scheduler: PBT, space: Mapping[str, Distribution], rng: Random
) -> dict[str, Scalar]:
    """``params`` with those of the keys to ``mutate`` that it has drawn anew or perturbed in ``space``."""
    result = dict(params)
    for key in scheduler.mutate:
        if key not in params:
            continue  # its `when` does not hold
        if rng.random() < scheduler.resample:
            result[key] = _drawn(space[key], rng)
        else:
            result[key] = _perturbed(params[key], space[key], scheduler.factors, rng)
    return result


def _drawn(entry: Distribution, rng: Random) -> Scalar:
    if isinstance(entry, Choice):
        return _pick(entry.choice, rng)
    low, high = entry.float if isinstance(entry, FloatRange) else entry.int
    share = rng.random()
    value = math.exp(_between(math.log(low), math.log(high), share)) if entry.log else None
    if isinstance(entry, FloatRange):
        return _clipped(_between(low, high, share) if value is None else value, low, high)
    if value is not None:
        return int(_clipped(round(value), low, high))
    return entry.int[0] + entry.step * int(share * ((entry.int[1] - entry.int[0]) // entry.step + 1))


def _perturbed(value: Scalar, entry: Distribution, factors: Sequence[float], rng: Random) -> Scalar:
    if isinstance(entry, Choice):
        place = _place(value, entry.choice) + _pick((-1, 1), rng)
        return entry.choice[int(_clipped(place, 0, len(entry.choice) - 1))]
    assert isinstance(value, (int, float))
    factor = _pick(factors, rng)
    if isinstance(entry, FloatRange):
        return _clipped(value * factor, *entry.float)
    return _moved(int(value), factor, entry)


def _moved(value: int, factor: float, entry: IntRange) -> int:
    """To the nearest whole number of the range, and by one step at least."""
    low, high = entry.int
    steps, most = round((value * factor - low) / entry.step), (high - low) // entry.step
    if low + steps * entry.step == value and factor != 1:
        steps += 1 if factor > 1 else -1
    return low + entry.step * int(_clipped(steps, 0, most))


def _place(value: Scalar, choices: Sequence[Scalar]) -> int:
    """Where ``value`` is; ``true`` is not 1."""
    return next(i for i, choice in enumerate(choices) if matches(choice, value))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _pick(values: Sequence[T], rng: Random) -> T:
    return values[int(rng.random() * len(values))]
