"""Early stopping: whether a search trial that has just reported may go on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablate.ledger import Event
from ablate.search import asha
from ablate.search.median import Level
from ablate.search.state import SearchState, TrialState
from ablate.spec.scheduler import ASHA, HyperBand, Median, promotes


@dataclass(frozen=True)
class Stop:
    """The trial ends here, PRUNED (with the ``stopped`` event that explains it) or FAILED."""

    outcome: str
    reason: str
    event: Event | None = None


def judge(state: SearchState, trial: TrialState, epoch: int) -> Stop | None:
    """Take note of what ``trial`` reported at ``epoch``, and say whether it ends.

    A trial that was let through stays so: after a restart it reports the epoch again. Under promotion none
    ends here for being worse: it is told to pause.
    """
    scheduler = state.sweep.search.scheduler
    if trial.stage != "search" or epoch >= trial.last_epoch:
        return None
    if isinstance(scheduler, (ASHA, HyperBand)):
        return _at_rung(state, trial, epoch, scheduler)
    if isinstance(scheduler, Median):
        return _against_median(state, trial, epoch, scheduler)
    return None


def _at_rung(state: SearchState, trial: TrialState, epoch: int, scheduler: ASHA | HyperBand) -> Stop | None:
    if epoch not in scheduler.rungs[trial.bracket :]:
        return None
    rung = state.of(trial).rungs.setdefault((trial.bracket, epoch), asha.Rung())
    known, metrics = trial.id in rung.trials, trial.curve[epoch]
    if not known:
        loss = state.loss(metrics)
        if loss is None:
            return Stop("FAILED", f"{state.without_loss(metrics)} at rung {epoch}")
        rung.enter(trial.id, loss)
    loss, cutoff = rung.trials[trial.id], asha.cutoff(rung.losses, scheduler.reduction)
    if promotes(scheduler):
        if scheduler.variant == "promotion" and cutoff is not None and loss <= cutoff:
            trial.released = max(trial.released, epoch)
        trial.pausing = epoch > trial.released
        return None
    if known or cutoff is None or loss <= cutoff:
        return None
    why = not_among_the_best(state, epoch, rung, scheduler.reduction, cutoff)
    return stopped(state, trial, epoch, loss, cutoff, len(rung.losses), why)


def not_among_the_best(state: SearchState, epoch: int, rung: asha.Rung, reduction: int, cutoff: float) -> str:
    return (
        f"at epoch {epoch} is not among the best 1/{reduction} of {len(rung.losses)} "
        f"(cut-off {state.value(cutoff):.4g})"
    )


def _against_median(state: SearchState, trial: TrialState, epoch: int, rule: Median) -> Stop | None:
    metric = state.sweep.search.objective.metric
    level = state.of(trial).levels.setdefault(epoch, Level())
    value = trial.curve[epoch].get(metric)
    if value is None or trial.id in level.trials:  # not every epoch is measured
        return None
    if not math.isfinite(value):
        return Stop("FAILED", f"{metric} was {value} after epoch {epoch}")
    losses = [loss for row in trial.curve.values() if (loss := state.loss(row)) is not None]
    others, best = len(level.means), min(losses)
    median = level.median() if others else math.inf
    level.enter(trial.id, losses)
    if epoch < rule.grace or others < rule.others or best <= median:
        return None
    why = (
        f"at best up to epoch {epoch} is worse than the median of {others} running means "
        f"({state.value(median):.4g})"
    )
    return stopped(state, trial, epoch, best, median, others + 1, why)


def stopped(
    state: SearchState, trial: TrialState, epoch: int, loss: float, cutoff: float, seen: int, why: str
) -> Stop:
    """PRUNED at ``epoch``, and the event that says so."""
    reason = f"{state.sweep.search.objective.metric} {state.value(loss):.4g} {why}"
    event: Event = {
        "event": "stopped",
        "trial": trial.id,
        "epoch": epoch,
        "rung": epoch,
        "value": state.value(loss),
        "cutoff": state.value(cutoff),
        "seen": seen,
        "reason": reason,
    }
    return Stop("PRUNED", reason, event)
