"""ASHA (Li et al., arXiv 1810.05934): the rungs, and the stopping variant (as in Syne Tune): no trial waits.

At a rung, a trial goes on if it is among the best 1/reduction of the values seen there so far, its own
included: of ``n`` values the best ``n // reduction`` go on. In the stopping variant, therefore,

- the first ``reduction - 1`` arrivals go on, whatever their value: there is nothing to compare them with;
- a value equal to the cut-off goes on, so ties never depend on who came first;
- a trial once let through stays so, also when later arrivals turn out better.

In the other variants (``search.promotion``) trials wait at the rung.

Values here are losses: smaller is better.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field


@dataclass
class Rung:
    """What was seen at one epoch: the trials with their losses, and the losses in increasing order.

    ``waiting`` are (loss, number, trial) of those that paused here, best first; some may have left since.
    ``passed`` are those that waited here and went on.
    """

    trials: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    waiting: list[tuple[float, int, str]] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)

    def enter(self, trial: str, loss: float) -> None:
        self.trials[trial] = loss
        insort(self.losses, loss)

    def wait(self, trial: str, number: int) -> None:
        """One that has entered waits; saying so again changes nothing."""
        entry = (self.trials[trial], number, trial)
        place = bisect_left(self.waiting, entry)
        if self.waiting[place : place + 1] != [entry]:
            self.waiting.insert(place, entry)


def cutoff(losses: list[float], reduction: int) -> float | None:
    """The largest of the sorted ``losses`` that goes on; None while there are too few to stop anyone."""
    keep = len(losses) // reduction
    return losses[keep - 1] if keep else None
