"""CIFAR-10, CIFAR-100 and STL-10 through torchvision, which verifies the published MD5 sums as it opens them.

STL-10 gives its 5,000 labelled training images and 8,000 test images; its unlabelled part is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.image import resize_pixels
from ablate.data.sources.registry import Decode, Image, Indices, Part, Source, array_part, register
from ablate.spec.data import TorchvisionData


def _recipe(spec: TorchvisionData) -> dict[str, object]:
    # The sums are checked on opening, so the name alone says what the images are.
    return {"kind": spec.kind, "resolution": spec.resolution, "recipe": 1}


@register(TorchvisionData, recipe=_recipe)
def open_torchvision(spec: TorchvisionData) -> Source:
    train, test = (_open(spec, training) for training in (True, False))
    return Source(tuple(train.classes), _part(spec, train, "training"), _part(spec, test, "test"))


def _open(spec: TorchvisionData, training: bool) -> Any:
    from ablate.torchvision_import import torchvision  # seconds of import that only a build needs

    sets = torchvision.datasets
    try:
        if spec.kind == "stl10":
            return sets.STL10(spec.root, split="train" if training else "test", download=spec.download)
        cifar = sets.CIFAR10 if spec.kind == "cifar10" else sets.CIFAR100
        return cifar(spec.root, train=training, download=spec.download)
    except Exception as error:  # missing or corrupt files, no network, no right to write
        raise DataError(
            f"{spec.kind} cannot be read from {spec.root!r} ({type(error).__name__}: {error}). Give the "
            "folder that holds it as data.root, or set data.download: true on a machine with network."
        ) from error


def _part(spec: TorchvisionData, dataset: Any, name: str) -> Part:
    if spec.kind == "stl10":
        pixels, labels = dataset.data.transpose(0, 2, 3, 1), dataset.labels
    else:
        pixels, labels = dataset.data, dataset.targets
    part = array_part(pixels, np.asarray(labels, dtype=np.int64), name=f"{spec.kind} {name}")
    return part if spec.resolution is None else _resized(part, spec.resolution)


def _resized(part: Part, resolution: int) -> Part:
    def resized(image: Decode) -> Image:
        return resize_pixels(image(), resolution)

    def read(indices: Indices) -> Iterator[Decode]:
        return (partial(resized, image) for image in part.read(indices))

    return Part(part.labels, part.groups, read, part.where)
