"""MoCo v2 (He et al., arXiv 1911.05722; Chen et al., 2003.04297): a momentum copy and a queue of its keys."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import (
    Embedded,
    Keyed,
    Method,
    follow,
    full,
    momentum_copy,
)
from ablate.model.methods.registered import Sizes, register_method
from ablate.spec.method import MoCoV2


class QueueMoCo(Method):
    """View 1 -> queries [B, d]; view 2 through the copy -> keys [B, d]; and a queue [K, d] of older keys."""

    def __init__(self, spec: MoCoV2, model: ContrastiveModel, width: int, *, apart: bool) -> None:
        super().__init__(model, apart=apart)
        self.spec = spec
        self.copied = momentum_copy(model)
        self.register_buffer("queue", normalize(torch.randn(spec.queue, width), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))

    queue: Tensor
    oldest: Tensor

    def forward(self, v1: Tensor, v2: Tensor) -> Keyed:
        if not self.spec.symmetric:
            query, key = self.model(v1)[1], self._keys(v2)
            return Keyed(((full(query), key),), self.queue)
        q1, q2 = self.embed(v1, v2)
        return Keyed(((full(q1), self._keys(v2)), (full(q2), self._keys(v1))), self.queue)

    @torch.no_grad()
    def _keys(self, view: Tensor) -> Tensor:
        return full(self.copied(view)[1])

    @torch.no_grad()
    def after_step(self, embedded: Embedded, progress: float, gather: Callable[[Tensor], Tensor]) -> None:  # noqa: ARG002
        """The copy follows, and the keys of the first pair take the place of the oldest."""
        assert isinstance(embedded, Keyed)
        follow(self.copied, self.model, self.spec.momentum)
        keys = normalize(gather(embedded.pairs[0][1]), dim=1)
        rows = (self.oldest + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue = self.queue.index_copy(0, rows, keys)  # anew: this step's graph may hold the old one
        self.oldest = (self.oldest + len(keys)) % len(self.queue)


@register_method(MoCoV2)
def moco_v2(spec: MoCoV2, model: ContrastiveModel, sizes: Sizes, apart: bool) -> Method:
    return QueueMoCo(spec, model, sizes.z, apart=apart)
