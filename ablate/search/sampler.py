"""Suggestions from Optuna, made replayable, and honest reports back to it.

The study lives in memory and is rebuilt from the ledger. For every ask a new sampler is seeded from (sweep
seed, number of the ask), so that a suggestion depends on nothing but the study's content: not on how many
numbers were drawn before, nor on a crash in between (but in its last digit on the processor's vector
instructions, so who goes on from a ledger gives ``ask`` what it recorded). Running trials are in the
study as RUNNING, which TPE counts as bad ("constant liar") and so spreads parallel trials out.

What the sampler is told of a finished trial:

=============================  ==========================================================================
COMPLETE                       its final value
PRUNED                         its curve up to the epoch where it was stopped, never as a final value
COLLAPSED, or impossible       COMPLETE with the worst value seen so far, and infeasible by a constraint.
                               The region is at fault, and Optuna's TPE ignores FAIL. The worst value alone
                               would not do: TPE ranks every COMPLETE above every PRUNED trial, so that
                               under early stopping collapsed trials would count among its good ones.
FAILED                         FAIL with the reason: an accident says nothing about the region
=============================  ==========================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.trial import TrialState as OptunaState

from ablate.spec.draw import draw
from ablate.spec.sampler import SamplerSpec
from ablate.spec.search import SearchSpec
from ablate.spec.space import Choice, Distribution, IntRange, Scalar
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec


class Study:
    """An in-memory Optuna study over one space. Values are in the objective's own direction."""

    def __init__(self, search: SearchSpec, space: Mapping[str, Distribution], base: TrialSpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.space, self.base = search, space, base
        direction = "maximize" if search.objective.mode == "max" else "minimize"
        self.optuna = optuna.create_study(direction=direction)
        self._running: dict[int, optuna.Trial] = {}
        self._worst: float | None = None

    def ask(self, number: int, recorded: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
        """Parameters of search trial ``number``; it is running until told. Asks come in order, from 0.

        Those that a ledger has ``recorded`` are taken instead of drawing anew, as far as the space allows.
        """
        seed = stream_seed("sampler", self.search.seed, number) % 2**32
        self.optuna.sampler = _sampler(self.search.sampler, seed)
        if recorded is not None:
            self.optuna.enqueue_trial(dict(recorded))
        trial = self.optuna.ask()
        if trial.number != number:
            raise RuntimeError(f"ask {number} became Optuna's trial {trial.number}")
        self._running[number] = trial
        return draw(self.space, lambda key, entry: _suggest(trial, key, entry), self.base)

    def complete(self, number: int, value: float) -> None:
        self._see(value)
        self.optuna.tell(self._running.pop(number), value)

    def pruned(self, number: int, curve: Mapping[int, float]) -> None:
        """``curve`` maps epochs to finite values."""
        trial = self._running.pop(number)
        for epoch, value in sorted(curve.items()):
            self._see(value)
            trial.report(value, epoch)
        self.optuna.tell(trial, state=OptunaState.PRUNED)

    def worst(self, number: int, reason: str) -> None:
        """The configuration itself is at fault: keep away from it."""
        trial = self._running.pop(number)
        trial.set_user_attr("reason", reason)
        trial.set_constraint("healthy", 1.0)
        self.optuna.tell(trial, 0.0 if self._worst is None else self._worst)

    def failed(self, number: int, reason: str) -> None:
        trial = self._running.pop(number)
        trial.set_user_attr("reason", reason)
        self.optuna.tell(trial, state=OptunaState.FAIL)

    def _see(self, value: float) -> None:
        pick = min if self.search.objective.mode == "max" else max
        self._worst = value if self._worst is None else pick(value, self._worst)


def _sampler(spec: SamplerSpec, seed: int) -> optuna.samplers.BaseSampler:
    if spec.kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # `group` is marked experimental; the spec says so where a user chooses it.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=spec.startup,
            multivariate=spec.multivariate,
            group=spec.group,
            constant_liar=True,
            seed=seed,
        )


def _suggest(trial: optuna.Trial, key: str, entry: Distribution) -> Scalar:
    value: Scalar
    if isinstance(entry, Choice):
        value = trial.suggest_categorical(key, entry.choice)
    elif isinstance(entry, IntRange):
        value = trial.suggest_int(key, *entry.int, step=entry.step, log=entry.log)
    else:
        value = trial.suggest_float(key, *entry.float, log=entry.log)
    return value
