"""The one place where a sweep decides anything.

``decide(state, event)`` folds an external event into the state and returns the decisions that follow, as
events ready to be recorded. It is deterministic and touches nothing outside ``state``: no clock, no file, no
random number that is not derived from the sweep's seed and the number of the ask. So the external events of a
ledger determine every decision in it, and ``replay`` checks that they do.

The course of a sweep: search trials are asked and started as slots want work, until there are as many as
planned or the search is closed for another reason; when all have ended the best COMPLETE one is chosen and
the paired ladder of confirmation is run, which only a look declared beforehand may end early; then the sweep
has ended. A stopped trial is finished at once, whenever its slot may notice; one that is to wait (for its
generation, or at a rung) leaves its slot once it has saved, and once it may go on does so before a new one is
asked. With arms there is a search for each, and several with replicates; they advance side by side, and
trials are compared within theirs only.

A configuration that the search comes upon again is not paid for twice: the second trial takes the result of
the first, at once or when there is one. If the first FAILED the second is run, for an accident says nothing.
"""

from __future__ import annotations

from collections import Counter

from ablate.ledger import Event
from ablate.search import hyperband, pbt, promotion
from ablate.search.asking import confirm_trial, enter, search_trial
from ablate.search.ending import after, close, close_if_spent, finish, free, generation, promote, share
from ablate.search.state import InvalidEvent, Search, SearchState, TrialState
from ablate.search.stopping import judge
from ablate.spec.changes import with_changes
from ablate.spec.draw import apply, why_not
from ablate.spec.front import missing
from ablate.spec.scheduler import PBT, HyperBand

MAX_ABANDONED = 3  # times a trial is handed out again after its slot died; the next death makes it FAILED
_FROM_A_SLOT = ("COMPLETE", "COLLAPSED", "FAILED")
_BUDGETS = ("epochs", "hours", "gpu_hours", "arm_hours")
_POINTER = ("epoch", "path", "digest", "fence", "step")


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
        case "halted":
            return _halted(state, event)
        case "spent":
            return _spent(state, event)
        case "cancelled":
            return _cancelled(state, event)
        case "retried":
            return _retried(state, event)
        case other:
            raise InvalidEvent(f"{other} is not an external event of a running sweep")


# --- handing out ---------------------------------------------------------------------------------------


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
    while True:
        if state.waiting:
            return state.trials[state.waiting.popleft()]
        if state.searching:
            search = _next_search(state)
            if search is None:  # what runs will tell more than what would be asked now
                return promotion.for_idle_slot(state)
            trial = _ask_search(state, search, decisions)
            if trial is not None:
                return trial
        elif (waiting := promotion.for_idle_slot(state)) is not None:
            return waiting
        elif state.ladder:
            trial = confirm_trial(state)
            decisions.append(enter(state, trial))
            return trial
        else:
            return None


def _next_search(state: SearchState) -> Search | None:
    """The one that has asked for the fewest trials: searches advance side by side. One that only repeats
    itself, so that as many of its trials wait for the result of one that runs as there are slots at work, is
    passed over; if no slot is at work (all that ran wait at a rung), none can be."""
    running = [names for original, names in state.followers.items() if state.trials[original].paused is None]
    awaited = Counter(state.of(state.trials[name]).key for names in running for name in names)
    open_ones = [s for s in state.searches.values() if s.searching]
    ready = [s for s in open_ones if not awaited[s.key] or awaited[s.key] < len(state.slots)]
    return min(ready if ready or state.slots else open_ones, key=lambda s: s.asked, default=None)


def _ask_search(state: SearchState, search: Search, decisions: list[Event]) -> TrialState | None:
    """The next trial of a search; None if it is not to be run, or if there is none."""
    decisions += close_if_spent(state, search)
    if search.closed is not None:
        return None
    params = search.study.ask(search.asked, search.recorded.pop(search.asked, None))
    if params is None:
        reason = "every configuration of the space has been asked for"
        decisions += close(state, search, "exhausted", reason)
        return None
    trial = search_trial(state, search, params)
    original = _original(state, trial)
    trial.duplicate_of = None if original is None else original.id
    decisions.append(enter(state, trial))
    if original is None:
        if trial.spec_hash is not None:
            search.originals[trial.spec_hash] = trial.id
        if isinstance(scheduler := state.sweep.search.scheduler, HyperBand):
            trial.bracket = hyperband.deal(scheduler, trial.last_epoch, search.dealt)
        return trial
    if original.state is None:
        state.followers.setdefault(original.id, []).append(trial.id)
        decisions += promote(state, search)
    else:
        decisions += share(state, original, trial)
    return None


