"""Effects of the factors of a factorial design: of each alone, and of each two together.

An effect is estimated in every unit from all arms, which uses each trial several times over: the main effect
of a factor is the mean score of the arms on its second level minus that of the arms on its first. The effect
of a pair is half of what the second factor adds to the first one's: zero where they add up. These are
explored, not declared: p-values are of the sign-flip test after Benjamini and Hochberg, over all effects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

from ablate.report.confirm import Confirmation
from ablate.spec.arms import ArmsSpec
from ablate.statistics.intervals import Interval, t_interval
from ablate.statistics.multiplicity import benjamini_hochberg
from ablate.statistics.sign_flip import sign_flip_p

_FEWEST_FOR_PAIRS = 5  # factors of a half fraction: with fewer, pairs cannot be told from what else they are


@dataclass(frozen=True)
class Effect:
    """``differences`` has one a unit, larger is better; ``p`` is adjusted for all effects of the sweep."""

    factors: tuple[str, ...]
    differences: tuple[float, ...]
    mean: float
    interval: Interval | None
    p: float | None


def effects(found: Confirmation) -> tuple[Effect, ...]:
    """Of the factors with two levels; none without a full or half factorial, or if a unit lacks an arm."""
    spec = found.sweep.get("arms")
    arms = ArmsSpec.model_validate(spec) if spec else None
    if arms is None or arms.design not in ("full", "half"):
        return ()
    scores = _by_unit(found, list(arms.settings))
    if scores is None or len(scores) < 2:
        return ()
    signs = {name: _signs(arms, name) for name, levels in arms.factors.items() if len(levels) == 2}
    sign = 1 if found.declared["mode"] == "max" else -1
    terms: list[tuple[str, ...]] = [(name,) for name in signs]
    if arms.design == "full" or len(signs) >= _FEWEST_FOR_PAIRS:
        terms += combinations(signs, 2)
    contrasts = {
        term: [sign * _contrast(unit, [signs[name] for name in term]) for unit in scores] for term in terms
    }
    p = [sign_flip_p(values) for values in contrasts.values()]
    adjusted = benjamini_hochberg([1.0 if each is None else each for each in p])
    return tuple(
        Effect(term, tuple(values), math.fsum(values) / len(values), t_interval(values), q)
        for (term, values), q in zip(contrasts.items(), adjusted, strict=True)
    )


def _by_unit(found: Confirmation, arms: list[str]) -> list[dict[str, float]] | None:
    """The mean score of every arm in every unit."""
    units: list[dict[str, float]] = []
    for part in found.parts:
        unit = {}
        for arm in arms:
            scores = [found.score((arm, part.replicate, seed)) for seed in part.seeds]
            known = [score for score in scores if score is not None]
            if not part.whole or len(known) < len(scores):
                return None
            unit[arm] = math.fsum(known) / len(known)
        units.append(unit)
    return units


def _signs(arms: ArmsSpec, factor: str) -> dict[str, int]:
    """-1 for arms on the first level of the factor, 1 for those on the second."""
    first = next(iter(arms.factors[factor]))
    return {arm: -1 if levels[factor] == first else 1 for arm, levels in arms.levels().items()}


def _contrast(unit: dict[str, float], signs: list[dict[str, int]]) -> float:
    return 2 / len(unit) * math.fsum(score * math.prod(s[arm] for s in signs) for arm, score in unit.items())
