"""DirectCLR (Jing et al., arXiv 2110.09348, section 6): z = h[:, :subvector], no parameters.

The loss sees a fixed part of the representation; the rest is filled through the residual connections.
"""

from __future__ import annotations

from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import DirectCLRHead


class Subvector(nn.Module):
    """h [B, D] -> its first ``size`` features [B, size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        return h[:, : self.size]

    def extra_repr(self) -> str:
        return str(self.size)


@register_head(DirectCLRHead)
def directclr(spec: DirectCLRHead, width: int) -> nn.Module:
    if spec.subvector > width:
        raise ValueError(f"head.subvector ({spec.subvector}) exceeds the encoder's width ({width})")
    return Subvector(spec.subvector)
