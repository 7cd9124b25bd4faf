"""One encoder and one head for both views, gradients through both: the plainest method.

SimCLR, Barlow Twins, VICReg, spectral contrastive and SupCon differ in nothing but their loss.
"""

from __future__ import annotations

from torch import Tensor

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import Method, TwoViews, full
from ablate.model.methods.registered import Sizes, register_method
from ablate.spec.base import Spec
from ablate.spec.method import BarlowTwins, SimCLR, SpectralContrastive, SupCon, VICReg


class Siamese(Method):
    """Views [B, 3, S, S] -> h [B, D] -> z [B, d] of both, in two parts: `inner` needs what lies between."""

    def forward(self, v1: Tensor, v2: Tensor) -> TwoViews:
        return self.project(*self.encode(v1, v2))

    def encode(self, v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
        """h [B, D] of both views."""
        return self.per_view(self.model.encoder, v1, v2)

    def project(self, h1: Tensor, h2: Tensor) -> TwoViews:
        z1, z2 = self.per_view(self.model.head, h1, h2)
        return TwoViews(full(z1), full(z2))


@register_method(SimCLR, BarlowTwins, VICReg, SpectralContrastive, SupCon)
def siamese(_spec: Spec, model: ContrastiveModel, _sizes: Sizes, apart: bool) -> Method:
    return Siamese(model, apart=apart)
