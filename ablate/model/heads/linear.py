"""One linear layer: z = W h (+ b), W [out, D]."""

from __future__ import annotations

from torch import nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import LinearHead


@register_head(LinearHead)
def linear(spec: LinearHead, width: int) -> nn.Module:
    return nn.Linear(width, spec.out, bias=spec.bias)
