"""A fixed head of low rank: z = U diag(1, ..., 1, 0, ..., 0) V^T h, with ``rank`` ones.

U and V are random orthogonal matrices, drawn with the head and never trained (Jing et al., arXiv 2110.09348,
proposition 2 and App. F).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import LowRankHead


class LowRank(nn.Module):
    """h [B, D] -> z [B, D], of rank ``rank``. Only the columns of U and V that meet a one are kept."""

    left: Tensor  # [D, rank], orthonormal columns
    right: Tensor

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        for name in ("left", "right"):
            self.register_buffer(name, nn.init.orthogonal_(torch.empty(width, rank)))

    def forward(self, h: Tensor) -> Tensor:
        return h @ self.right @ self.left.T


@register_head(LowRankHead)
def low_rank(spec: LowRankHead, width: int) -> nn.Module:
    if spec.rank > width:
        raise ValueError(f"head.rank ({spec.rank}) exceeds the encoder's width ({width})")
    return LowRank(width, spec.rank)
