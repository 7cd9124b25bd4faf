"""Making trials: what the search and the ladder of confirmation ask for, as entered in the state."""

from __future__ import annotations

from ablate.ledger import Event
from ablate.search.state import SearchState, TrialState
from ablate.spec.draw import apply, lookup
from ablate.spec.identity import spec_hash
from ablate.spec.space import Scalar
from ablate.spec.trial import TrialSpec


def search_trial(state: SearchState, params: dict[str, Scalar]) -> TrialState:
    number, base = state.asked, state.sweep.base
    state.asked += 1
    spec: TrialSpec | None
    try:
        spec = apply(base, params)
    except ValueError:
        spec = None
    seed = base.seed if spec is None else spec.seed
    name = None if spec is None else spec_hash(spec)
    return TrialState(f"t{number:04d}", number, "search", "search", seed, params, spec, name)


def confirm_trial(state: SearchState) -> TrialState:
    number = state.confirmed
    arm, seed = state.ladder.popleft()
    spec = apply(state.arms[arm], {"seed": seed})
    params = _params_in(state, spec)
    return TrialState(f"c{number:04d}", number, "confirm", arm, seed, params, spec, spec_hash(spec))


def _params_in(state: SearchState, spec: TrialSpec) -> dict[str, Scalar]:
    """The space's keys as this trial has them; an arm may have replaced some and removed others."""
    tree, absent = spec.as_dict(), object()
    found = {key: lookup(tree, key, absent) for key in state.sweep.space}
    return {key: value for key, value in found.items() if value is not absent}


def enter(state: SearchState, trial: TrialState) -> Event:
    state.trials[trial.id] = trial
    state.unfinished_count += 1
    return {
        "event": "asked",
        "trial": trial.id,
        "number": trial.number,
        "stage": trial.stage,
        "arm": trial.arm,
        "seed": trial.seed,
        "params": trial.params,
        "spec": None if trial.spec is None else trial.spec.as_dict(),
        "spec_hash": trial.spec_hash,
        "duplicate_of": trial.duplicate_of,
        "parent": trial.parent,
        "checkpoint": trial.checkpoints[0] if trial.parent else None,
    }
