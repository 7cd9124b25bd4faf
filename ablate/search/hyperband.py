"""Asynchronous HyperBand (Li et al., arXiv 1810.05934, section 3.3): ASHA in several brackets side by side.

ASHA's first rung is a guess of how early a curve tells anything. HyperBand hedges it: bracket ``s`` leaves
out the first ``s`` rungs, and trials are compared within their bracket only. A later first rung costs more
epochs a trial, so such brackets get fewer trials rather than more epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ablate.spec.scheduler import HyperBand


def expected_epochs(rungs: Sequence[int], reduction: int, last: int) -> float:
    """Epochs of a trial, if of those at each rung one in ``reduction`` goes on and the best to ``last``."""
    total, share, before = 0.0, 1.0, 0
    for rung in (*(r for r in rungs if r < last), last):
        total += share * (rung - before)
        share, before = share / reduction, rung
    return total


def deal(scheduler: HyperBand, last: int, dealt: list[float]) -> int:
    """The bracket of the next trial: the one that was given the fewest epochs, which ``dealt`` counts."""
    if not dealt:
        dealt.extend([0.0] * scheduler.brackets)
    bracket = dealt.index(min(dealt))
    dealt[bracket] += expected_epochs(scheduler.rungs[bracket:], scheduler.reduction, last)
    return bracket
