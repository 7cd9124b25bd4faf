"""A subset of the features, drawn anew at each training step: DirectCLR's control (Jing et al., 2110.09348).

Whoever trains calls ``redraw(seed, step)`` before each step. The draw depends on nothing else, so every
worker has the same subset, and so has a run that was resumed; it is no part of the head's state. A copy of
the head (a momentum encoder's) must be redrawn too, or the two embeddings would not belong together.

Until the first draw, and in eval mode, z is the first ``subvector`` features: to a loss that treats all
features alike one subset is as good as another, z has the dimension it was trained at, and nothing depends on
the step at which one looks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import RandomSubvectorHead
from ablate.spec.streams import stream_seed


class RandomSubvector(nn.Module):
    """h [B, D] -> ``size`` of its features [B, size], in ascending order of their positions."""

    features: Tensor  # int64 [size]

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.width, self.size = width, size
        self.register_buffer("features", torch.arange(size), persistent=False)

    @torch.no_grad()
    def redraw(self, seed: int, step: int) -> None:
        """Take the subset of (``seed``, ``step``) for the training forwards to come."""
        generator = torch.Generator().manual_seed(stream_seed("head-features", seed, step))
        drawn = torch.randperm(self.width, generator=generator)[: self.size].sort().values
        if self.features.is_cuda:
            drawn = drawn.pin_memory()  # to copy from other memory is to wait for the GPU
        self.features.copy_(drawn, non_blocking=True)

    def forward(self, h: Tensor) -> Tensor:
        return h[:, self.features] if self.training else h[:, : self.size]

    def extra_repr(self) -> str:
        return f"{self.size} of {self.width}"


@register_head(RandomSubvectorHead)
def random_subvector(spec: RandomSubvectorHead, width: int) -> nn.Module:
    if spec.subvector > width:
        raise ValueError(f"head.subvector ({spec.subvector}) exceeds the encoder's width ({width})")
    return RandomSubvector(width, spec.subvector)
