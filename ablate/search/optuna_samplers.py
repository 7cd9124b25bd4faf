"""Optuna's samplers as a spec asks for them: each is made anew for one ask, so none has a memory."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from ablate.spec.sampler import CMAES, GP, NSGA2, TPE
from ablate.spec.scheduler import ASHA, HyperBand
from ablate.spec.search import SearchSpec
from ablate.spec.streams import stream_seed

_FEWEST_SOURCES = 10  # CMA-ES takes its first distribution from the best tenth of earlier trials


class Shelf(InMemoryStorage):  # type: ignore[misc]  # Optuna is not typed
    """Trials in memory, of which those that wait at a rung are shown as stopped there: that is what is known
    of them, and TPE would count them as bad while they run.

    ``waiting``: their numbers in Optuna.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[int] = set()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        if not self.waiting or states == (OptunaState.WAITING,):
            trials: list[FrozenTrial] = super().get_all_trials(study_id, deepcopy, states)
            return trials
        trials = super().get_all_trials(study_id, deepcopy)
        shown = [_stopped(trial) if trial.number in self.waiting else trial for trial in trials]
        return [trial for trial in shown if states is None or trial.state in states]


def _stopped(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = OptunaState.PRUNED
    return shown


def make(
    search: SearchSpec, seed: int, common: Mapping[str, BaseDistribution], earlier: Sequence[FrozenTrial]
) -> optuna.samplers.BaseSampler:
    """The sampler of ``search``, seeded; random for kinds that draw nothing by themselves.

    ``common`` are the keys that every trial has. Samplers that model one fixed set of keys are held to it:
    left to themselves they take those that all trials finished so far happen to have, which change, and
    CMA-ES falls back to random draws for good once they do. ``earlier`` are completed trials of earlier
    sweeps, of the numbers among the common keys; they give CMA-ES its first distribution.
    """
    spec = search.sampler
    with warnings.catch_warnings():
        # Experimental or deprecated options; the spec says so where a user chooses them.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        match spec:
            case TPE():
                return optuna.samplers.TPESampler(
                    n_startup_trials=spec.startup,
                    multivariate=spec.multivariate,
                    group=spec.group,
                    constant_liar=True,
                    seed=seed,
                )
            case GP():
                sampler = optuna.samplers.GPSampler(
                    n_startup_trials=spec.startup, warn_independent_sampling=False, seed=seed
                )
            case CMAES():
                warm = spec.sigma is None and len(earlier) >= _FEWEST_SOURCES
                common = {k: d for k, d in common.items() if is_number(d)}
                sampler = optuna.samplers.CmaEsSampler(
                    n_startup_trials=0 if warm else spec.startup,
                    sigma0=spec.sigma,
                    source_trials=list(earlier) if warm else None,
                    consider_pruned_trials=isinstance(search.scheduler, (ASHA, HyperBand)),
                    warn_independent_sampling=False,
                    seed=seed,
                )
            case NSGA2():
                sampler = optuna.samplers.NSGAIISampler(
                    population_size=spec.population,
                    mutation_prob=spec.mutation,
                    crossover_prob=spec.crossover,
                    seed=seed,
                )
            case _:
                return Keyed(seed)
    sampler.infer_relative_search_space = lambda study, trial: dict(common)  # noqa: ARG005
    return sampler


class Keyed(optuna.samplers.BaseSampler):  # type: ignore[misc]  # Optuna is not typed here
    """Draws at random, each key from its name and the seed alone: spaces share the draws of what they share.

    So two arms whose spaces differ in a few conditional keys try the same learning rates.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        one = optuna.samplers.RandomSampler(seed=stream_seed(f"key {param_name}", self._seed) % 2**32)
        return one.sample_independent(study, trial, param_name, param_distribution)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, which Optuna's Gaussian process uses, take one thread: the others belong to trials.

    Its numbers then also do not depend on how many there are.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_number(distribution: BaseDistribution) -> bool:
    """Whether CMA-ES can model it."""
    return not isinstance(distribution, optuna.distributions.CategoricalDistribution)
