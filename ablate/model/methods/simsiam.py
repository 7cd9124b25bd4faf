"""SimSiam (Chen and He, arXiv 2011.10566): a predictor, and a stop-gradient on what it predicts."""

from __future__ import annotations

from torch import Tensor

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import Keyed, Method, build_predictor, full
from ablate.model.methods.registered import Sizes, register_method
from ablate.spec.method import SimSiam as SimSiamSpec


class SimSiam(Method):
    """Predictions [B, d] of each view, paired with the other view's z [B, d], which gets no gradient."""

    def __init__(self, spec: SimSiamSpec, model: ContrastiveModel, width: int, *, apart: bool) -> None:
        super().__init__(model, apart=apart)
        self.predictor = build_predictor(spec.predictor, width)

    def forward(self, v1: Tensor, v2: Tensor) -> Keyed:
        z1, z2 = self.embed(v1, v2)
        p1, p2 = self.per_view(self.predictor, z1, z2)
        return Keyed(((full(p1), full(z2).detach()), (full(p2), full(z1).detach())))


@register_method(SimSiamSpec)
def simsiam(spec: SimSiamSpec, model: ContrastiveModel, sizes: Sizes, apart: bool) -> Method:
    return SimSiam(spec, model, sizes.z, apart=apart)
