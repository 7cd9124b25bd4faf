"""How much of a representation's variance a factor explains: eta = tr(Cov_between) / tr(Cov_total).

Before and after a projection head, its ratio says which factors the head weighs down (Xue et al., arXiv
2403.11391, on features that a head reweights; the measure is ours).
"""

from __future__ import annotations

import torch
from torch import Tensor


def between_share(features: Tensor, labels: Tensor) -> float:
    """Share in [0, 1] of the variance of ``features`` [N, D] that lies between the classes of ``labels`` [N].

    0 for features without any spread. Classes of few samples count too: with C classes, labels that mean
    nothing give about (C - 1) / (N - 1). Unchanged by rotations and by one scale of all features, not by
    scaling each.
    """
    x = features.detach().to(torch.float64)
    x = x - x[:1]  # else the rounding of the mean would look like spread where there is none
    x = x - x.mean(0)
    total = float(x.square().sum())
    if not total > 0:
        return 0.0
    _, member = torch.unique(labels, return_inverse=True)
    counts = member.bincount().to(x.dtype)
    sums = x.new_zeros(len(counts), x.shape[1]).index_add_(0, member, x)
    return float((sums.square().sum(1) / counts).sum()) / total
