"""Optuna's importance evaluators over trials of ours. Imports Optuna, which takes a second: load it late."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
)
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from ablate.optuna_space import distribution
from ablate.spec.space import Choice, Distribution, IntRange

_DEPTH = 6  # of fANOVA's trees: the time grows with the square of their leaves, and deeper ones fit noise


class _Given(optuna.study.Study):  # type: ignore[misc]
    """A study of these trials, without the copies that a storage makes: one is needed for every resample."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__(*_empty())
        self._given_trials = list(trials)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:  # noqa: ARG002
        return [t for t in self._given_trials if states is None or t.state in states]


@cache
def _empty() -> tuple[str, optuna.storages.InMemoryStorage]:
    """The name and the storage of a study to be minimised, in which nothing is ever stored."""
    storage = optuna.storages.InMemoryStorage()
    return optuna.create_study(storage=storage, direction="minimize").study_name, storage


def frozen(
    params: Sequence[Mapping[str, Any]],
    scores: Sequence[float],
    space: Mapping[str, Distribution],
    *,
    logarithms: bool = False,
) -> list[FrozenTrial]:
    """Completed trials in Optuna's form, larger scores better; parameters outside ``space`` are left out.

    ``logarithms``: of a log range take the logarithm itself, on a linear range. Optuna's fANOVA would else
    weigh the values of a log range as if they had been drawn evenly between its ends.
    """
    logs = {k for k, e in space.items() if logarithms and not isinstance(e, Choice) and e.log}
    entries = {k: _logarithm(e) if k in logs else distribution(e) for k, e in space.items()}
    plain = [{k: math.log(v) if k in logs else v for k, v in p.items()} for p in params]
    return [_trial(i, p, -score, entries) for i, (p, score) in enumerate(zip(plain, scores, strict=True))]


def ped_anova(trials: Sequence[FrozenTrial], quantile: float) -> dict[str, float]:
    """Importance of each parameter for being among the best share ``quantile``; the sum is 1, or 0."""
    return _shares(PedAnovaImportanceEvaluator(target_quantile=quantile), trials)


def fanova(trials: Sequence[FrozenTrial], trees: int) -> dict[str, float]:
    """Share of the objective's variance that each parameter explains alone, of that which all do so.

    The sum is 1, or 0 where the objective does not vary.
    """
    try:
        return _shares(FanovaImportanceEvaluator(n_trees=trees, max_depth=_DEPTH, seed=0), trials)
    except RuntimeError:  # Optuna's word for an objective without variance
        return {key: 0.0 for trial in trials for key in trial.params}


def _shares(evaluator: BaseImportanceEvaluator, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare branches: each share comes with the number of its trials
        found = evaluator.evaluate(_Given(trials))
    total = sum(found.values())
    return {key: float(value / total) if total > 0 else 0.0 for key, value in found.items()}


def _trial(
    number: int, params: Mapping[str, Any], loss: float, entries: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    inside = {key: value for key, value in params.items() if key in entries}
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.COMPLETE,
        value=loss,
        datetime_start=None,
        datetime_complete=None,
        params=inside,
        distributions={key: entries[key] for key in inside},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _logarithm(entry: Distribution) -> BaseDistribution:
    assert not isinstance(entry, Choice)
    low, high = entry.int if isinstance(entry, IntRange) else entry.float
    return FloatDistribution(math.log(low), math.log(high))
