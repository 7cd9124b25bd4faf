"""A square MLP that starts as the identity, with symmetric ReLU between its layers.

sigma_b(x) = ReLU(x - b) - ReLU(-x - b): for b > 0 it sets what is within +-b to 0 and moves the rest towards
0 by b, for b = 0 it is the identity. One trained scalar b, 0 at the start, between any two layers; weights
start at I and biases at 0, so z = h. This is the code of a co-author of Xue et al. (arXiv 2403.11391; read),
whose depth is 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import IdentityMLPHead


class SymmetricReLU(nn.Module):
    """[B, D] -> [B, D], odd in x."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x - self.b) - torch.relu(-x - self.b)


@register_head(IdentityMLPHead)
def identity_mlp(spec: IdentityMLPHead, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(spec.depth):
        if number:
            layers.append(SymmetricReLU())
        linear = nn.Linear(width, width, bias=spec.bias)
        nn.init.eye_(linear.weight)
        if spec.bias:
            nn.init.zeros_(linear.bias)
        layers.append(linear)
    return nn.Sequential(*layers)
