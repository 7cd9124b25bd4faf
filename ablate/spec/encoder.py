"""Encoders: views -> representation ``h``; a discriminated union on ``kind``.

``features(size)`` of each is D, the dimension of ``h``, for views of side ``size``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablate.spec.base import Spec


class TinyResNet(Spec):
    """A small residual net for CPUs: 3 x 3 stem, then one stage per entry of ``blocks``."""

    kind: Literal["tiny-resnet"] = "tiny-resnet"
    width: int = Field(32, ge=4, le=256, description="channels of the first stage; doubled at each stage")
    blocks: Annotated[tuple[int, ...], Field(strict=False, min_length=1, max_length=4)] = (1, 1)

    def features(self, _size: int) -> int:
        return self.width << (len(self.blocks) - 1)


class TorchvisionResNet(Spec):
    """torchvision's residual nets without their classifier."""

    kind: Literal["resnet18", "resnet34", "resnet50"]
    stem: Literal["imagenet", "cifar"] = Field(description="cifar: 3 x 3 stride 1 and no max-pool")
    zero_init_residual: bool = False

    def features(self, _size: int) -> int:
        return 2048 if self.kind == "resnet50" else 512


class Pixels(Spec):
    """No network at all: ``h`` is the flattened image. The raw-pixel control."""

    kind: Literal["pixels"] = "pixels"

    def features(self, size: int) -> int:
        return 3 * size**2


EncoderSpec = Annotated[TinyResNet | TorchvisionResNet | Pixels, Field(discriminator="kind")]
