"""Encoders: views [B, 3, S, S] -> representation ``h`` [B, D]; D is ``TrialSpec.width``. One a file."""

from __future__ import annotations

from torch import nn

from ablate.model.encoders.registered import encoders, register_encoder
from ablate.spec.encoder import EncoderSpec

# isort: split
from ablate.model.encoders import pixels, tiny_resnet, torchvision_resnet  # noqa: F401 (they register)

__all__ = ["build_encoder", "register_encoder"]


def build_encoder(spec: EncoderSpec, *, size: int) -> nn.Module:
    """The encoder of ``spec`` for views of side ``size``, initialised from torch's global generator.

    forward: float [B, 3, size, size], normalised -> h [B, D]. Raises TypeError on a class of spec that no
    builder is registered for.
    """
    return encoders.build(spec, size)
