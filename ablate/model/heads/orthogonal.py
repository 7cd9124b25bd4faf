"""A trained rotation: z = Q h with Q = exp(S - S^T), the "ExpM" of Jing et al. (arXiv 2110.09348, App. F).

All singular values stay 1, so norms and inner products of z are those of h. A loss that sees nothing else of
two views (SimCLR, spectral, SupCon) sends S no gradient but rounding, and the head is no head: the paper's
control. It does train under losses that see coordinates (Barlow Twins, VICReg), a predictor or a classifier,
and against the keys of a momentum copy (MoCo), whose rotation is another.

Costs one matrix exponential [D, D] a step. Weight decay pulls Q towards the identity.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import OrthogonalHead


class Orthogonal(nn.Module):
    """h [B, D] -> z [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Angles of Q then spread over about +-2.8 at any width: no plane is left unturned.
        self.generator = nn.Parameter(torch.randn(width, width) / math.sqrt(width))

    def rotation(self) -> Tensor:
        """Q [D, D]."""
        return cast(Tensor, torch.linalg.matrix_exp(self.generator - self.generator.T))

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.linear(h, self.rotation())


@register_head(OrthogonalHead)
def orthogonal(_spec: OrthogonalHead, width: int) -> nn.Module:
    return Orthogonal(width)
