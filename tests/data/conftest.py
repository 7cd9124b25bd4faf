"""Small sources written on the spot, and the shared ones where they are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.small_sources import CLASSES, pixels, png, write_parquet


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """30 training and 12 test images of three classes; image k of a split has the pixels of seed k."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    for name, first, count in (("train", 0, 30), ("test", 1000, 12)):
        images = [png(pixels(first + k)) for k in range(count)]
        write_parquet(folder / f"{name}-00000-of-00001.parquet", images, [k % 3 for k in range(count)])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three class folders of ten images each."""
    root = tmp_path / "photos"
    for c, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for k in range(10):
            (root / name / f"{k}.png").write_bytes(png(pixels(100 * c + k)))
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a real data set beside the repository; the test is skipped where there is none."""

    def find(name: str) -> Path:
        root = os.environ.get("ABLATE_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
        path = Path(root) / name
        if not path.is_dir():
            pytest.skip(f"no {name} in {root} (set ABLATE_TEST_DATA)")
        return path

    return find
