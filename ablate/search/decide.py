"""The one place where a sweep decides anything.

``decide(state, event)`` folds an external event into the state and returns the decisions that follow, as
events ready to be recorded. It is deterministic and touches nothing outside ``state``: no clock, no file, no
random number that is not derived from the sweep's seed and the number of the ask. So the external events of a
ledger determine every decision in it, and ``replay`` checks that they do.

The course of a sweep: search trials are asked and started as slots want work; when all have ended the best
COMPLETE one is chosen and the paired ladder of confirmation is run, which nothing stops early; then the sweep
has ended. A stopped trial is finished at once, whenever its slot may notice.
"""

from __future__ import annotations

import math

from ablate.ledger import Event
from ablate.search import asha, confirm
from ablate.search.state import InvalidEvent, SearchState, TrialState
from ablate.spec.draw import apply, lookup, why_not
from ablate.spec.identity import spec_hash
from ablate.spec.scheduler import ASHA
from ablate.spec.space import Scalar
from ablate.spec.trial import TrialSpec

MAX_ABANDONED = 3  # times a trial is handed out again after its slot died; the next death makes it FAILED
_FROM_A_SLOT = ("COMPLETE", "COLLAPSED", "FAILED")


def decide(state: SearchState, event: Event) -> list[Event]:
    """Fold one external event. Raises InvalidEvent if it cannot have happened in this state."""
    match event["event"]:
        case "wanted":
            return _wanted(state, event)
        case "reported":
            return _reported(state, event)
        case "checkpointed":
            return _checkpointed(state, event)
        case "outcome":
            return _outcome(state, event)
        case "abandoned":
            return _abandoned(state, event)
        case "resumed":
            return _resumed(state, event)
        case other:
            raise InvalidEvent(f"{other} is not an external event of a running sweep")


def _wanted(state: SearchState, event: Event) -> list[Event]:
    """Hand out a waiting trial, or the next of the search, or the next of the ladder, or nothing."""
    if event["slot"] in state.slots:
        raise InvalidEvent(f"slot {event['slot']} wants work while it runs {state.slots[event['slot']]}")
    decisions: list[Event] = []
    while (trial := _next_trial(state, decisions)) is not None:
        if trial.spec is not None:
            trial.slot = event["slot"]
            state.slots[event["slot"]] = trial.id
            decisions.append(
                {"event": "started", "trial": trial.id, "slot": trial.slot, "fence": state.fence}
            )
            break
        decisions += _finish_impossible(state, trial)
    return decisions


def _next_trial(state: SearchState, decisions: list[Event]) -> TrialState | None:
    if state.waiting:
        return state.trials[state.waiting.popleft()]
    if state.asked < state.sweep.search.trials:
        trial = _ask_search(state)
    elif state.ladder:
        trial = _ask_confirm(state)
    else:
        return None
    state.trials[trial.id] = trial
    state.unfinished_count += 1
    decisions.append(_asked(trial))
    return trial


def _ask_search(state: SearchState) -> TrialState:
    number, base = state.asked, state.sweep.base
    state.asked += 1
    params = state.study.ask(number, state.recorded.pop(number, None))
    spec: TrialSpec | None
    try:
        spec = apply(base, params)
    except ValueError:
        spec = None
    seed = base.seed if spec is None else spec.seed
    return TrialState(f"t{number:04d}", number, "search", "search", seed, params, spec)


def _ask_confirm(state: SearchState) -> TrialState:
    number = len(state.trials) - state.asked
    arm, seed = state.ladder.popleft()
    spec = apply(state.arms[arm], {"seed": seed})
    return TrialState(f"c{number:04d}", number, "confirm", arm, seed, _params_in(state, spec), spec)


def _params_in(state: SearchState, spec: TrialSpec) -> dict[str, Scalar]:
    """The space's keys as this trial has them; an arm may have replaced some and removed others."""
    tree, missing = spec.as_dict(), object()
    found = {key: lookup(tree, key, missing) for key in state.sweep.space}
    return {key: value for key, value in found.items() if value is not missing}


