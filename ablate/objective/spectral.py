"""Spectral contrastive loss (HaoChen et al., arXiv 2106.04156): -2 E[z.z+] + E[(z.z-)^2].

Its minimiser factorises the normalised adjacency of the graph whose edges are positive pairs, which is why
linear theory uses it (Xue et al., arXiv 2403.11391). z is taken as it is, or scaled to one length; the
authors' code (read) shortens only what is longer than the square root of its mu, and has the other view's
rows as negatives, as here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objective.embeddings import at_least_single, check_views, directions


def spectral_contrastive(z1: Tensor, z2: Tensor, *, radius: float | None = None) -> Tensor:
    """The loss over a whole batch: the mean over its N positive and N (N - 1) negative pairs; a scalar.

    z1, z2: embeddings [N, d] of the two views, N >= 2; row i of both is one image, and rows i of z1 and j of
    z2, i != j, are a negative pair. Half precision is computed in float32. radius > 0: the length that z is
    scaled to, or None.

    Raises ValueError on mismatched shapes, fewer than 2 rows, or a radius not above 0.
    """
    check_views(z1, z2, least=2, why="the spectral contrastive loss, for negatives,")
    if radius is not None and not radius > 0:
        raise ValueError(f"radius must be above 0 or None, found {radius}")
    with torch.autocast(z1.device.type, enabled=False):
        u1, u2 = (at_least_single(z) if radius is None else radius * directions(z) for z in (z1, z2))
        products = u1 @ u2.T
        positive = products.diagonal()
        negative = products.diagonal_scatter(torch.zeros_like(positive))
        return negative.square().sum() / (len(z1) * (len(z1) - 1)) - 2 * positive.mean()
