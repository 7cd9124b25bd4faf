"""A trained diagonal: z_i = w_i h_i, from w = 1.

Jing et al. (arXiv 2110.09348, proposition 1) show that a linear head need only be diagonal. Where they start
it was not found; ones start it as no head. Half precision is multiplied in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import DiagonalHead


class Diagonal(nn.Module):
    """h [B, D] -> z [B, D].

    ``weight`` is [1, D], its columns the input features as in a matrix [out, in]: sparsity, weight decay and
    LARS take it for the weight that it is, not for a bias. ``l1`` and ``l21`` are the same on it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width))

    def forward(self, h: Tensor) -> Tensor:
        return h * self.weight


@register_head(DiagonalHead)
def diagonal(_spec: DiagonalHead, width: int) -> nn.Module:
    return Diagonal(width)
