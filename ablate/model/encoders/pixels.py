"""The raw-pixel control: ``h`` is the flattened view, [B, 3 S^2]. No parameters."""

from __future__ import annotations

from torch import nn

from ablate.model.encoders.registered import register_encoder
from ablate.spec.encoder import Pixels


@register_encoder(Pixels)
def pixels(_spec: Pixels, _size: int) -> nn.Module:
    return nn.Flatten()