def _original(state: SearchState, trial: TrialState) -> TrialState | None:
    """The trial whose result ``trial`` takes. Members of a population are all run: they will part."""
    known = state.of(trial).originals.get(trial.spec_hash or "")
    if known is None or isinstance(state.sweep.search.scheduler, PBT):
        return None
    original = state.trials[known]
    return None if original.state == "FAILED" else original


def _finish_impossible(state: SearchState, trial: TrialState) -> list[Event]:
    try:
        apply(state.of(trial).base, trial.params)
    except ValueError as error:
        return finish(state, trial, "FAILED", f"impossible configuration: {why_not(error)}")
    raise InvalidEvent(f"{trial.id} has no spec although its parameters make one")


# --- what slots say ------------------------------------------------------------------------------------


def _reported(state: SearchState, event: Event) -> list[Event]:
    trial, epoch = _running(state, event), event["epoch"]
    trial.curve[epoch] = event["metrics"]
    trial.epochs = epoch
    if trial.stage == "search" and epoch > trial.paid:
        state.of(trial).paid += epoch - trial.paid
        trial.paid = epoch
    decisions: list[Event] = []
    if stop := judge(state, trial, epoch):
        decisions += [] if stop.event is None else [stop.event]
        decisions += finish(state, trial, stop.outcome, stop.reason)
    elif _ends_generation(state, trial, epoch):
        if state.loss(trial.latest()) is None:
            reason = f"{state.without_loss(trial.latest())} at the end of its generation, epoch {epoch}"
            decisions += finish(state, trial, "FAILED", reason)
        else:
            trial.pausing = True
    if trial.stage == "search":
        decisions += close_if_spent(state, state.of(trial))
        if promotion.is_rung(state, epoch):  # no other epoch changes who may go on
            decisions += promote(state, state.of(trial))
    return decisions


def _ends_generation(state: SearchState, trial: TrialState, epoch: int) -> bool:
    scheduler = state.sweep.search.scheduler
    return (
        isinstance(scheduler, PBT)
        and trial.stage == "search"
        and trial.state is None
        and not trial.alone
        and epoch > trial.released
        and state.of(trial).closed is None
        and pbt.is_boundary(scheduler, epoch, trial.last_epoch)
    )


def _checkpointed(state: SearchState, event: Event) -> list[Event]:
    trial = _running(state, event)
    checkpoint = {key: value for key, value in event.items() if key in _POINTER}
    trial.checkpoints.append(checkpoint)
    state.discarded.pop(checkpoint["path"], None)
    _keep_if_best(state, trial, checkpoint)
    state.trim(trial)
    if not trial.pausing or event["epoch"] != trial.epochs:
        return []
    free(state, trial)
    trial.pausing, trial.paused = False, trial.epochs
    promotion.pause(state, trial)
    paused: Event = {"event": "paused", "trial": trial.id, "epoch": trial.epochs}
    return [paused, *generation(state, state.of(trial)), *promote(state, state.of(trial))]


def _keep_if_best(state: SearchState, trial: TrialState, checkpoint: Event) -> None:
    loss = state.loss(trial.curve.get(checkpoint["epoch"], {}))
    if loss is None or "step" in checkpoint:  # within an epoch the weights are not those that were measured
        return
    best = None if trial.best is None else state.loss(trial.curve.get(trial.best["epoch"], {}))
    if best is None or loss < best:
        trial.best = checkpoint


def _outcome(state: SearchState, event: Event) -> list[Event]:
    trial, outcome, reason = _running(state, event), event["state"], event["reason"]
    if outcome not in _FROM_A_SLOT:
        raise InvalidEvent(f"{trial.id}: a slot may say {', '.join(_FROM_A_SLOT)}; found {outcome}")
    metrics = {**trial.latest(), **event["metrics"]}
    # Only the search needs them: an untrained control, say, has no loss, and is compared by its test score.
    if outcome == "COMPLETE" and trial.stage == "search":
        lacking = [
            f"{name} was {metrics[name]}" if name in metrics else f"did not report {name}"
            for name in missing(state.sweep.search, metrics)
        ]
        if lacking:
            outcome, reason = "FAILED", f"{' and '.join(lacking)} at the end"
    return finish(state, trial, outcome, reason, metrics)


