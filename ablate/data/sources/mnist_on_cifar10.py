"""MNIST-on-CIFAR-10: a digit pasted on a photo, two labels an image (Xue et al., arXiv 2403.11391).

As in a reproduction of the paper (its configuration was read, the paper's own code was not): the digit is
resized to 16 x 16 and centred on the 32 x 32 photo; where its pixels are above 0 the image is
(1 - s) photo + s digit, s = 0.7. Ours: Pillow's antialiased bilinear resize, and that DropDigit
(``views.drop``) shows exactly the photo again, which is stored beside the image.

Pairing, the same for all seeds: every photo is used once, with a digit that does not depend on its class, so
that digit and object are independent. Test photos get test digits. Where MNIST comes as one split, a fifth of
each digit class is held out for them; no digit image is in both. Training digits repeat, as there are more
photos; photos of one digit form a group, so that train and validation share neither photo nor digit image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ablate.data.choose import choose_stratified
from ablate.data.error import DataError
from ablate.data.keyed import keyed_permutation
from ablate.data.sources.folder import existing
from ablate.data.sources.parquet import open_splits, split_lists
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
from ablate.data.sources.torchvision_sets import open_set
from ablate.spec.data import MNISTOnCIFAR10Data

_SIDE, _DIGIT = 32, 16
_TEST_SHARE = 0.2  # of the digits, where they come as one split
_TEST_SEED = 1998
_PAIR_SEED = 2009


def _recipe(spec: MNISTOnCIFAR10Data) -> dict[str, object]:
    # Of torchvision's files the layout says everything: it checks their sums.
    return {
        "kind": spec.kind,
        "label": spec.label,
        "strength": spec.strength,
        "layout": spec.layout,
        "recipe": 1,
    }


def _files(spec: MNISTOnCIFAR10Data) -> list[Path]:
    if spec.layout == "torchvision":
        return []
    roots = [existing(spec.cifar10, "data.cifar10"), existing(spec.mnist, "data.mnist")]
    return [f for root in roots for files in split_lists(str(root)) for f in files]


@register(MNISTOnCIFAR10Data, recipe=_recipe, files=_files)
def open_mnist_on_cifar10(spec: MNISTOnCIFAR10Data) -> Source:
    objects, photos = _splits(spec, "cifar10", spec.cifar10)
    if len(photos) != 2:
        raise DataError(f"{spec.cifar10}: needs the training and the test split of CIFAR-10, found one.")
    names, digits = _splits(spec, "mnist", spec.mnist)
    if len(digits) == 2:
        sources = [(part, np.arange(len(part.groups), dtype=np.int64)) for part in digits]
    else:
        labels = digits[0].factors[LABEL]
        held = choose_stratified(labels, round(_TEST_SHARE * len(labels)), seed=_TEST_SEED)
        sources = [(digits[0], np.setdiff1d(np.arange(len(labels)), held)), (digits[0], held)]
    train, test = (
        _composed(spec, photo, digit, allowed, seed)
        for seed, (photo, (digit, allowed)) in enumerate(zip(photos, sources, strict=True))
    )
    factors = {"digit": names, "object": objects}
    return Source({spec.label: factors[spec.label], **factors}, train, test, label=spec.label)


def _splits(spec: MNISTOnCIFAR10Data, kind: str, path: str) -> tuple[Names, list[Part]]:
    if spec.layout == "parquet":
        return open_splits(path)
    sets = [open_set(kind, path, training, key=kind) for training in (True, False)]
    parts = [
        array_part(np.asarray(one.data), np.asarray(one.targets, dtype=np.int64), name=f"{kind} {name}")
        for one, name in zip(sets, ("training", "test"), strict=True)
    ]
    names = tuple("0123456789") if kind == "mnist" else tuple(sets[0].classes)
    return names, parts


def _composed(spec: MNISTOnCIFAR10Data, photos: Part, digits: Part, allowed: Indices, seed: int) -> Part:
    """Every photo with one of the ``allowed`` digits; each digit serves equally often, to within one."""
    count = len(photos.groups)
    order = keyed_permutation(_PAIR_SEED + seed, count).numpy()
    digit_of = np.empty(count, dtype=np.int64)
    digit_of[order] = np.resize(allowed, count)

    def read(indices: Indices) -> Iterator[Decode]:
        needed = np.unique(digit_of[indices])
        small = {int(i): _small(make()) for i, make in zip(needed, digits.read(needed), strict=True)}
        for index, photo in zip(indices, photos.read(indices), strict=True):
            yield partial(_paste, photo, small[int(digit_of[index])], spec.strength, photos.where(int(index)))

    return Part(
        {"digit": digits.factors[LABEL][digit_of], "object": photos.factors[LABEL]},
        digit_of,
        read,
        lambda i: f"{photos.where(i)} with {digits.where(int(digit_of[i]))}",
        alternates=photos.read,
    )


def _small(digit: Image) -> NDArray[np.uint8]:
    """[16, 16] of a grey image [28, 28, 3]."""
    picture = PillowImage.fromarray(digit[..., 0]).resize((_DIGIT, _DIGIT), PillowImage.Resampling.BILINEAR)
    return np.asarray(picture)


def _paste(photo: Decode, digit: NDArray[np.uint8], strength: float, where: str) -> Image:
    image = photo().copy()
    if image.shape != (_SIDE, _SIDE, 3):
        raise DataError(f"{where}: is {image.shape[1]} x {image.shape[0]} pixels, not CIFAR-10's 32 x 32.")
    start = (_SIDE - _DIGIT) // 2
    inner = image[start : start + _DIGIT, start : start + _DIGIT]
    mixed = np.rint((1 - strength) * inner + strength * digit[..., None]).astype(np.uint8)
    inner[:] = np.where(digit[..., None] > 0, mixed, inner)
    return image
