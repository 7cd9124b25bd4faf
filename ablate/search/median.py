"""The median rule (Golovin et al., "Google Vizier", KDD 2017, section 3.2.2; also Vizier's default).

A trial is stopped at an epoch if its best value so far is strictly worse than the median of the running means
of the others' values up to that epoch. Values here are losses: smaller is better. Running means and not last
values, so that one lucky epoch of the others stops nobody; the best so far, so that one bad epoch of its own
does not either.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean


@dataclass
class Level:
    """What was seen at one epoch: the trials, and their running means in increasing order."""

    trials: set[str] = field(default_factory=set)
    means: list[float] = field(default_factory=list)

    def enter(self, trial: str, losses: Iterable[float]) -> None:
        """``losses``: the values of the trial up to this epoch."""
        self.trials.add(trial)
        insort(self.means, fmean(losses))

    def median(self) -> float:
        """Of the means; raises IndexError while there are none."""
        half, odd = divmod(len(self.means), 2)
        return self.means[half] if odd else (self.means[half - 1] + self.means[half]) / 2
