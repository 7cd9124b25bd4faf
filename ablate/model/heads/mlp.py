"""``depth`` linear layers with (batch norm and) ReLU between them: SimCLR's head (arXiv 2002.05709).

A layer has a bias exactly where no batch norm follows, since the norm would cancel it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import MLPHead


@register_head(MLPHead)
def mlp(spec: MLPHead, width: int) -> nn.Module:
    sizes = [width, *[spec.hidden] * (spec.depth - 1), spec.out]
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        last = number == spec.depth
        norm = spec.norm_last if last else spec.norm == "batch"
        layers.append(nn.Linear(inputs, outputs, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(outputs))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
