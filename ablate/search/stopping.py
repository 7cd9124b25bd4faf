"""Early stopping: whether a search trial that has just reported may go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablate.ledger import Event
from ablate.search import asha
from ablate.search.median import Level
from ablate.search.state import SearchState, TrialState
from ablate.spec.scheduler import ASHA, HyperBand, Median


@dataclass(frozen=True)
class Stop:
    """The trial ends here, PRUNED (with the ``stopped`` event that explains it) or FAILED."""

    outcome: str
    reason: str
    event: Event | None = None


def judge(state: SearchState, trial: TrialState, epoch: int) -> Stop | None:
    """Take note of what ``trial`` reported at ``epoch``, and say whether it ends.

    A trial that was let through stays so: after a restart it reports the epoch again.
    """
    scheduler = state.sweep.search.scheduler
    if trial.stage != "search" or epoch >= trial.last_epoch:
        return None
    if isinstance(scheduler, (ASHA, HyperBand)):
        return _at_rung(state, trial, epoch, scheduler.rungs[trial.bracket :], scheduler.reduction)
    if isinstance(scheduler, Median):
        return _against_median(state, trial, epoch, scheduler)
    return None


def _at_rung(
    state: SearchState, trial: TrialState, epoch: int, rungs: Sequence[int], reduction: int
) -> Stop | None:
    if epoch not in rungs:
        return None
    rung = state.of(trial).rungs.setdefault((trial.bracket, epoch), asha.Rung())
    if trial.id in rung.trials:
        return None
    metrics = trial.curve[epoch]
    loss = state.loss(metrics)
    if loss is None:
        return Stop("FAILED", f"{state.without_loss(metrics)} at rung {epoch}")
    rung.enter(trial.id, loss)
    cutoff = asha.cutoff(rung.losses, reduction)
    if cutoff is None or loss <= cutoff:
        return None
    why = (
        f"at epoch {epoch} is not among the best 1/{reduction} of {len(rung.losses)} "
        f"(cut-off {state.value(cutoff):.4g})"
    )
    return _stopped(state, trial, epoch, loss, cutoff, len(rung.losses), why)


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
    return _stopped(state, trial, epoch, best, median, others + 1, why)


def _stopped(
    state: SearchState, trial: TrialState, epoch: int, loss: float, cutoff: float, seen: int, why: str
) -> Stop:
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
