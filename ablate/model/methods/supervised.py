"""Plain supervision: a linear classifier of z, which takes the place of contrast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import Logits, Method, full
from ablate.model.methods.registered import Sizes, register_method
from ablate.spec.method import Supervised as SupervisedSpec


class Supervised(Method):
    """Both views -> logits [2B, C] of a linear layer on z."""

    def __init__(self, model: ContrastiveModel, sizes: Sizes, *, apart: bool) -> None:
        super().__init__(model, apart=apart)
        self.classifier = nn.Linear(sizes.z, sizes.classes)

    def forward(self, v1: Tensor, v2: Tensor) -> Logits:
        return Logits(full(self.classifier(torch.cat(self.embed(v1, v2)))))


@register_method(SupervisedSpec)
def supervised(_spec: SupervisedSpec, model: ContrastiveModel, sizes: Sizes, apart: bool) -> Method:
    return Supervised(model, sizes, apart=apart)
