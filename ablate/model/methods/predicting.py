"""A predictor of the embedding that a momentum copy gives to the other view: BYOL and MoCo v3.

They differ in their loss: positives only (BYOL, Grill et al., arXiv 2006.07733), or InfoNCE with the other
keys of the batch as negatives (MoCo v3, Chen et al., 2104.02057, which multiplies it by 2 * temperature; here
it is not). Both papers add the losses of the two queries (recalled); here their mean is taken. Without batch
norm in the predictor or the head BYOL may collapse; the trial then says so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import (
    Embedded,
    Keyed,
    Method,
    build_predictor,
    follow,
    full,
    momentum_copy,
    rising,
)
from ablate.model.methods.registered import Sizes, register_method
from ablate.spec.method import BYOL, MoCoV3


class PredictingCopy(Method):
    """A predictor on the queries, keys of a momentum copy, both views as queries."""

    def __init__(self, spec: MoCoV3 | BYOL, model: ContrastiveModel, width: int, *, apart: bool) -> None:
        super().__init__(model, apart=apart)
        self.momentum = spec.momentum
        self.predictor = build_predictor(spec.predictor, width)
        self.copied = momentum_copy(model)

    def forward(self, v1: Tensor, v2: Tensor) -> Keyed:
        p1, p2 = self.per_view(self.predictor, *self.embed(v1, v2))
        with torch.no_grad():
            k1, k2 = self.per_view(self.copied.head, *self.per_view(self.copied.encoder, v1, v2))
        return Keyed(((full(p1), full(k2)), (full(p2), full(k1))))

    def after_step(self, embedded: Embedded, progress: float, gather: Callable[[Tensor], Tensor]) -> None:  # noqa: ARG002
        follow(self.copied, self.model, rising(self.momentum, progress))


@register_method(BYOL, MoCoV3)
def predicting_copy(spec: BYOL | MoCoV3, model: ContrastiveModel, sizes: Sizes, apart: bool) -> Method:
    return PredictingCopy(spec, model, sizes.z, apart=apart)
