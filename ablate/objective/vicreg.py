"""VICReg (Bardes et al., arXiv 2105.04906): invariance, variance and covariance of unnormalised embeddings.

    invariance: mean over rows and dimensions of (z1 - z2)^2
    variance:   mean over dimensions of max(0, 1 - sqrt(Var z_j + 1e-4)), averaged over the two views
    covariance: sum over i != j of Cov(z)_ij^2 / d, added over the two views

in the scales of the authors' code, as lightly has it too (recalled and read). The paper's formulas differ:
invariance summed over dimensions, variance added over the views. Variances divide by N - 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from ablate.objective.embeddings import at_least_single, check_views

_EPS = 1e-4


def vicreg(z1: Tensor, z2: Tensor, *, invariance: float, variance: float, covariance: float) -> Tensor:
    """The weighted sum of the three terms over a whole batch: a scalar >= 0.

    z1, z2: embeddings [N, d] of the two views, N >= 2; row i of both is one image. Half precision is
    computed in float32. The weights are >= 0; the paper's are 25, 25, 1.

    Raises ValueError on mismatched shapes or fewer than 2 rows.
    """
    check_views(z1, z2, least=2, why="VICReg, which takes variances over the batch,")
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = at_least_single(z1), at_least_single(z2)
        spread, redundancy = _spread_lacking(z1) + _spread_lacking(z2), _redundancy(z1) + _redundancy(z2)
        return invariance * (z1 - z2).square().mean() + variance * spread / 2 + covariance * redundancy


def _spread_lacking(z: Tensor) -> Tensor:
    return relu(1 - torch.sqrt(z.var(0) + _EPS)).mean()


def _redundancy(z: Tensor) -> Tensor:
    z = z - z.mean(0)
    covariance = z.T @ z / (len(z) - 1)
    others = covariance.diagonal_scatter(torch.zeros_like(covariance.diagonal()))
    return others.square().sum() / z.shape[1]
