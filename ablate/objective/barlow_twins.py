"""Barlow Twins (Zbontar et al., arXiv 2103.03230): the views' cross-correlation against the identity.

    C = (1/N) sum_n ẑ1_n ẑ2_n^T,    L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2

with ẑ standardised over the batch, dimension by dimension, as batch norm does (biased variance + 1e-5, in
the authors' code and in lightly's; recalled and read). Summed over dimensions: a wider embedding gives a
larger loss. Some published runs scale the whole (their early code by 1/32; recalled); here it is not scaled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objective.embeddings import at_least_single, check_views

_EPS = 1e-5  # batch norm's


def barlow_twins(z1: Tensor, z2: Tensor, *, off_diagonal: float) -> Tensor:
    """The loss over a whole batch: a scalar >= 0.

    z1, z2: embeddings [N, d] of the two views, N >= 2; row i of both is one image. Half precision is
    computed in float32. off_diagonal: lambda, the weight of the redundancy term (0.005 in the paper).

    Raises ValueError on mismatched shapes or fewer than 2 rows.
    """
    check_views(z1, z2, least=2, why="Barlow Twins, which correlates over the batch,")
    with torch.autocast(z1.device.type, enabled=False):
        correlation = _standardised(z1).T @ _standardised(z2) / len(z1)
        own = correlation.diagonal()
        # Summed without the diagonal, not subtracted from the whole: near the optimum that would cancel.
        others = correlation.diagonal_scatter(torch.zeros_like(own))
        return (1 - own).square().sum() + off_diagonal * others.square().sum()


def _standardised(z: Tensor) -> Tensor:
    z = at_least_single(z)
    z = z - z.mean(0)
    return z / torch.sqrt(z.square().mean(0) + _EPS)
