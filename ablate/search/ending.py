"""How trials end and what follows: results shared, promotions, a new generation, the choice, the sweep's end.

These lead to one another (a trial that ends may complete a generation, in which others end), and so they live
together. Each function returns the decisions it made, in order.
"""

from __future__ import annotations

from collections import Counter, deque
from random import Random

from ablate.ledger import Event
from ablate.search import confirm, looks, pbt, promotion
from ablate.search.asking import enter, search_trial
from ablate.search.confirm import SearchKey
from ablate.search.state import InvalidEvent, Search, SearchState, TrialState
from ablate.spec.front import feasible, front, losses, needed
from ablate.spec.scheduler import PBT
from ablate.spec.streams import stream_seed
from ablate.spec.sweep import ConfirmSpec
from ablate.spec.trial import TrialSpec


def finish(
    state: SearchState,
    trial: TrialState,
    outcome: str,
    reason: str,
    metrics: dict[str, float] | None = None,
) -> list[Event]:
    """End a trial; ``metrics`` None: the last of each name that it reported."""
    trial.state = outcome
    _withdraw(state, trial)
    trial.metrics = trial.latest() if metrics is None else metrics
    if trial.stage == "search":
        _tell(state, trial, reason)
    if outcome in ("FAILED", "COLLAPSED") and trial.stage == "search" and not trial.alone:
        state.of(trial).holes += 1
    for owner in (trial, state.trials.get(trial.parent or "")):
        if owner is not None:
            state.trim(owner)
    if outcome != "FAILED":
        trial.curve = {}
    state.unfinished_count -= 1
    finished: Event = {
        "event": "finished",
        "trial": trial.id,
        "state": outcome,
        "reason": reason,
        "epochs": trial.epochs,
        "metrics": trial.metrics,
    }
    followers = _finish_followers(state, trial)
    return [finished, *followers, *_close_if_converged(state, trial), *after(state)]


def _withdraw(state: SearchState, trial: TrialState) -> None:
    """Take a trial from its slot, or from wherever else it waits."""
    if trial.slot is None and trial.id in state.waiting:
        state.waiting.remove(trial.id)
    for names in state.followers.values() if trial.duplicate_of else ():
        if trial.id in names:
            names.remove(trial.id)
    free(state, trial)
    trial.pausing, trial.paused = False, None


def _tell(state: SearchState, trial: TrialState, reason: str) -> None:
    search = state.of(trial)
    if trial.state == "COMPLETE":
        search.study.complete(trial.number, trial.metrics)
    elif trial.state == "PRUNED":
        if trial.duplicate_of is None:
            search.curves[trial.id] = {e: _relevant(state, row) for e, row in trial.curve.items()}
        search.study.pruned(trial.number, trial.curve)
    elif trial.state == "COLLAPSED" or trial.spec is None:
        search.study.worst(trial.number, reason)
    else:
        search.study.failed(trial.number, reason)


def _relevant(state: SearchState, metrics: dict[str, float]) -> dict[str, float]:
    """What a sampler may want to know."""
    return {name: metrics[name] for name in needed(state.sweep.search) if name in metrics}


def _finish_followers(state: SearchState, original: TrialState) -> list[Event]:
    waiting = [state.trials[name] for name in state.followers.pop(original.id, [])]
    if original.state != "FAILED":
        return [event for trial in waiting for event in share(state, original, trial)]
    if waiting:
        heir, *others = waiting
        heir.duplicate_of, heir.bracket = None, original.bracket
        state.of(heir).originals[heir.spec_hash or ""] = heir.id
        state.waiting.append(heir.id)
        if others:
            state.followers[heir.id] = [trial.id for trial in others]
    return []


def share(state: SearchState, original: TrialState, trial: TrialState) -> list[Event]:
    """End ``trial`` as ``original`` ended."""
    assert original.state is not None
    trial.epochs = original.epochs
    trial.curve = state.of(original).curves.get(original.id, {})
    reason = f"same configuration as {original.id}, not run again"
    return finish(state, trial, original.state, reason, original.metrics)


def after(state: SearchState) -> list[Event]:
    """What follows once trials have finished: a generation, promotions, a look, the choice, or the end."""
    decisions = [event for search in _with_paused(state) for event in generation(state, search)]
    decisions += [event for search in state.searches.values() for event in promote(state, search)]
    decisions += _look(state)
    if state.unfinished_count or state.searching or state.ended is not None:
        return decisions
    if state.declared is None:
        decisions += _choose(state)
    if not state.ladder and state.ended is None:
        decisions.append(_end(state, state.cut))
    return decisions


