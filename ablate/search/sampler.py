"""Suggestions, made replayable, and honest reports back to who makes them (Optuna, for most samplers).

The study lives in memory and is rebuilt from the ledger. For every ask a new sampler is seeded from (sweep
seed, number of the ask), so that a suggestion depends on nothing but the study's content: not on how many
numbers were drawn before, nor on a crash in between (but in its last digit on the processor's vector
instructions, so who goes on from a ledger gives ``ask`` what it recorded). Running trials are in the study as
RUNNING, which TPE counts as bad ("constant liar") and the Gaussian process as still to be seen, and so
parallel trials are spread out. The first asks are the ``points`` of the spec; grid and QMC are made here
(``search.grid``).

What the sampler is told of a finished trial:

=============================  ==========================================================================
COMPLETE                       its final values, and by how much it violates each constraint
PRUNED                         its curve up to the epoch where it was stopped, never as a final value
COLLAPSED, or impossible       COMPLETE with the worst values seen so far, and infeasible by a constraint.
                               The region is at fault, and Optuna's TPE ignores FAIL. The worst value alone
                               would not do: TPE ranks every COMPLETE above every PRUNED trial, so that
                               under early stopping collapsed trials would count among its good ones.
                               Until some value was seen, nothing is the worst: the trial stays RUNNING.
FAILED                         FAIL with the reason: an accident says nothing about the region
=============================  ==========================================================================

Of PRUNED trials TPE makes use, and CMA-ES under ASHA and HyperBand (their last value); the Gaussian process
and NSGA-II do not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.terminator import RegretBoundEvaluator
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from ablate.optuna_space import distribution
from ablate.search import optuna_samplers
from ablate.search.grid import GridPlan, quasi_random
from ablate.search.optuna_samplers import one_thread
from ablate.spec.draw import always, draw
from ablate.spec.front import Metrics, needed, violations
from ablate.spec.sampler import CMAES, GP, NSGA2, QMC, TPE, Exhaustive, Grid
from ablate.spec.search import SearchSpec
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange, Scalar
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec

_LOOK_EVERY = 5  # completed trials between two looks whether the search has converged
_LOOKED_AT = 500  # of the best trials, at most: memory grows with their square, time with their cube
_TOP_SHARE = 0.5  # of all trials, below that: Optuna's default
_DIRECTIONS = {"max": "maximize", "min": "minimize"}


class Study:
    """What is known of one space. Metrics are in their own direction.

    ``warm`` holds trials of earlier sweeps, as ``opened`` records them (``search.warm``).
    """

    def __init__(
        self,
        search: SearchSpec,
        space: Mapping[str, Distribution],
        base: TrialSpec,
        warm: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.space, self.base = search, space, base
        self._objectives = (search.objective, *search.tradeoffs)
        self._shelf = optuna_samplers.Shelf()
        directions = [_DIRECTIONS[o.mode] for o in self._objectives]
        self.optuna = optuna.create_study(storage=self._shelf, directions=directions)
        self._running: dict[int, optuna.Trial] = {}
        self._worst: list[float] = []  # of each objective
        self._worst_violations = [0.0] * len(violations(search, dict.fromkeys(needed(search), 0.0)))
        self._blamed: list[int] = []  # running until there is a worst value to tell
        self._completed = 0
        self._looked, self._reason = 0, ""
        common = {key: distribution(space[key]) for key in always(space, base)}
        self._common = {key: found for key, found in common.items() if not found.single()}
        spec = search.sampler
        self._grid = (
            GridPlan(spec, space, base, search.seed) if isinstance(spec, (Grid, Exhaustive)) else None
        )
        self._startup = 0 if warm else getattr(spec, "startup", 0)  # asks before the sampler knows enough
        self._earlier: list[FrozenTrial] = []
        for i, entry in enumerate(warm):
            self._adopt(-1 - i, entry)

    def ask(self, number: int, recorded: Mapping[str, Scalar] | None = None) -> dict[str, Scalar] | None:
        """Parameters of search trial ``number``, which runs until told; None if nothing is left to try.

        Those that a ledger has ``recorded`` are taken instead of drawing anew, as far as the space allows.
        """
        given = self._given(number) if recorded is None else recorded
        if given is None:
            return None
        seed = stream_seed("sampler", self.search.seed, number) % 2**32
        is_point = number < len(self.search.points)
        # TPE and the Gaussian process cost time, and leave nothing in the study but what they draw.
        anew = not is_point and not (recorded is not None and isinstance(self.search.sampler, (TPE, GP)))
        return self._begin(number, given, seed, anew=anew)

    def again(self, number: int, params: Mapping[str, Scalar]) -> None:
        """Trial ``number`` FAILED and runs again, with the same ``params``."""
        self._begin(number, params, 0, anew=False)

    def complete(self, number: int, metrics: Metrics) -> None:
        """``metrics`` has every metric of ``spec.front.needed``, finite."""
        values = [metrics[o.metric] for o in self._objectives]
        exceeded = violations(self.search, metrics)
        self._completed += 1
        self._tell_complete(self._take(number), values, 0.0, exceeded)
        self._worst_violations = [max(p) for p in zip(exceeded, self._worst_violations, strict=True)]
        self._see(values)

    def waits(self, number: int, curve: Mapping[int, Metrics]) -> None:
        """It waits at a rung, perhaps for good: to TPE as if stopped there, until it ends or goes on.

        To others it keeps running: the Gaussian process spreads its asks around such trials, and CMA-ES keeps
        its state with finished ones, which must not run again.
        """
        if isinstance(self.search.sampler, TPE):
            self._show(number, curve)
            self._shelf.waiting.add(self._running[number].number)

    def goes_on(self, number: int) -> None:
        """It waits no more."""
        self._shelf.waiting.discard(self._running[number].number)

    def pruned(self, number: int, curve: Mapping[int, Metrics]) -> None:
        """``curve`` maps epochs to what was reported there, finite or not."""
        seen = self._show(number, curve)
        self.optuna.tell(self._take(number), state=OptunaState.PRUNED)
        for value in seen:
            self._see([value])

    def _take(self, number: int) -> optuna.Trial:
        """One that has ended."""
        self.goes_on(number)
        return self._running.pop(number)

    def _show(self, number: int, curve: Mapping[int, Metrics]) -> list[float]:
        """Report the finite values of ``curve``, and return them."""
        trial, metric = self._running[number], self.search.objective.metric
        known, seen = self._shelf.get_trial(trial._trial_id).intermediate_values, []
        # Optuna takes no curve of several objectives; no scheduler stops such trials, only an operator does.
        for epoch, metrics in sorted(curve.items()) if not self.search.tradeoffs else ():
            value = metrics.get(metric, math.nan)
            if math.isfinite(value):
                if epoch not in known:
                    trial.report(value, epoch)
                seen.append(value)
        return seen

    def worst(self, number: int, reason: str) -> None:
        """The configuration itself is at fault: keep away from it."""
        self._running[number].set_user_attr("reason", reason)
        self._blamed.append(number)
        self._blame()

    def failed(self, number: int, reason: str) -> None:
        """An accident."""
        trial = self._take(number)
        trial.set_user_attr("reason", reason)
        self.optuna.tell(trial, state=OptunaState.FAIL)

    def converged(self, recorded: str | None = None) -> str | None:
        """Why going on is not worth it; None while it is, and always without ``search.converged``.

        Looked at afresh only every few completed trials. A reason ``recorded`` in a ledger is taken as it is,
        and so is, if it is empty, that there was none.
        """
        if recorded is not None:
            self._reason = recorded
            return recorded or None
        plan, done = self.search.converged, self._completed
        due = plan is not None and done >= plan.after and not (done - plan.after) % _LOOK_EVERY
        if plan is not None and due and not self._reason and done > self._looked:
            self._looked = done
            gain = self._possible_gain()
            if gain < plan.error:
                self._reason = (
                    f"converged: after {done} completed trials going on can be expected to improve "
                    f"{self.search.objective.metric} by {gain:.3g} at most, below {plan.error:g}"
                )
        return self._reason or None

    def _given(self, number: int) -> Mapping[str, Scalar] | None:
        """What of ask ``number`` is fixed beforehand; None if nothing is left."""
        points, spec = self.search.points, self.search.sampler
        if number < len(points):
            point = {
                key: float(value) if isinstance(self.space[key], FloatRange) else value
                for key, value in points[number].items()
            }
            return self._grid.fill(number, point) if self._grid else point
        if self._grid:
            return self._grid.next()
        if isinstance(spec, QMC):
            return quasi_random(spec, self.space, self.base, self.search.seed, number)
        return {}

    def _begin(self, number: int, given: Mapping[str, Scalar], seed: int, *, anew: bool) -> dict[str, Scalar]:
        """A running trial with the ``given`` parameters, the others drawn (at random if not ``anew``).

        NSGA-II marks each trial with its generation, and breeds from marked ones only: it begins all.
        """
        informed = anew or isinstance(self.search.sampler, NSGA2)
        if informed and not 0 <= number < self._startup:
            self.optuna.sampler = optuna_samplers.make(self.search, seed, self._common, self._earlier)
        else:
            self.optuna.sampler = optuna_samplers.Keyed(seed)
        if given:
            self.optuna.enqueue_trial(dict(given))
        trial = self.optuna.ask()
        self._running[number] = trial
        with one_thread():
            if informed:
                _ = trial.relative_params  # Optuna asks its sampler lazily, and not at all where all is given
            params = draw(self.space, lambda key, entry: _suggest(trial, key, entry), self.base)
        _forget_undrawn(trial)
        if self._grid:
            self._grid.tried(params)
        return params

    def _adopt(self, number: int, entry: Mapping[str, Any]) -> None:
        """Know a trial of an earlier sweep."""
        params = self._begin(number, entry["params"], 0, anew=False)
        if entry["state"] == "COMPLETE":
            self.complete(number, entry["metrics"])
            self._earlier.append(self._numbers_of(params, entry["metrics"]))
        elif entry["state"] == "PRUNED":
            self.pruned(number, {int(epoch): metrics for epoch, metrics in entry["curve"].items()})
        else:
            self.worst(number, f"{entry['state']} in {entry['from']}")

    def _numbers_of(self, params: Mapping[str, Scalar], metrics: Metrics) -> FrozenTrial:
        """A completed trial as far as CMA-ES models it."""
        numbers = {key: d for key, d in self._common.items() if optuna_samplers.is_number(d)}
        drawn = {key: params[key] for key in numbers}
        value = metrics[self.search.objective.metric]
        return optuna.trial.create_trial(value=value, params=drawn, distributions=numbers)

    def _tell_complete(
        self, trial: optuna.Trial, values: Sequence[float], ill: float, exceeded: Sequence[float]
    ) -> None:
        # CMA-ES goes by the value alone, and the Gaussian process wants the same constraints of every trial.
        if not isinstance(self.search.sampler, CMAES):
            trial.set_constraint("healthy", ill)
            for i, excess in enumerate(exceeded):
                trial.set_constraint(f"constraint {i}", excess)
        self.optuna.tell(trial, list(values))

    def _see(self, values: Sequence[float]) -> None:
        known = self._worst or values
        pick = [min if o.mode == "max" else max for o in self._objectives]
        self._worst = [p(pair) for p, *pair in zip(pick, values, known, strict=True)]
        self._blame()

    def _blame(self) -> None:
        while self._worst and self._blamed:
            trial = self._take(self._blamed.pop(0))
            self._tell_complete(trial, self._worst, 1.0, self._worst_violations)

    def _possible_gain(self) -> float:
        """The upper bound of the regret by Optuna's terminator, from healthy and feasible trials, the best
        half or 500 of them."""
        known = [
            trial
            for trial in self.optuna.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
            if "reason" not in trial.user_attrs and all(value <= 0 for value in trial.constraints.values())
        ]
        if not known or not self._common:
            return math.inf
        seed = stream_seed("converged", self.search.seed, self._completed) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            top = min(_TOP_SHARE, _LOOKED_AT / len(known))
            bound = RegretBoundEvaluator(top_trials_ratio=top, seed=seed)
            with one_thread():
                return float(bound.evaluate(known, self.optuna.direction))


def _forget_undrawn(trial: optuna.Trial) -> None:
    """Keep of a running trial what it drew only.

    TPE notes beside it what it would have drawn for keys of other branches, and counts the trial as having
    them while it runs. A study rebuilt from a ledger does not know them, and would go on differently.
    """
    for key in trial.storage.get_trial_system_attrs(trial._trial_id):
        name, _, part = key.rpartition(":")
        if name.endswith(":relative_params"):
            trial.storage.set_trial_system_attr(trial._trial_id, key, "" if int(part) else "{}")


def _suggest(trial: optuna.Trial, key: str, entry: Distribution) -> Scalar:
    value: Scalar
    if isinstance(entry, Choice):
        value = trial.suggest_categorical(key, entry.choice)
    elif isinstance(entry, IntRange):
        value = trial.suggest_int(key, *entry.int, step=entry.step, log=entry.log)
    else:
        value = trial.suggest_float(key, *entry.float, log=entry.log)
    return value
