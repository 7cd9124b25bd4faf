"""A search space in Optuna's terms, for the rooms that ask Optuna, show it, or have it explain a search."""

from __future__ import annotations

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ablate.spec.space import Choice, Distribution, IntRange


def distribution(entry: Distribution) -> BaseDistribution:
    """Optuna's form of one entry of the space."""
    if isinstance(entry, Choice):
        return CategoricalDistribution(entry.choice)
    if isinstance(entry, IntRange):
        return IntDistribution(*entry.int, step=entry.step, log=entry.log)
    return FloatDistribution(*entry.float, log=entry.log)
