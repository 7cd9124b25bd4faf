"""InfoNCE, with margins on the positive: over two views or over keys, whole or one worker's share at a time.

For anchor i with positive cosine c_i and negative cosines c_ij (rows of ``z`` are L2-normalised here):

    L_i = -log( e^{m(c_i)/t} / (e^{m(c_i)/t} + sum_j e^{c_ij/t}) )

with ``m`` from ``margins`` and t the temperature; ``effects`` offers parts of what ``m`` does to gradients.
Over two views every row of both is an anchor once, and the loss is their mean. Two conventions of negatives,
which shift both accuracy and the softmax's statistics:

- ``two_view``: the 2N-2 other rows of both views (NT-Xent; SimCLR, Chen et al., arXiv 2002.05709);
- ``other_view``: the N-1 other rows of the opposite view only (DirectCLR's code, Jing et al., 2110.09348).

``info_nce_keys`` is MoCo's: anchors against the keys of another network, with the negatives of a queue (v2,
arXiv 1911.05722) or of the batch (v3, 2104.02057, whose loss is 2 t times this one; recalled).

Large batches are computed in chunks of anchors, so that no matrix of all cosines is ever held
(``log_sum_exp``); loss and gradient stay the same up to rounding.
"""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor

from ablate.objective.effects import MarginOptions, anchor_losses
from ablate.objective.embeddings import check_temperature, check_views, directions
from ablate.objective.log_sum_exp import log_sum_exp

Negatives = Literal["two_view", "other_view"]


def info_nce(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float,
    negatives: Negatives = "two_view",
    chunk: int | None = None,
    **margin: Unpack[MarginOptions],
) -> Tensor:
    """Mean InfoNCE over the 2N anchors of both views; a scalar.

    z1, z2: embeddings [N, d] of the two views, N >= 2, of any scale; row i of both is one image. Half
    precision is computed in float32. temperature > 0; margin_angular in radians; margin_subtractive in
    units of cosine; effect, emphasis and mean_one: see ``effects``. chunk: images at a time, N or more: all;
    None: see ``log_sum_exp``. In chunks there is no second derivative and no ``torch.func``.

    Raises ValueError on mismatched shapes, fewer than 2 rows, or arguments out of range.
    """
    return info_nce_local(
        z1, z2, z1, z2, 0, temperature=temperature, negatives=negatives, chunk=chunk, **margin
    )


def info_nce_local(
    z1: Tensor,
    z2: Tensor,
    all_z1: Tensor,
    all_z2: Tensor,
    offset: int,
    *,
    temperature: float,
    negatives: Negatives = "two_view",
    chunk: int | None = None,
    **margin: Unpack[MarginOptions],
) -> Tensor:
    """One worker's share of ``info_nce``: the sum over its anchors / (2 N), so that workers' shares add up.

    z1, z2: this worker's embeddings [B, d], which are rows ``offset`` to ``offset + B`` of all_z1, all_z2
    [N, d], all workers' embeddings. If the gather that made ``all_*`` is differentiable (its backward sums
    over workers), the gradients are those of ``info_nce`` on the whole batch, except with ``mean_one``: its
    means are over this worker's 2B anchors.

    Raises ValueError as ``info_nce`` does, and where the rows do not fit.
    """
    check_views(z1, z2)
    if all_z1.shape != all_z2.shape or all_z1.shape[1:] != z1.shape[1:]:
        found = [list(z.shape) for z in (z1, all_z1, all_z2)]
        raise ValueError(f"z1, all_z1 and all_z2 must be [B, d], [N, d] and [N, d], found {found}")
    _check_rows(len(z1), all_z1, offset)
    check_temperature(temperature)
    if negatives not in get_args(Negatives):
        raise ValueError(f"negatives must be two_view or other_view, found {negatives!r}")
    with torch.autocast(z1.device.type, enabled=False):
        anchors = _both(z1, z2)
        same = anchors if all_z1 is z1 and all_z2 is z2 else _both(all_z1, all_z2)
        other = same.flip(0)
        positive = (anchors * other[:, offset : offset + len(z1)]).sum(2)
        if negatives == "two_view":
            rest = log_sum_exp(anchors, same, left_out=offset, temperature=temperature, chunk=chunk)
        else:
            by_view = zip(torch.split(anchors, 1), torch.split(other, 1), strict=True)
            rest = torch.cat(
                [log_sum_exp(a, b, left_out=offset, temperature=temperature, chunk=chunk) for a, b in by_view]
            )
        losses = anchor_losses(positive.flatten(), rest.flatten(), temperature=temperature, **margin)
        return losses.sum() / (2 * len(all_z1))


def info_nce_keys(
    anchors: Tensor,
    all_keys: Tensor,
    offset: int,
    *,
    queue: Tensor | None = None,
    temperature: float,
    chunk: int | None = None,
    **margin: Unpack[MarginOptions],
) -> Tensor:
    """One worker's share of InfoNCE against keys: the sum over its anchors / N; workers' shares add up.

    anchors: [B, d]. all_keys: [N, d]; the positive of anchor i is row ``offset + i``. Negatives are the other
    N - 1 keys, N >= 2, or with a queue [K, d], K >= 1, its rows and no others. All of any scale. Gradient
    flows into whatever asks for it: detach keys and queue to hold them fixed. Margins and chunk as in
    ``info_nce``; ``mean_one`` over this worker's B anchors.

    Raises ValueError where shapes or rows do not fit, or on arguments out of range.
    """
    if anchors.dim() != 2 or all_keys.dim() != 2 or anchors.shape[1] != all_keys.shape[1]:
        found = [list(z.shape) for z in (anchors, all_keys)]
        raise ValueError(f"anchors and all_keys must be [B, d] and [N, d], found {found}")
    if queue is None:
        _check_rows(len(anchors), all_keys, offset)
    elif queue.dim() != 2 or queue.shape[1:] != anchors.shape[1:] or not len(queue):
        raise ValueError(f"queue must be [K, {anchors.shape[1]}] with K >= 1, found {list(queue.shape)}")
    else:
        _check_rows(len(anchors), all_keys, offset, least=1)
    check_temperature(temperature)
    with torch.autocast(anchors.device.type, enabled=False):
        u, keys = directions(anchors), directions(all_keys)
        positive = (u * keys[offset : offset + len(u)]).sum(1)
        against, left_out = (keys, offset) if queue is None else (directions(queue), None)
        rest = log_sum_exp(u[None], against[None], left_out=left_out, temperature=temperature, chunk=chunk)[0]
        return anchor_losses(positive, rest, temperature=temperature, **margin).sum() / len(all_keys)


def _both(z1: Tensor, z2: Tensor) -> Tensor:
    """Directions [2, N, d] of both views."""
    return directions(torch.cat([z1, z2])).view(2, *z1.shape)


def _check_rows(count: int, gathered: Tensor, offset: int, *, least: int = 2) -> None:
    if not 0 <= offset <= len(gathered) - count:
        raise ValueError(
            f"rows {offset} to {offset + count} are not within the {len(gathered)} gathered rows"
        )
    if len(gathered) < least:
        raise ValueError(
            f"InfoNCE needs at least {least} images a batch, for negatives; found {len(gathered)}"
        )
