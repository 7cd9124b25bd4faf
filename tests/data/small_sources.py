"""Small encoded images and files for the tests of sources and betons."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

CLASSES = ["ant", "bee", "cat"]


def pixels(seed: int, side: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def smooth(seed: int, side: int = 40) -> NDArray[np.uint8]:
    """Colour gradients, red where blue is not: what a JPEG keeps."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3))
    corners[..., 2] = 255 - corners[..., 0]
    share = np.linspace(0, 1, side)
    rows = corners[0] + share[:, None, None] * (corners[1] - corners[0])
    return np.round(rows[:, :1] + share[:, None] * (rows[:, 1:] - rows[:, :1])).astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def write_parquet(path: Path, images: list[bytes], labels: list[int]) -> None:
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
    table = pa.table(
        {"img": [{"bytes": b, "path": None} for b in images], "label": pa.array(labels, pa.int64())}
    )
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=7)
