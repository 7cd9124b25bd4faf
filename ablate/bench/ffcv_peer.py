"""Plain FFCV: its own loader, with one pipeline for each view.

Crop and flip are the only random steps it has for this recipe, so nothing else is compared. Each pipeline
decodes the JPEG again, as FFCV does. Random order; the loader is told every image many times over, so that no
start of an epoch is timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.bench.pace import pace
from ablate.spec.views import ViewSpec

_TIMES = 200  # that each image is in the loader's list


def loader(beton: Path, spec: ViewSpec, *, batch: int, workers: int) -> Any:
    """FFCV's loader of two views of the first picture of every sample; compiled when first iterated."""
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.pipeline import PipelineSpec
    from ffcv.reader import Reader
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage

    def steps() -> list[Any]:
        mean, std = 255 * np.array(spec.mean), 255 * np.array(spec.std)
        return [
            RandomHorizontalFlip(spec.flip),
            NormalizeImage(mean, std, np.float32),
            ToTensor(),
            ToTorchImage(),
        ]

    def decoder() -> Any:
        return RandomResizedCropRGBImageDecoder((spec.size, spec.size), spec.crop_area, spec.crop_aspect)

    reader = Reader(str(beton))
    field, *others = reader.field_names
    return Loader(
        str(beton),
        batch_size=batch,
        num_workers=workers,
        os_cache=True,
        order=OrderOption.RANDOM,
        seed=0,
        indices=np.tile(np.arange(reader.num_samples, dtype=np.uint64), _TIMES),
        pipelines={
            field: [decoder(), *steps()],
            "second": PipelineSpec(field, decoder(), steps()),
            **dict.fromkeys(others),  # not decoded
        },
    )


def jpegs(beton: Path) -> list[bytes]:
    """The encoded first picture of every sample, as it lies in the file."""
    from ffcv.reader import Reader

    reader = Reader(str(beton))
    ends = {int(at): int(at) + int(size) for _, at, size in reader.alloc_table.tolist()}
    starts = [int(row[0][-1]) for row in reader.metadata.tolist()]
    content = np.memmap(beton, mode="r", dtype=np.uint8)
    return [content[start : ends[start]].tobytes() for start in starts]


def paces(beton: Path, spec: ViewSpec, *, batch: int, workers: int, seconds: float) -> dict[str, float]:
    """``views`` a second, and ``first``: seconds from making the loader to its first batch, which is nearly
    all compilation."""
    began = time.perf_counter()
    batches: Iterator[tuple[Tensor, Tensor]] = iter(loader(beton, spec, batch=batch, workers=workers))
    next(batches)
    first = time.perf_counter() - began
    with torch.inference_mode():
        views = pace(lambda: sum(map(len, next(batches))), seconds=seconds)
    return {"views": views, "first": first}
