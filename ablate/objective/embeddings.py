"""What objectives do to embeddings first: float32 at least, directions, and the check of a pair of views."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this norm a row has no direction: its cosines count as 0 and it gets no gradient (instead of 1e12).
_NO_DIRECTION = 1e-12


def at_least_single(z: Tensor) -> Tensor:
    """``z`` in float32, or as it is if it is float64."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def directions(z: Tensor) -> Tensor:
    """Rows of z [N, d] divided by their L2 norms, in float32 at least; a row without direction becomes 0."""
    z = at_least_single(z)
    norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    known = ~(norm <= _NO_DIRECTION)  # so that NaN stays NaN
    return torch.where(known, z / torch.where(known, norm, torch.ones_like(norm)), torch.zeros_like(z))


def check_views(z1: Tensor, z2: Tensor, *, least: int = 1, why: str = "") -> None:
    """Raises ValueError unless both are [N, d] with N >= ``least``; ``why`` the loss needs so many."""
    if z1.dim() != 2 or z1.shape != z2.shape:
        raise ValueError(f"z1 and z2 must both be [N, d], found {list(z1.shape)} and {list(z2.shape)}")
    if len(z1) < least:
        raise ValueError(f"{why} needs at least {least} images a batch, found {len(z1)}")


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless it is above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
