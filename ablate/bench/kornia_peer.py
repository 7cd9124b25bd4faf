"""kornia's augmentations on whole batches, every image with parameters of its own.

Both views of all images are one batch, in one call. Its crop cuts out and resizes the images one by one
("slice", its default) or samples all at once ("resample"): which is faster depends on the size, so both are
timed and the faster one counts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ablate.bench.pace import pace
from ablate.bench.pictures import Pictures
from ablate.spec.views import ViewSpec

CROPS = ("slice", "resample")
_BLUR = 23


def augmentations(spec: ViewSpec, crop: str) -> nn.Sequential:
    """The steps of ``spec`` on float [B, 3, H, W] in 0..1, in a plain sequence: kornia's own container does
    more than is asked for."""
    import kornia.augmentation as K

    steps: list[Any] = [
        K.RandomResizedCrop(
            (spec.size, spec.size), scale=spec.crop_area, ratio=spec.crop_aspect, cropping_mode=crop
        ),
        K.RandomHorizontalFlip(p=spec.flip),
        K.ColorJitter(spec.brightness, spec.contrast, spec.saturation, spec.hue, p=spec.jitter),
        K.RandomGrayscale(p=spec.gray),
    ]
    if spec.blur > 0:
        steps.append(K.RandomGaussianBlur((_BLUR, _BLUR), spec.blur_sigma, p=spec.blur))
    return nn.Sequential(*steps, K.Normalize(torch.tensor(spec.mean), torch.tensor(spec.std)))


def two_views(images: Tensor, steps: nn.Module) -> tuple[Tensor, Tensor]:
    """float32 [B, 3, S, S] each of ``images`` uint8 [B, 3, H, W]."""
    pixels = images.float() / 255
    first, second = steps(torch.cat([pixels, pixels])).chunk(2)
    return first, second


def paces(pictures: Pictures, spec: ViewSpec, *, batch: int, seconds: float) -> dict[str, float]:
    """Views a second with each way to crop, and of the faster one as ``views``; batches drawn at random."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    found: dict[str, float] = {}
    for crop in CROPS:
        steps = augmentations(spec, crop)

        def work(steps: nn.Module = steps) -> int:
            views = two_views(images[torch.randint(len(images), (batch,))], steps)
            return sum(map(len, views))

        with torch.inference_mode():
            found[crop] = pace(work, seconds=seconds)
    return {**found, "views": max(found.values())}