def _look(state: SearchState) -> list[Event]:
    """Look at the confirmation where that is due; if all is settled no further seed is run."""
    decisions: list[Event] = []
    while (looked := looks.next_look(state)) is not None:
        state.looked.append(looked)
        decisions.append(looked)
        if looked["stop"]:
            needed = looks.seeds_of(state, looked)
            state.ladder = deque(step for step in state.ladder if step.seed in needed)
            for trial in state.unfinished():
                if trial.state is None and trial.stage == "confirm" and trial.seed not in needed:
                    reason = f"the look after {looked['seeds']} seeds settled every comparison"
                    decisions += finish(state, trial, "PRUNED", reason)
    return decisions


def close_if_spent(state: SearchState, search: Search) -> list[Event]:
    budget = state.sweep.search.budget.epochs
    if budget is None or search.paid < budget or not state.open(search):
        return []
    return close(state, search, "epochs", f"{search.paid} epochs were trained, of {budget} budgeted")


def _close_if_converged(state: SearchState, trial: TrialState) -> list[Event]:
    plan = state.sweep.search.converged
    if plan is None or trial.stage != "search" or trial.state != "COMPLETE":
        return []
    search = state.of(trial)
    if not state.open(search):
        return []
    reason = search.study.converged(state.converged.pop(trial.id, None))
    return [] if reason is None else close(state, search, "converged", reason)


def close(state: SearchState, search: Search, by: str, reason: str) -> list[Event]:
    """Ask no more."""
    search.closed = {**_named(search), "event": "closed", "by": by, "reason": reason}
    return [search.closed, *after(state)]


def _named(search: Search) -> Event:
    return {"arm": search.arm, "replicate": search.replicate}


def _choose(state: SearchState) -> list[Event]:
    """Choose the best trial of every search, and declare what is to be confirmed."""
    decisions: list[Event] = []
    lacking: dict[SearchKey, str] = {}
    for search in state.searches.values():
        if search.chosen is None:
            reason = _choose_of(state, search)
            if reason:
                lacking[search.key] = reason
                continue
            assert search.chosen is not None
            decisions.append(search.chosen)
    baseline = next(iter(state.searches))
    if len(lacking) == len(state.searches) or (baseline in lacking and _plan(state) is not None):
        of_whom = "" if len(state.searches) == 1 else f"{baseline[0]}, the baseline: "
        return [*decisions, _end(state, f"{of_whom}{lacking[baseline]}, so there is nothing to confirm")]
    state.declared = _declare(state, lacking)
    return [*decisions, state.declared]


def _choose_of(state: SearchState, search: Search) -> str:
    """Choose the best trial of one search; returns why there is none, or ""."""
    spec = state.sweep.search
    trials = [t for t in state.trials.values() if t.stage == "search" and state.of(t) is search]
    complete = [t for t in trials if t.state == "COMPLETE"]
    fit = [t for t in complete if feasible(spec, t.metrics)]
    if not fit:
        states = Counter(t.state for t in trials)
        counts = ", ".join(f"{states[s]} {s}" for s in sorted(filter(None, states))) or "none was asked"
        why = "met every constraint" if complete else "completed"
        return f"no search trial {why} ({counts})"
    best = min(fit, key=lambda t: (losses(spec, t.metrics)[0], t.number))
    if best.spec is None:
        raise InvalidEvent(f"{best.id} completed without a spec")
    search.chosen = {
        "event": "chosen",
        **_named(search),
        "trial": best.id,
        "value": best.metrics[spec.objective.metric],
        "params": best.params,
        "spec": best.spec.as_dict(),
        "spec_hash": best.spec_hash,
        "states": dict(sorted(Counter(t.state for t in trials if t.state).items())),
        "front": _front(state, fit),
    }
    return ""


def _plan(state: SearchState) -> ConfirmSpec | None:
    return state.sweep.confirm if state.confirming else None


def _declare(state: SearchState, lacking: dict[SearchKey, str]) -> Event:
    """What the confirmation will be and how it will be judged, fixed before its first trial."""
    impossible = {arm if not r else f"{arm}, replicate {r}": why for (arm, r), why in lacking.items()}
    plan, arms = _plan(state), state.sweep.arms
    if plan is not None:
        chosen = {
            search.key: TrialSpec.model_validate(search.chosen["spec"])
            for search in state.searches.values()
            if search.chosen is not None
        }
        if arms is None:
            state.arms, refused = confirm.around_best(next(iter(chosen.values())), plan)
        else:
            state.arms, refused = confirm.of_searches(chosen, arms.reference, plan)
        impossible |= refused
        state.ladder.extend(confirm.ladder(state.arms, plan))
    return looks.declaration(state, plan, impossible)


