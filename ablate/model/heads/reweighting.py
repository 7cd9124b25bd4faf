"""Fixed reweighting of the features: z_i = h_i / kappa^i, i = 0 .. D - 1 (Xue et al., arXiv 2403.11391).

As in a co-author's code (read): no parameters, the loss on z, the probe on h. The weights are float32
whatever the precision of h, since half precision would lose them early; even so they are exactly 0 from
i = 257 on at kappa 1.5, 571 at 1.2, 1091 at 1.1 and 2132 at 1.05, and the loss sees no feature from there on.

Its effective number of dimensions, (sum w^2)^2 / sum w^4, is (1 + kappa^-2) / (1 - kappa^-2) for wide h.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import ReweightingHead


class Reweighting(nn.Module):
    """h [B, D] -> z [B, D]."""

    weight: Tensor  # float32 [D], follows from kappa and so is no part of the state

    def __init__(self, width: int, kappa: float) -> None:
        super().__init__()
        self.kappa = kappa
        weight = kappa ** -torch.arange(width, dtype=torch.float64)
        self.register_buffer("weight", weight.float(), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return h * self.weight

    def extra_repr(self) -> str:
        return f"kappa={self.kappa:g}"


@register_head(ReweightingHead)
def reweighting(spec: ReweightingHead, width: int) -> nn.Module:
    return Reweighting(width, spec.kappa)
