"""``depth`` linear layers with (batch norm and) ReLU between them: SimCLR's head (arXiv 2002.05709).

A layer has a bias exactly where no batch norm follows, since the norm would cancel it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import MLPHead


@register_head(MLPHead)
def mlp(spec: MLPHead, width: int) -> nn.Module:
    sizes = [width, *[spec.hidden] * (spec.depth - 1), spec.out]
    return perceptron(sizes, norm=spec.norm == "batch", norm_last=spec.norm_last)


def perceptron(sizes: Sequence[int], *, norm: bool, norm_last: bool) -> nn.Sequential:
    """Linear layers [B, sizes[0]] -> [B, sizes[-1]] with ReLU between them.

    Batch norm after every layer but the last if ``norm``, after the last if ``norm_last``.
    """
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        last = number == len(sizes) - 1
        normed = norm_last if last else norm
        layers.append(nn.Linear(inputs, outputs, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(outputs))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