def _front(state: SearchState, fit: list[TrialState]) -> list[str]:
    if not state.sweep.search.tradeoffs:
        return []
    return front(state.sweep.search, {t.id: t.metrics for t in fit if t.duplicate_of is None})


def _end(state: SearchState, reason: str) -> Event:
    state.ended = {"event": "ended", "reason": reason, "states": state.states()}
    return state.ended


def promote(state: SearchState, search: Search) -> list[Event]:
    """Of the trials that wait at a rung some may go on, and some end; then the others are looked at again."""
    if search.ending:
        return []
    decisions: list[Event] = []
    ending = promotion.settle(state, search)
    search.ending = len(ending)
    for trial, stop in ending:
        search.ending -= 1
        decisions += [] if stop.event is None else [stop.event]
        decisions += finish(state, trial, stop.outcome, stop.reason)
    return decisions


# --- generations of a population ------------------------------------------------------------------------


def _with_paused(state: SearchState) -> list[Search]:
    """The searches of which a generation may be complete: one look at all trials, not one for each search."""
    if not isinstance(state.sweep.search.scheduler, PBT):
        return []
    paused = {state.of(t).key for t in state.unfinished() if t.stage == "search" and t.paused is not None}
    return [search for search in state.searches.values() if search.key in paused]


def generation(state: SearchState, search: Search) -> list[Event]:
    """Once all members wait for one another: the worst end, and new ones go on from the best."""
    scheduler = state.sweep.search.scheduler
    if not isinstance(scheduler, PBT):
        return []
    members = [t for t in state.unfinished() if t.stage == "search" and not t.alone and state.of(t) is search]
    ready = [t for t in members if t.paused is not None]
    exchanging = search.closed is None
    if not ready or (exchanging and (len(ready) < len(members) or search.searching)):
        return []
    for trial in ready:
        trial.released, trial.paused = trial.epochs, None
    decisions: list[Event] = []
    going_on = ready
    if exchanging:
        decisions, going_on = _exchange(state, search, scheduler, ready)
    state.waiting.extend(trial.id for trial in sorted(going_on, key=lambda t: t.number))
    return decisions


def _exchange(
    state: SearchState, search: Search, scheduler: PBT, members: list[TrialState]
) -> tuple[list[Event], list[TrialState]]:
    """The worst members end, and as many new ones begin, and one for each that was lost meanwhile.

    Returns the decisions, and who goes on.
    """
    ranked = [t.id for t in sorted(members, key=lambda t: (state.rank(t), t.number))]
    ending = pbt.worst(scheduler, ranked)
    lost, search.holes = search.holes, 0
    decisions: list[Event] = []
    going_on = [t for t in members if t.id not in ending]
    for place in range(len(ending) + lost):
        child = _child(state, search, scheduler, ranked)
        decisions.append(enter(state, child))
        going_on.append(child)
        if place < len(ending):
            reason = (
                f"among the worst {len(ending)} of {len(members)} after epoch {members[0].epochs}: "
                f"{child.id} goes on in its place, from the weights of {child.parent}"
            )
            decisions += finish(state, state.trials[ending[place]], "PRUNED", reason)
    return decisions, going_on


def _child(state: SearchState, search: Search, scheduler: PBT, ranked: list[str]) -> TrialState:
    """A new member, with the weights of one of the best."""
    number = search.asked
    rng = Random(stream_seed("pbt", search.study.search.seed, number))
    parent = state.trials[pbt.parent(scheduler, ranked, rng)]
    mutated = pbt.mutate(parent.params, scheduler, state.sweep.space, rng)
    params = search.study.ask(number, search.recorded.pop(number, mutated))
    assert params is not None
    child = search_trial(state, search, params)
    child.parent, child.inherited = parent.id, parent.epochs
    child.epochs = child.paid = child.released = parent.epochs
    child.checkpoints = [parent.checkpoints[-1]]
    parent.children.append(child.id)
    return child


def free(state: SearchState, trial: TrialState) -> None:
    if trial.slot is not None:
        del state.slots[trial.slot]
    trial.slot = None
