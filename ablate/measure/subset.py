"""How many features a mini-batch needs: SparseHead's assumption (Song et al., arXiv 2307.08913) as a test.

The abstract (read) assumes that a subset of the features is enough to minimise the contrastive loss of one
mini-batch. The test is ours: score feature j by sum_i |dL/dh_ij| x std_i(h_ij), the change of the loss that
its variation can make to first order, and take the smallest set that has 95% of the total score.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor


def feature_scores(gradient: Tensor, h: Tensor) -> Tensor:
    """[D], >= 0, from dL/dh and h of one batch, both [N, D]."""
    return gradient.abs().sum(0) * h.std(0)


def smallest_subset(scores: Tensor, share: float = 0.95) -> Tensor:
    """bool [D]: the fewest features whose scores sum to at least ``share`` of all; none if all are 0."""
    ordered, order = scores.double().sort(descending=True)
    reached = ordered.cumsum(0)
    size = int((reached < share * reached[-1]).sum()) + 1 if bool(reached[-1] > 0) else 0
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[order[:size]] = True
    return chosen


def mean_jaccard(subsets: Sequence[Tensor]) -> float:
    """Mean |A and B| / |A or B| over pairs of subsets, bool [D] each; 1 for two empty ones.

    Raises ValueError on fewer than two.
    """
    if len(subsets) < 2:
        raise ValueError(f"overlap is of at least 2 subsets, found {len(subsets)}")
    shares = [float((a & b).sum()) / max(int((a | b).sum()), 1) if bool((a | b).any()) else 1.0
              for a, b in combinations(subsets, 2)]  # fmt: skip
    return sum(shares) / len(shares)
