"""What InfoNCE needs of an anchor's negatives: the log of the sum of e^{a . b / t}, in little memory.

Few logits are made all at once, as a matrix product that can be differentiated as often as one likes. Many
are made a chunk of anchors at a time: a chunk is reduced to its sums and forgotten, and made again for the
gradient, as FlashAttention does (Dao et al., arXiv 2205.14135). Memory then grows with N d, not with N^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_ONCE = 2**22  # logits; 16 MiB in float32


def log_sum_exp(
    anchors: Tensor, negatives: Tensor, *, left_out: int | None, temperature: float, chunk: int | None = None
) -> Tensor:
    """log sum e^{a . b / temperature} over the negatives b of each anchor a: [V, B].

    anchors: [V, B, d], of B images. negatives: [W, N, d], of N images; the anchors of image i leave out those
    of image ``left_out`` + i, if that is not None. chunk: images at a time, >= 1; None: as many as have
    ``AT_ONCE`` logits. Where that is not all B, a second derivative or ``torch.func`` raises RuntimeError.

    Raises ValueError if chunk is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, found {chunk}")
    views, images = anchors.shape[:2]
    count = chunk or max(1, AT_ONCE // (views * negatives[..., 0].numel()))
    scaled = anchors / temperature
    if count >= images:
        return torch.logsumexp(_logits(scaled, negatives, left_out), dim=1).view(views, images)
    found: Tensor = _Chunked.apply(scaled, negatives, left_out, count)  # type: ignore[no-untyped-call]
    return found


def _logits(anchors: Tensor, negatives: Tensor, left_out: int | None, out: Tensor | None = None) -> Tensor:
    """Inner products [V B, W N] of anchors [V, B, d], with -inf for what is left out."""
    logits = torch.mm(anchors.flatten(0, 1), negatives.flatten(0, 1).T, out=out)
    if left_out is not None:
        with torch.no_grad():  # -inf has no weight in the sum, so no derivative of it sees the logit
            by_image = logits.view(*anchors.shape[:2], *negatives.shape[:2])
            by_image.diagonal(left_out, 1, 3).fill_(-torch.inf)
    return logits


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, negatives: Tensor, left_out: int | None, count: int) -> Tensor:
        sums = torch.empty_like(anchors[..., 0])
        for images, logits in _chunks(anchors, negatives, left_out, count):
            sums[:, images] = torch.logsumexp(logits, dim=1).view(len(anchors), -1)
        ctx.left_out, ctx.count = left_out, count
        ctx.save_for_backward(anchors, negatives, sums)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        anchors, negatives, sums = ctx.saved_tensors
        by_anchors, by_negatives = (
            torch.zeros_like(x) if needed else None
            for x, needed in zip((anchors, negatives), ctx.needs_input_grad[:2], strict=True)
        )
        for images, logits in _chunks(anchors, negatives, ctx.left_out, ctx.count):
            some = anchors[:, images]
            weights = logits.sub_(sums[:, images].reshape(-1, 1)).exp_().mul_(grad[:, images].reshape(-1, 1))
            if by_anchors is not None:
                by_anchors[:, images] = (weights @ negatives.flatten(0, 1)).view_as(some)
            if by_negatives is not None:
                by_negatives.flatten(0, 1).addmm_(weights.T, some.flatten(0, 1))
        return by_anchors, by_negatives, None, None


def _chunks(
    anchors: Tensor, negatives: Tensor, left_out: int | None, count: int
) -> Iterator[tuple[slice, Tensor]]:
    """Some images and the logits of their anchors, in memory that the next ones take again."""
    views, total = anchors.shape[:2]
    columns = negatives[..., 0].numel()
    memory = anchors.new_empty(views * count, columns)
    for start in range(0, total, count):
        images = slice(start, min(start + count, total))
        some = anchors[:, images]
        out = memory[: views * some.shape[1]]
        yield images, _logits(some, negatives, None if left_out is None else left_out + start, out)
