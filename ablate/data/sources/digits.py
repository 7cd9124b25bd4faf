"""scikit-learn's 1,797 real handwritten digits (UCI Optical Recognition, 8 x 8), enlarged to 16 x 16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ablate.data.choose import choose_stratified
from ablate.data.sources.registry import LABEL, Indices, Source, array_part, register
from ablate.spec.data import DigitsData

TEST_DIGITS = 597  # of 1,797; the same ones whatever the seed, and in every set made of these digits
_TEST_SEED = 1797
_SIDE = 16
NAMES = tuple("0123456789")


def raw_digits() -> tuple[NDArray[np.float64], Indices, Indices, Indices]:
    """(pixels [1797, 8, 8] in [0, 1], labels [1797], positions for training, positions held out as test)."""
    from sklearn.datasets import load_digits  # a second's import that only a build needs

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    test = choose_stratified(labels, TEST_DIGITS, seed=_TEST_SEED)
    return bunch.images / 16.0, labels, np.setdiff1d(np.arange(len(labels)), test), test


def _recipe(_spec: DigitsData) -> dict[str, object]:
    return {"kind": "digits", "recipe": 1}


def _enlarge(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    small = np.rint(pixels * 255).astype(np.uint8)
    size = (_SIDE, _SIDE)
    large = [PillowImage.fromarray(one).resize(size, PillowImage.Resampling.BILINEAR) for one in small]
    return np.stack([np.asarray(one) for one in large])


@register(DigitsData, recipe=_recipe)
def open_digits(_spec: DigitsData) -> Source:
    pixels, labels, train, test = raw_digits()
    images = _enlarge(pixels)
    return Source(
        {LABEL: NAMES},
        array_part(images[train], labels[train], name="digits training"),
        array_part(images[test], labels[test], name="digits test"),
    )
