"""ASHA, the stopping variant (Li et al., arXiv 1810.05934, section 3.2, as in Syne Tune): no trial waits.

At a rung, a trial goes on if it is among the best 1/reduction of the values seen there so far, its own
included: of ``n`` values the best ``n // reduction`` go on. Therefore

- the first ``reduction - 1`` arrivals go on, whatever their value: there is nothing to compare them with;
- a value equal to the cut-off goes on, so ties never depend on who came first;
- a trial once let through stays so, also when later arrivals turn out better.

Values here are losses: smaller is better.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field


@dataclass
class Rung:
    """What was seen at one epoch: the trials, and their losses in increasing order."""

    trials: set[str] = field(default_factory=set)
    losses: list[float] = field(default_factory=list)

    def enter(self, trial: str, loss: float) -> None:
        self.trials.add(trial)
        insort(self.losses, loss)


def cutoff(losses: list[float], reduction: int) -> float | None:
    """The largest of the sorted ``losses`` that goes on; None while there are too few to stop anyone."""
    keep = len(losses) // reduction
    return losses[keep - 1] if keep else None
