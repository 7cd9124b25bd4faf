"""CIFAR-10, CIFAR-100 and STL-10 through torchvision, which verifies the published MD5 sums as it opens them.

STL-10 gives its 5,000 labelled training images and 8,000 test images; its unlabelled part is not read.
CIFAR-100's 20 superclasses are read from its own files, where torchvision leaves them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.coarse import group_classes
from ablate.data.sources.image import resize_pixels
from ablate.data.sources.registry import (
    LABEL,
    Decode,
    Image,
    Indices,
    Names,
    Part,
    Source,
    array_part,
    register,
)
from ablate.spec.data import TorchvisionData


def _recipe(spec: TorchvisionData) -> dict[str, object]:
    # The sums are checked on opening, so the name alone says what the images are.
    return {"kind": spec.kind, "resolution": spec.resolution, "superclasses": spec.superclasses, "recipe": 1}


@register(TorchvisionData, recipe=_recipe)
def open_torchvision(spec: TorchvisionData) -> Source:
    sets = [open_set(spec.kind, spec.root, training, download=spec.download) for training in (True, False)]
    train, test = (_part(spec, found, name) for found, name in zip(sets, ("training", "test"), strict=True))
    source = Source({LABEL: tuple(sets[0].classes)}, train, test)
    return group_classes(source, _superclasses(sets[0])) if spec.superclasses else source


def _superclasses(cifar100: Any) -> tuple[tuple[str, Names], ...]:
    """The classes of each superclass, from pickles of which torchvision has verified the MD5 sums."""
    folder = Path(cifar100.root) / cifar100.base_folder
    meta = pickle.loads((folder / "meta").read_bytes())
    rows = pickle.loads((folder / "train").read_bytes(), encoding="latin1")
    coarse_of = dict(zip(rows["fine_labels"], rows["coarse_labels"], strict=True))
    fine = meta["fine_label_names"]
    return tuple(
        (name, tuple(fine[f] for f in sorted(coarse_of) if coarse_of[f] == number))
        for number, name in enumerate(meta["coarse_label_names"])
    )


def open_set(kind: str, root: str, training: bool, *, download: bool = False, key: str = "root") -> Any:
    """torchvision's data set ``kind`` in ``root``; raises DataError, which says to set data.``key``."""
    from ablate.torchvision_import import torchvision  # seconds of import that only a build needs

    sets = torchvision.datasets
    try:
        if kind == "stl10":
            return sets.STL10(root, split="train" if training else "test", download=download)
        named = {"cifar10": sets.CIFAR10, "cifar100": sets.CIFAR100, "mnist": sets.MNIST}
        return named[kind](root, train=training, download=download)
    except Exception as error:  # missing or corrupt files, no network, no right to write
        network = ", or set data.download: true on a machine with network" if key == "root" else ""
        raise DataError(
            f"{kind} cannot be read from {root!r} ({type(error).__name__}: {error}). Give the "
            f"folder that holds it as data.{key}{network}."
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

    return replace(part, read=read)
