"""Contrastive losses of unnormalised embeddings, with their gradients in closed form, over many runs at once.

Both are of the toy experiments of DirectCLR (Jing et al., arXiv 2110.09348), z the first view, z' the second:

- ``eq2``: the paper's Eq. 2, the mean over i of
  -log{ exp(-|z_i - z_i'|^2 / 2) / [sum_{j != i} exp(-|z_i - z_j|^2 / 2) + exp(-|z_i - z_i'|^2 / 2)] },
  whose negatives are of the anchor's own view. The theorems are about this one;
- ``dot-product``: what the released toy code minimises instead: the mean over i of
  -log{ exp(z_i.z_i' / t) / sum_j exp(z_i.z_j' / t) }. The theorems do not hold for it (docs/theory.md).

Gradients are the paper's, over the number of rows; a test compares them with autograd's. Tens of thousands
of steps of tiny networks are spent here, where autograd would take several times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor


def eq2(z1: Tensor, z2: Tensor) -> Tensor:
    """Eq. 2 of z1, z2 [..., N, d], N >= 2: a differentiable mean over rows, [...]."""
    positive, logits = _eq2_logits(z1, z2)
    return (torch.logsumexp(logits, -1) - positive).mean(-1)


def eq2_weights(z1: Tensor, z2: Tensor) -> Tensor:
    """alpha [..., N, N]: row i is the softmax of Eq. 2; its diagonal is the positive's share."""
    return torch.softmax(_eq2_logits(z1, z2)[1], -1)


def eq2_gradient(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``eq2`` by z1 and z2, [..., N, d] each.

    The paper's g_{z_i} = sum_{j != i} [alpha_ij (z_j - z_i') + alpha_ji (z_j - z_i)] and
    g_{z_i'} = sum_{j != i} alpha_ij (z_i' - z_i).
    """
    alpha = eq2_weights(z1, z2)
    positive = alpha.diagonal(dim1=-2, dim2=-1)
    by_column = alpha.sum(-2) - positive
    off = alpha.diagonal_scatter(torch.zeros_like(positive), dim1=-2, dim2=-1)
    rest = (1 - positive).unsqueeze(-1)
    first = off @ z1 - rest * z2 + off.mT @ z1 - by_column.unsqueeze(-1) * z1
    return first / z1.shape[-2], rest * (z2 - z1) / z1.shape[-2]


def dot_product(z1: Tensor, z2: Tensor, *, temperature: float) -> Tensor:
    """The released code's loss of z1, z2 [..., N, d]: a differentiable mean over rows, [...]."""
    logits = z1 @ z2.mT / temperature
    return (torch.logsumexp(logits, -1) - logits.diagonal(dim1=-2, dim2=-1)).mean(-1)


def dot_product_gradient(z1: Tensor, z2: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Of ``dot_product`` by z1 and z2, [..., N, d] each."""
    p = torch.softmax(z1 @ z2.mT / temperature, -1)
    scale = temperature * z1.shape[-2]
    return (p @ z2 - z2) / scale, (p.mT @ z1 - z1) / scale


def _eq2_logits(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    squares = z1.square().sum(-1)
    logits = z1 @ z1.mT - (squares.unsqueeze(-1) + squares.unsqueeze(-2)) / 2
    positive = -(z1 - z2).square().sum(-1) / 2
    return positive, logits.diagonal_scatter(positive, dim1=-2, dim2=-1)
