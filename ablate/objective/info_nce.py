"""InfoNCE over two views, with margins on the positive, whole or one worker's share at a time.

For anchor i with positive cosine c_i and negative cosines c_ij (rows of ``z`` are L2-normalised here):

    L_i = -log( e^{m(c_i)/t} / (e^{m(c_i)/t} + sum_j e^{c_ij/t}) )

with ``m`` from ``margins`` and t the temperature; every row of both views is an anchor once, and the loss is
their mean. Two conventions of negatives, which shift both accuracy and the softmax's statistics:

- ``two_view``: the 2N-2 other rows of both views (NT-Xent; SimCLR, Chen et al., arXiv 2002.05709);
- ``other_view``: the N-1 other rows of the opposite view only (DirectCLR's code, Jing et al., 2110.09348).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ablate.objective.margins import margin_positive

Negatives = Literal["two_view", "other_view"]

# Below this norm a row has no direction: its cosines count as 0 and it gets no gradient (instead of 1e12).
_NO_DIRECTION = 1e-12


def info_nce(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float,
    margin_angular: float = 0.0,
    margin_subtractive: float = 0.0,
    negatives: Negatives = "two_view",
) -> Tensor:
    """Mean InfoNCE over the 2N anchors of both views; a scalar.

    z1, z2: embeddings [N, d] of the two views, N >= 2, of any scale; row i of both is one image. Half
    precision is computed in float32. temperature > 0; margin_angular in radians; margin_subtractive in
    units of cosine.

    Raises ValueError on mismatched shapes, fewer than 2 rows, or arguments out of range.
    """
    return info_nce_local(
        z1,
        z2,
        z1,
        z2,
        0,
        temperature=temperature,
        margin_angular=margin_angular,
        margin_subtractive=margin_subtractive,
        negatives=negatives,
    )


def info_nce_local(
    z1: Tensor,
    z2: Tensor,
    all_z1: Tensor,
    all_z2: Tensor,
    offset: int,
    *,
    temperature: float,
    margin_angular: float = 0.0,
    margin_subtractive: float = 0.0,
    negatives: Negatives = "two_view",
) -> Tensor:
    """One worker's share of ``info_nce``: the sum over its anchors / (2 N), so that workers' shares add up.

    z1, z2: this worker's embeddings [B, d], which are rows ``offset`` to ``offset + B`` of all_z1, all_z2
    [N, d], all workers' embeddings. If the gather that made ``all_*`` is differentiable (its backward sums
    over workers), the gradients are those of ``info_nce`` on the whole batch.

    Raises ValueError as ``info_nce`` does, and where the rows do not fit.
    """
    _check(z1, z2, all_z1, all_z2, offset, temperature, negatives)
    with torch.autocast(z1.device.type, enabled=False):
        u1, u2, all_u1, all_u2 = (_directions(z) for z in (z1, z2, all_z1, all_z2))
        total = torch.zeros((), dtype=u1.dtype, device=u1.device)
        for anchors, same, other in ((u1, all_u1, all_u2), (u2, all_u2, all_u1)):
            cross = anchors @ other.T
            positive = margin_positive(cross.diagonal(offset), margin_angular, margin_subtractive)
            logits = cross.diagonal_scatter(positive, offset)
            if negatives == "two_view":
                itself = torch.full_like(positive, -torch.inf)
                logits = torch.cat([logits, (anchors @ same.T).diagonal_scatter(itself, offset)], dim=1)
            total = total + (torch.logsumexp(logits / temperature, dim=1) - positive / temperature).sum()
        return total / (2 * len(all_z1))


def _directions(z: Tensor) -> Tensor:
    """Rows divided by their L2 norms, in float32 at least."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    known = ~(norm <= _NO_DIRECTION)  # so that NaN stays NaN
    return torch.where(known, z / torch.where(known, norm, torch.ones_like(norm)), torch.zeros_like(z))


def _check(
    z1: Tensor, z2: Tensor, all_z1: Tensor, all_z2: Tensor, offset: int, temperature: float, negatives: str
) -> None:
    if z1.dim() != 2 or z1.shape != z2.shape:
        raise ValueError(f"z1 and z2 must both be [N, d], found {list(z1.shape)} and {list(z2.shape)}")
    if all_z1.shape != all_z2.shape or all_z1.shape[1:] != z1.shape[1:]:
        found = [list(z.shape) for z in (z1, all_z1, all_z2)]
        raise ValueError(f"z1, all_z1 and all_z2 must be [B, d], [N, d] and [N, d], found {found}")
    if not 0 <= offset <= len(all_z1) - len(z1):
        raise ValueError(
            f"rows {offset} to {offset + len(z1)} are not within the {len(all_z1)} gathered rows"
        )
    if len(all_z1) < 2:
        raise ValueError("InfoNCE needs at least 2 images a batch, for negatives; found 1")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
    if negatives not in get_args(Negatives):
        raise ValueError(f"negatives must be two_view or other_view, found {negatives!r}")
