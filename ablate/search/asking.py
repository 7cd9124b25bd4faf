"""Making trials: what the search and the ladder of confirmation ask for, as entered in the state."""

from __future__ import annotations

from ablate.ledger import Event
from ablate.search.state import Search, SearchState, TrialState
from ablate.spec.draw import apply, lookup
from ablate.spec.identity import spec_hash
from ablate.spec.space import Scalar
from ablate.spec.trial import TrialSpec


def search_trial(state: SearchState, search: Search, params: dict[str, Scalar]) -> TrialState:
    place, number, base = state.asked, search.asked, search.base
    search.asked += 1
    spec: TrialSpec | None
    try:
        spec = apply(base, params)
    except ValueError:
        spec = None
    seed = base.seed if spec is None else spec.seed
    name = None if spec is None else spec_hash(spec)
    trial = f"t{place:04d}"
    return TrialState(trial, number, "search", search.arm, search.replicate, seed, params, spec, name)


def confirm_trial(state: SearchState) -> TrialState:
    number = state.confirmed
    step = state.ladder.popleft()
    spec = apply(state.arms[step.arm, step.replicate], {"seed": step.seed})
    trial, params = f"c{number:04d}", _params_in(state, spec)
    state.climbed[step] = trial
    return TrialState(
        trial, number, "confirm", step.arm, step.replicate, step.seed, params, spec, spec_hash(spec)
    )


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
        "replicate": trial.replicate,
        "seed": trial.seed,
        "params": trial.params,
        "spec": None if trial.spec is None else trial.spec.as_dict(),
        "spec_hash": trial.spec_hash,
        "duplicate_of": trial.duplicate_of,
        "parent": trial.parent,
        "checkpoint": trial.checkpoints[0] if trial.parent else None,
    }
