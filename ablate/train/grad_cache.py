"""A batch that is too large for one forward pass, and a loss that sees all of it (GradCache).

Gao et al., arXiv 2101.06983: the embeddings of all microbatches are computed without a graph; the loss gives
each its gradient; then every microbatch goes through the networks once more, and its gradient back through
them. That is the gradient of the whole batch, but for batch norm, whose statistics are a microbatch's. The
networks may draw no random numbers of their own (dropout): both passes have to be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ablate.model.methods import Embedded, Keyed, Logits, Method, TwoViews
from ablate.model.statistics import statistics_held


class GradCache:
    """``embed`` a batch, send the loss backward, then call ``backward``: once each, in turn."""

    def __init__(self, method: Method, size: int, autocast: Callable[[], torch.autocast]) -> None:
        """``size``: images in a microbatch. ``autocast``: the precision, as a context for one forward."""
        self.method, self.size, self.autocast = method, size, autocast
        self._views: list[tuple[Tensor, Tensor]] = []
        self._leaves: tuple[Tensor, ...] = ()

    def embed(self, v1: Tensor, v2: Tensor) -> Embedded:
        """What the loss takes of a batch of views [B, 3, S, S]; its gradient stops here."""
        self._views = list(zip(torch.split(v1, self.size), torch.split(v2, self.size), strict=True))
        with torch.no_grad():
            parts = [self._forward(*views) for views in self._views]
        columns = zip(*map(_by_image, parts), strict=True)
        self._leaves = tuple(torch.cat(column).requires_grad_() for column in columns)
        return _joined(parts, self._leaves)

    def backward(self) -> None:
        """Send what gradient the loss left at the embeddings on to the weights."""
        gradients = zip(*(torch.split(_gradient(leaf), self.size) for leaf in self._leaves), strict=True)
        for views, gradient in zip(self._views, gradients, strict=True):
            with statistics_held(self.method):  # they have seen this microbatch
                part = self._forward(*views)
            torch.autograd.backward(_by_image(part), gradient)
        self._views, self._leaves = [], ()

    def _forward(self, v1: Tensor, v2: Tensor) -> Embedded:
        with self.autocast():
            embedded: Embedded = self.method(v1, v2)
        return embedded


def _by_image(embedded: Embedded) -> tuple[Tensor, ...]:
    """What has gradient, as tensors [B, ...] whose row i is of image i."""
    match embedded:
        case TwoViews(z1, z2):
            return z1, z2
        case Keyed(pairs):
            return tuple(query for query, _ in pairs)
        case Logits(logits):
            return tuple(logits.chunk(2))


def _keys(embedded: Embedded) -> tuple[Tensor, ...]:
    return tuple(key for _, key in embedded.pairs) if isinstance(embedded, Keyed) else ()


def _joined(parts: Sequence[Embedded], leaves: tuple[Tensor, ...]) -> Embedded:
    """The whole batch of ``parts``, with ``leaves`` for what has gradient."""
    match parts[0]:
        case TwoViews():
            return TwoViews(*leaves)
        case Keyed(_, queue):
            keys = map(torch.cat, zip(*map(_keys, parts), strict=True))
            return Keyed(tuple(zip(leaves, keys, strict=True)), queue)
        case Logits():
            return Logits(torch.cat(leaves))


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None  # every loss looks at all of what it takes
    return leaf.grad
