"""Geometry of embeddings on the unit sphere: alignment, uniformity, and the spread collapse takes away."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def alignment(z1: Tensor, z2: Tensor) -> float:
    """Mean squared distance of positive pairs, z normalised; 0 to 4 (Wang and Isola, arXiv 2005.10242)."""
    return float((normalize(z1, dim=1) - normalize(z2, dim=1)).square().sum(1).mean())


def uniformity(z: Tensor) -> float:
    """log E exp(-2 |z_i - z_j|^2) over distinct pairs, z normalised; -8 to 0, lower: more uniform (ibid.)."""
    distances = torch.pdist(normalize(z, dim=1)).square()
    return float(torch.logsumexp(-2 * distances, 0) - math.log(distances.numel()))


def spread(z: Tensor) -> float:
    """sqrt(d) x the mean over dimensions of the standard deviation of z/|z|.

    About 1 for directions uniform on the sphere, 0 in complete collapse, dead (all-zero) embeddings included.
    """
    return float(normalize(z, dim=1).std(0).mean() * math.sqrt(z.shape[1]))
