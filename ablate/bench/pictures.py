"""Pictures for the benches, uint8 [N, side, side, 3]: made up from a seed, or read from a folder of photos.

Made-up ones have what the work depends on: they are smooth as photos are, brightness varies more than colour,
there is a little noise, and their JPEGs are as large: at 256 px and quality 90 they have 24.7 kB, those of
100 photos of ImageNet 24.0 kB on average (measured). That takes an amplitude that falls as frequency^-1.5,
faster than photos' 1/frequency (Field, J. Opt. Soc. Am. A 4, 1987), whose detail is in few places, at edges.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from ablate.bench.figures import BenchError
from ablate.data import Dataset, Split
from ablate.data.sources.folder import images_below
from ablate.data.sources.image import decode

Pictures = NDArray[np.uint8]

_FALL = 1.5
_CONTRAST, _COLOUR, _NOISE = 55.0, 0.25, 2.0  # spreads: of brightness, of a colour against it, of the noise
_TEST = 20  # images of a source's test split


def made_up(count: int, side: int, *, seed: int = 0) -> Pictures:
    """``count`` pictures, the same for the same ``seed``."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf  # no constant: the mean is set below
    found = np.empty((count, side, side, 3), dtype=np.uint8)
    for picture in found:
        white = random.standard_normal((3, 2, *frequency.shape))
        layers = np.fft.irfft2((white[:, 0] + 1j * white[:, 1]) / frequency**_FALL, s=(side, side))
        brightness, *colours = layers / layers.std((1, 2), keepdims=True)
        red, blue = (_COLOUR * colour for colour in colours)
        planes = np.stack([brightness + red, brightness - red - blue, brightness + blue], axis=-1)
        noise = _NOISE * random.standard_normal(planes.shape)
        picture[:] = np.clip(118 + _CONTRAST * planes + noise, 0, 255)
    return found


def read_photos(folder: Path, count: int, side: int) -> Pictures:
    """The first ``count`` pictures anywhere below ``folder``, image files or rows of parquet files, their
    shorter side brought to ``side`` and the centre kept; fewer if there are no more.

    Raises BenchError if there is none, DataError for one that cannot be read.
    """
    encoded = islice(_encoded(folder), count)
    found = [decode(content, side, where) for where, content in encoded]
    if not found:
        raise BenchError(f"{folder}: holds neither image files nor parquet files with a column of images")
    return np.stack(found)


def _encoded(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in images_below(folder):
        yield str(file), file.read_bytes()
    for file in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            named = [field.name for field in parquet.schema_arrow if _holds_images(field.type)]
            for batch in parquet.iter_batches(batch_size=32, columns=named[:1]) if named else ():
                for row in batch.column(0).to_pylist():
                    yield str(file), row["bytes"]


def _holds_images(kind: Any) -> bool:
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


def resident(pictures: Pictures, device: torch.device) -> Dataset:
    """A ``Dataset`` of ``pictures`` in two classes; its splits are all the same."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device)
    ids = torch.arange(len(images), device=device)
    split = Split(images, ids % 2, ids)
    return Dataset(split, split, split, ("even", "odd"), "made up")


def write_source(folder: Path, pictures: Pictures) -> None:
    """Write ``pictures``, without loss, as a source of kind parquet: two classes in turn, all of them for
    training and the first twenty for testing."""
    folder.mkdir()
    encoded = [_png(picture) for picture in pictures]
    for split, part in (("train", encoded), ("test", encoded[:_TEST])):
        features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["even", "odd"]}}
        columns = {
            "img": [{"bytes": content, "path": None} for content in part],
            "label": [k % 2 for k in range(len(part))],
        }
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table(columns).replace_schema_metadata(metadata)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=100)


def _png(picture: Pictures) -> bytes:
    written = io.BytesIO()
    Image.fromarray(picture).save(written, "png", compress_level=1)
    return written.getvalue()