def _asked(trial: TrialState) -> Event:
    return {
        "event": "asked",
        "trial": trial.id,
        "number": trial.number,
        "stage": trial.stage,
        "arm": trial.arm,
        "seed": trial.seed,
        "params": trial.params,
        "spec": None if trial.spec is None else trial.spec.as_dict(),
        "spec_hash": None if trial.spec is None else spec_hash(trial.spec),
    }


def _reported(state: SearchState, event: Event) -> list[Event]:
    trial, epoch = _running(state, event), event["epoch"]
    trial.curve[epoch] = event["metrics"]
    trial.epochs = epoch
    scheduler = state.sweep.search.scheduler
    if not isinstance(scheduler, ASHA) or trial.stage != "search":
        return []
    if epoch not in scheduler.rungs or epoch >= trial.last_epoch:
        return []
    rung = state.rungs.setdefault(epoch, asha.Rung())
    if trial.id in rung.trials:  # let through before a restart: that decision stands
        return []
    value = event["metrics"].get(state.sweep.search.objective.metric)
    if value is None or not math.isfinite(value):
        return _finish(state, trial, "FAILED", f"{_missing(state, value)} at rung {epoch}")
    sign = _sign(state)
    rung.enter(trial.id, sign * value)
    cutoff = asha.cutoff(rung.losses, scheduler.reduction)
    if cutoff is None or sign * value <= cutoff:
        return []
    metric = state.sweep.search.objective.metric
    reason = (
        f"{metric} {value:.4g} at epoch {epoch} is not among the best 1/{scheduler.reduction} "
        f"of {len(rung.losses)} (cut-off {sign * cutoff:.4g})"
    )
    stopped: Event = {
        "event": "stopped",
        "trial": trial.id,
        "epoch": epoch,
        "rung": epoch,
        "value": value,
        "cutoff": sign * cutoff,
        "seen": len(rung.losses),
        "reason": reason,
    }
    return [stopped, *_finish(state, trial, "PRUNED", reason)]


def _checkpointed(state: SearchState, event: Event) -> list[Event]:
    trial = _running(state, event)
    trial.checkpoints.append({key: event[key] for key in ("epoch", "path", "digest", "fence")})
    return []


def _outcome(state: SearchState, event: Event) -> list[Event]:
    trial, outcome, reason = _running(state, event), event["state"], event["reason"]
    if outcome not in _FROM_A_SLOT:
        raise InvalidEvent(f"{trial.id}: a slot may say {', '.join(_FROM_A_SLOT)}; found {outcome}")
    metrics = {**trial.latest(), **event["metrics"]}
    value = metrics.get(state.sweep.search.objective.metric)
    # Only the search needs it: an untrained control, say, has no loss, and is compared by its test score.
    needs_value = outcome == "COMPLETE" and trial.stage == "search"
    if needs_value and (value is None or not math.isfinite(value)):
        outcome, reason = "FAILED", f"{_missing(state, value)} at the end"
    return _finish(state, trial, outcome, reason, metrics)


def _abandoned(state: SearchState, event: Event) -> list[Event]:
    trial = _running(state, event)
    trial.abandoned += 1
    if trial.abandoned > MAX_ABANDONED:
        reason = f"lost {trial.abandoned} times, last: {event['reason']}"
        return _finish(state, trial, "FAILED", reason)
    _free(state, trial)
    trial.rewind(event["epoch"])
    state.waiting.append(trial.id)
    return []


def _resumed(state: SearchState, event: Event) -> list[Event]:
    """Nobody runs anything any more: unfinished trials wait, in the order they were asked."""
    state.fence = event["fence"]
    state.waiting.clear()
    state.slots.clear()
    for trial in state.unfinished():
        trial.rewind(event["epochs"][trial.id])
        state.waiting.append(trial.id)
    return []


