"""Corruptions: each does what its name says, more so with severity, always alike, and to the test split."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from ablate.data import load
from ablate.data.corruptions import corrupt
from ablate.data.sources import Image
from ablate.spec.data import CorruptionSpec, ParquetData

NAMES = get_args(CorruptionSpec.model_fields["name"].annotation)


def photo() -> Image:
    """Smooth shades with one sharp edge, away from black and white."""
    ys, xs = np.mgrid[:32, :32]
    image = 70 + 40 * np.sin(xs / 5) * np.cos(ys / 4) + 60 * (xs > ys)
    return np.stack([image, image * 0.8, image * 0.9], axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_severer_corruption_changes_more(name: str) -> None:
    image = photo()
    changes = []
    for severity in range(1, 6):
        found = corrupt(image, name, severity, key=3)
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        changes.append(float(np.abs(found.astype(float) - image).mean()))
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert np.array_equal(corrupt(image, name, 5, key=3), found)


def test_noise_has_the_deviation_asked_for_and_depends_on_its_key() -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    noise = corrupt(grey, "gaussian-noise", 2, key=0).astype(float) - 128
    assert abs(noise.std() / 255 - 0.07) < 5 * 0.07 / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 5 * 0.07 * 255 / np.sqrt(noise.size)
    assert not np.array_equal(corrupt(grey, "gaussian-noise", 2, key=1) - 128.0, noise)


def test_contrast_keeps_the_mean_and_brightness_shifts_it() -> None:
    image = photo()
    low = corrupt(image, "contrast", 2, key=0)
    assert abs(low.std() / image.std() - 0.5) < 0.1  # the channels' means stay apart
    assert abs(low.mean() - image.mean()) < 0.5
    assert corrupt(image, "brightness", 1, key=0).mean() - image.mean() == pytest.approx(0.08 * 255, abs=0.6)


def test_test_images_alone_are_corrupted(parquet: Path, cache: Path) -> None:
    def data(**options: object) -> tuple[torch.Tensor, torch.Tensor, str]:
        spec = ParquetData.model_validate({"path": str(parquet), **options})
        found = load(spec, seed=0, cache=cache, device=torch.device("cpu"), threads=1)
        return found.train.images, found.test.images, found.digest

    plain, spoilt = data(), data(corruption={"name": "brightness", "severity": 5})
    assert torch.equal(plain[0], spoilt[0])
    assert (spoilt[1] >= plain[1]).all()
    assert not torch.equal(spoilt[1], plain[1])
    assert plain[2] != spoilt[2]
