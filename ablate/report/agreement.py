"""Whether an objective that needs no labels orders trials as the linear probe does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ablate.report.trials import TrialRecord
from ablate.spec.objective import Objective, is_label_free

PROBE = "probe.h.val"
_FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """Rank correlations, -1 to 1, of an objective with the probe over ``trials`` trials.

    Above 0: what the objective calls better, the probe does too.
    """

    metric: str
    trials: int
    spearman: float
    kendall: float

    def __str__(self) -> str:
        return (
            f"{self.metric} needs no labels; with {PROBE} it agrees to Spearman {self.spearman:+.2f}, "
            f"Kendall {self.kendall:+.2f}, over {self.trials} completed trials (a search that learns gathers "
            "its trials where the objective is good, which changes both)."
        )


def agreement(objective: Objective, search: Iterable[TrialRecord]) -> Agreement | None:
    """Over the completed trials of a search that have both, each configuration once; None for an objective
    of labels, or below three.

    None also where one of the two is the same in all trials, for which no order is defined.
    """
    if not is_label_free(objective.metric):
        return None
    sign = 1 if objective.mode == "max" else -1
    complete = (r.metrics for r in search if r.state == "COMPLETE" and not r.duplicate_of)
    pairs = [(sign * m.get(objective.metric, math.nan), m.get(PROBE, math.nan)) for m in complete]
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    ours, probe = [a for a, _ in known], [b for _, b in known]
    if len(known) < _FEWEST or len(set(ours)) == 1 or len(set(probe)) == 1:
        return None
    from scipy import stats  # a second to import, and few objectives need it

    spearman, kendall = stats.spearmanr(ours, probe), stats.kendalltau(ours, probe)
    return Agreement(objective.metric, len(known), float(spearman.statistic), float(kendall.statistic))
