"""ASHA, the promotion variant (Li et al., arXiv 1810.05934, algorithm 2): who waits at a rung, and how long.

A trial that comes to a rung and is among the best ``n // reduction`` of the ``n`` values seen there goes on;
of fewer than ``reduction`` nobody does. Any other saves a checkpoint, leaves its slot and waits. It goes on
as soon as later arrivals make it one of the best; before a new trial is asked for, since whoever waits for a
slot comes first (the paper's ``get_job``), from the top rung down.

To TPE one that waits is as if stopped there, with its curve, until it goes on.

The paper's search has no end; here it has one. Once a search asks for no more trials,

- a rung at which nobody can arrive any more keeps ``max(1, n // reduction)``: its best goes on though there
  were too few to compare with;
- whoever cannot be among the best any more, even if all that may still arrive are worse, ends PRUNED. A trial
  may arrive that is under way below the rung, or waits at a lower one and may itself go on. (One that is to
  take the result of another may not: it is run only if that one fails.) A search that a budget, an operator
  or its convergence has closed promotes nobody any more, and all who wait end at once;
- but while no trial is COMPLETE nobody who waits ends, for those that went on may yet fail. If then nothing
  else of the search is under way, the best that wait goes on alone: from the highest rung, the best there.

The patient variant is ours. Algorithm 2 promotes on what few arrivals tell, and so more than one in
``reduction`` in the end, all the more as a sampler that learns asks for better and better trials. Here all
wait, and a slot asks for a new trial rather than promote one. So a rung is decided once its last trial has
arrived, as in successive halving (Jamieson and Talwalkar, arXiv 1502.07943). Only a slot that has nothing
else to do goes ahead of that: it takes the best that waits at the lowest rung, if that is among the best
``n // reduction`` there and fewer have gone on. One that later arrivals overtake has then gone on besides.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablate.search.asha import Rung, cutoff
from ablate.search.state import Search, SearchState, TrialState
from ablate.search.stopping import Stop, not_among_the_best, stopped
from ablate.spec.scheduler import ASHA, promotes

Ending = tuple[TrialState, Stop]


def pause(state: SearchState, trial: TrialState) -> None:
    """It has left its slot to wait at the rung to which it came."""
    if promotes(state.sweep.search.scheduler):
        search = state.of(trial)
        search.rungs[0, trial.epochs].wait(trial.id, trial.number)
        search.study.waits(trial.number, trial.curve)


def is_rung(state: SearchState, epoch: int) -> bool:
    """Whether trials wait at this epoch."""
    scheduler = state.sweep.search.scheduler
    return promotes(scheduler) and epoch in scheduler.rungs


def settle(state: SearchState, search: Search) -> list[Ending]:
    """Let those go on that may, and return those that never will; they wait no more, and are to be ended."""
    plan = state.sweep.search.scheduler
    if not promotes(plan) or not any(rung.waiting for rung in search.rungs.values()):
        return []
    going: list[TrialState] = []
    if plan.variant == "promotion" and not search.cut:
        going = [trial for epoch in plan.rungs for trial in _promoted(state, search, epoch, plan)]
    ending: list[Ending] = []
    if not search.searching:
        more, ending = _at_the_end(state, search, plan)
        going += more
    going.sort(key=lambda t: (-t.released, _loss(search, t, t.released), t.number))
    state.waiting.extend(trial.id for trial in going)
    return ending


def for_idle_slot(state: SearchState) -> TrialState | None:
    """Of the patient variant: who goes on though more may arrive, as a slot has nothing else to do."""
    plan = state.sweep.search.scheduler
    if not isinstance(plan, ASHA) or plan.variant != "patient":
        return None
    for epoch in plan.rungs:
        for search in state.searches.values():
            trial = None if search.cut else _best_here(state, search, epoch)
            if trial is not None and _may_go_on(search.rungs[0, epoch], trial, plan.reduction):
                return _released(search, [trial])[0]
    return None


def _best_here(state: SearchState, search: Search, epoch: int) -> TrialState | None:
    waiting = (state.trials[trial] for _, _, trial in search.rungs.get((0, epoch), Rung()).waiting)
    return next((trial for trial in waiting if trial.paused == epoch), None)


def _may_go_on(rung: Rung, trial: TrialState, reduction: int) -> bool:
    """Whether it is one of the best at its rung, and not as many have gone on already."""
    limit = cutoff(rung.losses, reduction)
    return (
        limit is not None
        and rung.trials[trial.id] <= limit
        and len(rung.passed) < len(rung.losses) // reduction
    )


def _promoted(state: SearchState, search: Search, epoch: int, plan: ASHA) -> list[TrialState]:
    """Those that wait after ``epoch`` and are now among the best there."""
    rung = search.rungs.get((0, epoch), Rung())
    limit, found = cutoff(rung.losses, plan.reduction), []
    while rung.waiting and limit is not None and rung.waiting[0][0] <= limit:
        trial = state.trials[rung.waiting.pop(0)[2]]
        if trial.paused == epoch:
            found.append(trial)
    return _released(search, found)


def _released(search: Search, trials: list[TrialState]) -> list[TrialState]:
    for trial in trials:
        assert trial.paused is not None
        search.rungs[0, trial.paused].passed.add(trial.id)
        trial.released, trial.paused = trial.paused, None
        search.study.goes_on(trial.number)
    return trials


def _at_the_end(state: SearchState, search: Search, plan: ASHA) -> tuple[list[TrialState], list[Ending]]:
    """Once no more is asked for, from the lowest rung up: who goes on besides, and who ends."""
    own = [t for t in state.trials.values() if t.stage == "search" and state.of(t) is search]
    coming = [t for t in own if t.state is None and t.paused is None and t.duplicate_of is None]
    alone = not coming
    more: list[TrialState] = []
    without: list[TrialState] = []
    for epoch in plan.rungs:
        here = _present(state, search, epoch)
        arrivals = sum(_may_arrive(search, trial, epoch) for trial in coming)
        hopeful = [] if search.cut else _hopeful(search, here, epoch, plan, arrivals)
        without += here[len(hopeful) :]
        more += [] if arrivals else _released(search, hopeful)
        coming += hopeful
    if any(trial.state == "COMPLETE" for trial in own):
        return more, [_ended(state, search, trial, plan) for trial in without]
    if alone and not more:
        more = _released(search, _best(search, without))
    return more, []


def _ended(state: SearchState, search: Search, trial: TrialState, plan: ASHA) -> Ending:
    epoch, trial.paused = trial.paused or 0, None
    rung, loss = search.rungs[0, epoch], _loss(search, trial, epoch)
    seen = len(rung.losses)
    limit = rung.losses[max(1, seen // plan.reduction) - 1]
    why = f"at epoch {epoch} waited to go on when the search was closed"
    if loss > limit:
        why = not_among_the_best(state, epoch, rung, plan.reduction, limit)
    return trial, stopped(state, trial, epoch, loss, limit, seen, why)


def _best(search: Search, trials: Sequence[TrialState]) -> list[TrialState]:
    """The one that waits at the highest rung, and the best there."""
    return sorted(trials, key=lambda t: (-(t.paused or 0), _loss(search, t, t.paused or 0), t.number))[:1]


def _loss(search: Search, trial: TrialState, epoch: int) -> float:
    return search.rungs[0, epoch].trials[trial.id]


def _present(state: SearchState, search: Search, epoch: int) -> list[TrialState]:
    """Those that wait after ``epoch``, best first; forgets those that have left."""
    rung = search.rungs.get((0, epoch), Rung())
    rung.waiting = [entry for entry in rung.waiting if state.trials[entry[2]].paused == epoch]
    return [state.trials[trial] for _, _, trial in rung.waiting]


def _may_arrive(search: Search, trial: TrialState, epoch: int) -> bool:
    return trial.last_epoch > epoch and trial.id not in search.rungs.get((0, epoch), Rung()).trials


def _hopeful(
    search: Search, here: Sequence[TrialState], epoch: int, plan: ASHA, arrivals: int
) -> list[TrialState]:
    """Of those ``here``, best first, the ones that would go on if all ``arrivals`` were worse."""
    if not here:
        return []
    rung = search.rungs[0, epoch]
    keep = max(1, (len(rung.losses) + arrivals) // plan.reduction)
    limit = rung.losses[min(keep, len(rung.losses)) - 1]
    return [trial for trial in here if rung.trials[trial.id] <= limit]
