"""Pictures for the benches: repeatable, like photos, and readable by every contender."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.bench import BenchError
from ablate.bench.pictures import made_up, read_photos, write_source
from ablate.data import load
from ablate.spec.data import ParquetData
from tests.data.small_sources import pixels, png, write_parquet


def test_made_up_pictures_depend_on_their_seed_alone() -> None:
    first = made_up(3, 32)
    assert first.shape == (3, 32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, made_up(3, 32))
    assert np.array_equal(first[:2], made_up(2, 32))
    assert not np.array_equal(first, made_up(3, 32, seed=1))


def test_made_up_pictures_are_neither_flat_nor_noise() -> None:
    """Their JPEGs of quality 90 are as large as those of photos: two to five bits a pixel."""
    for picture in made_up(4, 256):
        assert 30 < picture.std() < 80
        written = io.BytesIO()
        Image.fromarray(picture).save(written, "jpeg", quality=90)
        assert 2.0 < 8 * len(written.getvalue()) / 256**2 < 5.0


def test_photos_are_found_as_files_and_in_parquet_and_brought_to_one_size(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.fromarray(pixels(0, 40)).save(tmp_path / "deep" / "a.png")
    write_parquet(tmp_path / "deep" / "any-name.parquet", [png(pixels(k, 20)) for k in range(5)], [0] * 5)
    found = read_photos(tmp_path, 10, 20)
    assert found.shape == (6, 20, 20, 3)
    assert all(np.array_equal(found[1 + k], pixels(k, 20)) for k in range(5))
    assert len(read_photos(tmp_path, 3, 20)) == 3


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(BenchError, match="holds neither image files nor parquet files"):
        read_photos(tmp_path, 3, 20)


def test_a_written_source_holds_every_pixel(tmp_path: Path) -> None:
    pictures = made_up(40, 24)
    write_source(tmp_path / "source", pictures)
    spec = ParquetData(path=str(tmp_path / "source"))
    data = load(spec, seed=0, cache=tmp_path / "cache", device=torch.device("cpu"), threads=1)
    assert len(data.test.labels) == 20
    assert (len(data.train.labels), len(data.val.labels)) == (32, 8)
    ids = data.train.ids.numpy()
    images = data.train.images[torch.arange(32)].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images, pictures[ids])
