"""Common corruptions of images in five severities, in the manner of CIFAR-10-C (Hendrycks and Dietterich,
arXiv 1903.12261), made by us.

The kinds are theirs; the constants are ours, so that numbers cannot be compared with published ones. Noise is
keyed by the image's position: a corrupted set is the same on every machine and for every seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageFilter

from ablate.data.keyed import keyed_bits
from ablate.data.sources.registry import Decode, Image, Indices, Part
from ablate.spec.data import CorruptionSpec
from ablate.spec.streams import stream_seed


def corrupt(image: Image, name: str, severity: int, *, key: int) -> Image:
    """``image`` uint8 [H, W, 3] corrupted; ``severity`` 1 to 5; ``key`` is what its noise depends on.

    Raises KeyError for a name that is none.
    """
    function, constants = _CORRUPTIONS[name]
    return function(image, constants[severity - 1], key)


def corrupted(part: Part, spec: CorruptionSpec) -> Part:
    """``part`` with every image corrupted."""

    def one(image: Decode, index: int) -> Image:
        return corrupt(image(), spec.name, spec.severity, key=index)

    def read(indices: Indices) -> Iterator[Decode]:
        pairs = zip(part.read(indices), indices.tolist(), strict=True)
        return (partial(one, image, index) for image, index in pairs)

    return replace(part, read=read)


def _pixels(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image:
    return np.asarray(np.rint(255 * values.clip(0, 1)), dtype=np.uint8)


def _gaussian_noise(image: Image, deviation: float, key: int) -> Image:
    """Box and Muller's normal numbers, of uniform ones that are a function of the key."""
    seed = stream_seed("gaussian-noise")
    bits = keyed_bits(seed, torch.tensor([key]), 2 * image.size).numpy().reshape(2, *image.shape)
    first, second = (((b >> 11) & (2**53 - 1)) + 1 for b in bits)
    normal = np.sqrt(-2 * np.log(first / 2.0**53)) * np.cos(2 * np.pi * second / 2.0**53)
    return _pixels(image / 255 + deviation * normal)


def _gaussian_blur(image: Image, sigma: float, _key: int) -> Image:
    """``sigma`` in pixels of an image whose shorter side is 32; it grows with the side."""
    radius = sigma * min(image.shape[:2]) / 32
    return np.asarray(PillowImage.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _contrast(image: Image, factor: float, _key: int) -> Image:
    mean = image.mean((0, 1), keepdims=True) / 255
    return _pixels(mean + factor * (image / 255 - mean))


def _brightness(image: Image, shift: float, _key: int) -> Image:
    return _pixels(image / 255 + shift)


def _pixelate(image: Image, share: float, _key: int) -> Image:
    """Averaged down to ``share`` of its sides and enlarged by repeating pixels."""
    height, width = image.shape[:2]
    small = (max(1, round(share * width)), max(1, round(share * height)))
    picture = PillowImage.fromarray(image).resize(small, PillowImage.Resampling.BOX)
    return np.asarray(picture.resize((width, height), PillowImage.Resampling.NEAREST))


def _jpeg(image: Image, quality: float, _key: int) -> Image:
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "jpeg", quality=int(quality))
    return np.asarray(PillowImage.open(stream).convert("RGB"))


_Severities = tuple[float, float, float, float, float]
_CORRUPTIONS: dict[str, tuple[Callable[[Image, float, int], Image], _Severities]] = {
    "gaussian-noise": (_gaussian_noise, (0.04, 0.07, 0.10, 0.14, 0.18)),
    "gaussian-blur": (_gaussian_blur, (0.4, 0.7, 1.0, 1.4, 2.0)),
    "contrast": (_contrast, (0.75, 0.5, 0.35, 0.25, 0.15)),
    "brightness": (_brightness, (0.08, 0.15, 0.22, 0.3, 0.4)),
    "pixelate": (_pixelate, (0.75, 0.6, 0.5, 0.4, 0.3)),
    "jpeg": (_jpeg, (60, 40, 25, 15, 8)),
}