def _finish_impossible(state: SearchState, trial: TrialState) -> list[Event]:
    try:
        apply(state.sweep.base, trial.params)
    except ValueError as error:
        return _finish(state, trial, "FAILED", f"impossible configuration: {why_not(error)}")
    raise InvalidEvent(f"{trial.id} has no spec although its parameters make one")


def _finish(
    state: SearchState,
    trial: TrialState,
    outcome: str,
    reason: str,
    metrics: dict[str, float] | None = None,
) -> list[Event]:
    trial.state = outcome
    _free(state, trial)
    trial.metrics = trial.latest() if metrics is None else metrics
    if trial.stage == "search":
        _tell(state, trial, reason)
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
    return [finished, *_after(state)]


def _tell(state: SearchState, trial: TrialState, reason: str) -> None:
    metric = state.sweep.search.objective.metric
    if trial.state == "COMPLETE":
        state.study.complete(trial.number, trial.metrics[metric])
    elif trial.state == "PRUNED":
        curve = {e: m[metric] for e, m in trial.curve.items() if math.isfinite(m.get(metric, math.nan))}
        state.study.pruned(trial.number, curve)
    elif trial.state == "COLLAPSED" or trial.spec is None:
        state.study.worst(trial.number, reason)
    else:
        state.study.failed(trial.number, reason)


def _after(state: SearchState) -> list[Event]:
    """What follows once a trial has finished: perhaps the choice, perhaps the end."""
    if state.unfinished_count or state.asked < state.sweep.search.trials:
        return []
    decisions = [] if state.chosen or state.ended else _choose(state)
    if not state.ladder and not state.ended:
        decisions.append(_end(state, ""))
    return decisions


def _choose(state: SearchState) -> list[Event]:
    metric, sign = state.sweep.search.objective.metric, _sign(state)
    complete = [t for t in state.trials.values() if t.state == "COMPLETE" and t.stage == "search"]
    if not complete:
        counts = ", ".join(f"{n} {s}" for s, n in state.states("search").items())
        return [_end(state, f"no search trial completed ({counts}), so there is nothing to confirm")]
    best = min(complete, key=lambda t: (sign * t.metrics[metric], t.number))
    if best.spec is None:
        raise InvalidEvent(f"{best.id} completed without a spec")
    plan = state.sweep.confirm
    impossible: dict[str, str] = {}
    if plan is not None:
        state.arms, impossible = confirm.arms(best.spec, plan)
        state.ladder.extend(confirm.ladder(state.arms, plan))
    state.chosen = {
        "event": "chosen",
        "trial": best.id,
        "value": best.metrics[metric],
        "params": best.params,
        "spec": best.spec.as_dict(),
        "spec_hash": spec_hash(best.spec),
        "arms": list(state.arms),
        "seeds": [] if plan is None else confirm.seeds(plan),
        "impossible": impossible,
        "states": state.states("search"),
    }
    return [state.chosen]


def _end(state: SearchState, reason: str) -> Event:
    state.ended = {"event": "ended", "reason": reason, "states": state.states()}
    return state.ended


def _free(state: SearchState, trial: TrialState) -> None:
    if trial.slot is not None:
        del state.slots[trial.slot]
    trial.slot = None


def _running(state: SearchState, event: Event) -> TrialState:
    trial = state.trials.get(event["trial"])
    if trial is None or trial.slot is None:
        raise InvalidEvent(f"{event['event']}: no slot is running {event['trial']}")
    return trial


def _sign(state: SearchState) -> float:
    """Times this, a value of the objective is a loss."""
    return -1.0 if state.sweep.search.objective.mode == "max" else 1.0


def _missing(state: SearchState, value: float | None) -> str:
    metric = state.sweep.search.objective.metric
    return f"did not report {metric}" if value is None else f"{metric} was {value}"
