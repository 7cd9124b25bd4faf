"""The only file that knows FFCV: write images into a beton, read a whole beton into tensors.

FFCV 1.0.2 is fast but full of traps, which are dealt with here:

- ``import ffcv`` compiles two dictionaries with numba (3 s) and sets torch's threads to one. It is imported
  with numba's compiler off (0.1 s), and torch's thread count is put back.
- Its writer forks processes, and a crash in one hangs the parent for ever. Samples are encoded here, in this
  process, by FFCV's own page allocator, so an error is just an error.
- Its loader compiles the decoder for each process (3 s). One pass of plain copies needs no compiler.
- Its batches alias a ring of buffers; they are copied out at once. One worker: no second thread pool, no
  clash with ``NUMBA_NUM_THREADS``, no abort from two live loaders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.data.error import DataError
from ablate.data.sources.registry import Image

_SMALL_PAGE, _PAGE = 2**21, 2**23  # bytes; FFCV's smallest page, and its default
_BATCH = 256


@dataclass(frozen=True)
class Layout:
    """How many pictures and how many integers a sample has."""

    pictures: int
    numbers: int

    @property
    def picture_names(self) -> list[str]:
        return [f"picture{k}" for k in range(self.pictures)]

    @property
    def number_names(self) -> list[str]:
        return [f"number{k}" for k in range(self.numbers)]


@dataclass(frozen=True)
class Samples:
    """A whole beton. ``pictures`` uint8 [N, 3, H, W] in channels_last memory, ``numbers`` int64 [N] each."""

    pictures: list[Tensor]
    numbers: list[Tensor]


def write_beton(
    path: Path, samples: Iterable[tuple[Image | int, ...]], layout: Layout, count: int, side: tuple[int, int]
) -> None:
    """Write ``count`` samples: pictures uint8 [H, W, 3] of one size ``side`` = (H, W), then numbers."""
    with _ffcv():
        from ffcv.fields import IntField, RGBImageField
        from ffcv.memory_allocator import MemoryAllocator
        from ffcv.writer import DatasetWriter, handle_sample

        fields = {
            **{name: RGBImageField(write_mode="raw") for name in layout.picture_names},
            **{name: IntField() for name in layout.number_names},
        }
        page = _SMALL_PAGE if side[0] * side[1] * 3 <= _SMALL_PAGE // 32 else _PAGE
        writer = DatasetWriter(str(path), fields, page_size=page)
        writer.num_samples = count
        writer.prepare()  # makes writer.metadata_sm, which outlives this process unless unlinked
        try:
            rows = np.zeros(count, dtype=writer.metadata_type)
            allocator = MemoryAllocator(str(path), writer.data_region_start, page)
            with allocator:
                for index, sample in enumerate(samples):
                    handle_sample(sample, index, rows.dtype.names, rows, allocator, fields)
            writer.metadata_sm.buf[: rows.nbytes] = rows.tobytes()
            writer.finalize(allocator.allocations)
        finally:
            writer.metadata_sm.close()
            writer.metadata_sm.unlink()


def read_beton(path: Path, layout: Layout) -> Samples:
    """Every sample of a beton, in the order it was written, on the CPU."""
    with _ffcv() as compiler:
        from ffcv.fields.basics import IntDecoder
        from ffcv.fields.rgb_image import SimpleRGBImageDecoder
        from ffcv.loader import Loader, OrderOption

        compiler.set_enabled(False)
        try:
            loader = Loader(
                str(path),
                batch_size=_BATCH,
                num_workers=1,
                os_cache=True,
                order=OrderOption.SEQUENTIAL,
                seed=0,
                drop_last=False,
                pipelines={
                    **{name: [SimpleRGBImageDecoder()] for name in layout.picture_names},
                    **{name: [IntDecoder()] for name in layout.number_names},
                },
            )
            return _drain(loader, layout)
        finally:
            compiler.set_enabled(True)


def _drain(loader: Any, layout: Layout) -> Samples:
    """Copy every batch out of the loader's buffers; the loop runs to its end, or FFCV's thread would leak."""
    pictures: list[Tensor] = []
    start, count = 0, int(loader.reader.num_samples)
    numbers = [torch.empty(count, dtype=torch.int64) for _ in range(layout.numbers)]
    for batch in loader:
        seen, rest = batch[: layout.pictures], batch[layout.pictures :]
        if start == 0:
            pictures = [torch.empty((count, *pixels.shape[1:]), dtype=torch.uint8) for pixels in seen]
        end = start + len(seen[0])
        for picture, pixels in zip(pictures, seen, strict=True):
            picture[start:end] = torch.from_numpy(pixels)
        for number, column in zip(numbers, rest, strict=True):
            number[start:end] = torch.from_numpy(column[:, 0])
        start = end
    return Samples([picture.permute(0, 3, 1, 2) for picture in pictures], numbers)


@contextmanager
def _ffcv() -> Iterator[Any]:
    """FFCV's compiler class, FFCV being imported; torch's thread count is as before at the end."""
    threads = torch.get_num_threads()
    try:
        import numba

        jit = numba.config.DISABLE_JIT
        numba.config.DISABLE_JIT = 1
        try:
            from ffcv.pipeline.compiler import Compiler
        finally:
            numba.config.DISABLE_JIT = jit
        yield Compiler
    except ImportError as error:
        raise DataError(
            f"FFCV, which reads and writes the image files, cannot be imported ({error}). It runs on Linux "
            "and needs the libraries that clusters/setup.sh installs; run that script."
        ) from error
    finally:
        torch.set_num_threads(threads)