def _abandoned(state: SearchState, event: Event) -> list[Event]:
    trial = _running(state, event)
    trial.abandoned += not event.get("preempted", False)
    if trial.abandoned > MAX_ABANDONED:
        reason = f"lost {trial.abandoned} times, last: {event['reason']}"
        return finish(state, trial, "FAILED", reason)
    free(state, trial)
    trial.rewind(event["epoch"])
    return _wait(state, trial)


def _wait(state: SearchState, trial: TrialState) -> list[Event]:
    """Let the trial wait for a slot."""
    if trial.epochs < trial.inherited:
        reason = f"the weights of {trial.parent} after epoch {trial.inherited}, its start, are gone"
        return finish(state, trial, "FAILED", reason)
    state.waiting.append(trial.id)
    return []


def _running(state: SearchState, event: Event) -> TrialState:
    trial = state.trials.get(event["trial"])
    if trial is None or trial.slot is None:
        raise InvalidEvent(f"{event['event']}: no slot is running {event['trial']}")
    return trial


# --- what drivers and operators say --------------------------------------------------------------------


def _resumed(state: SearchState, event: Event) -> list[Event]:
    """Nobody runs anything any more: what ran waits, in the order in which it was asked."""
    state.fence = event["fence"]
    _change(state, event["changes"])
    state.waiting.clear()
    state.slots.clear()
    awaiting = {name for names in state.followers.values() for name in names}
    trials = [trial for trial in state.unfinished() if trial.id not in awaiting]
    for trial in trials:
        waited = trial.paused
        trial.rewind(event["epochs"][trial.id])
        if waited is not None and trial.paused is None:
            state.of(trial).study.goes_on(trial.number)
    decisions: list[Event] = []
    # Picked beforehand: one that cannot go on FAILS, which may let the paused go.
    for trial in [trial for trial in trials if trial.paused is None]:
        decisions += _wait(state, trial)
    return decisions + after(state)


def _change(state: SearchState, changes: dict[str, object]) -> None:
    """The sweep as it is from now on. A larger budget opens a search again that has not been confirmed."""
    state.sweep = with_changes(state.sweep, changes)
    if not any(key.startswith(("search.trials", "search.budget.")) for key in changes):
        return
    if state.confirmed:
        raise InvalidEvent("the search cannot go on: its choice is being confirmed")
    for search in state.searches.values():
        search.planned = state.sweep.search.trials
        if search.closed is not None and search.closed["by"] in _BUDGETS:
            search.closed = None
        if search.searching:
            search.chosen = None
    if state.searching:
        state.declared = state.ended = None
        state.ladder.clear()
        state.arms = {}


def _halted(state: SearchState, event: Event) -> list[Event]:
    if state.ended is not None:
        raise InvalidEvent("halted: the sweep has ended")
    by, reason = event["by"], event["reason"]
    if not event["confirm"]:
        state.confirming, state.cut = False, reason
        state.ladder.clear()
    decisions: list[Event] = []
    for search in state.searches.values():
        decisions += close(state, search, by, reason) if state.open(search) else []
    if event["running"] == "stop":
        for trial in state.unfinished():
            if trial.state is None and (trial.stage == "search" or not event["confirm"]):
                decisions += finish(state, trial, "PRUNED", reason)
    return decisions + after(state)


def _spent(state: SearchState, event: Event) -> list[Event]:
    search = state.searches.get((event["arm"], event["replicate"]))
    if search is None or not state.open(search):
        raise InvalidEvent(f"spent: {event['arm']} {event['replicate']} is no search that asks for trials")
    return close(state, search, "arm_hours", event["reason"])


def _cancelled(state: SearchState, event: Event) -> list[Event]:
    trial = state.trials.get(event["trial"])
    if trial is None or trial.state is not None:
        raise InvalidEvent(f"cancelled: {event['trial']} is not under way")
    return finish(state, trial, "PRUNED", event["reason"])


def _retried(state: SearchState, event: Event) -> list[Event]:
    """Run a FAILED trial again. What has been chosen meanwhile stays chosen."""
    trial = state.trials.get(event["trial"])
    if trial is None or trial.state != "FAILED" or trial.spec is None:
        raise InvalidEvent(f"retried: {event['trial']} did not fail, or makes no trial")
    trial.state, trial.metrics, trial.abandoned = None, {}, 0
    trial.alone = isinstance(state.sweep.search.scheduler, PBT)  # the population has gone on without it
    state.unfinished_count += 1
    state.ended = None
    if trial.stage == "search":
        state.of(trial).study.again(trial.number, trial.params)
    trial.rewind(event["epoch"])
    return _wait(state, trial)
