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
class Samples:
    """A whole beton. ``images`` uint8 [N, 3, H, W] in channels_last memory; the others int64 [N]."""

    images: Tensor
    labels: Tensor
    groups: Tensor


def write_beton(
    path: Path, samples: Iterable[tuple[Image, int, int]], count: int, side: tuple[int, int]
) -> None:
    """Write ``count`` samples (image uint8 [H, W, 3], label, group) of one size ``side`` = (H, W)."""
    with _ffcv():
        from ffcv.fields import IntField, RGBImageField
        from ffcv.memory_allocator import MemoryAllocator
        from ffcv.writer import DatasetWriter, handle_sample

        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField(), "group": IntField()}
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


def read_beton(path: Path) -> Samples:
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
                    "image": [SimpleRGBImageDecoder()],
                    "label": [IntDecoder()],
                    "group": [IntDecoder()],
                },
            )
            return _drain(loader)
        finally:
            compiler.set_enabled(True)


def _drain(loader: Any) -> Samples:
    """Copy every batch out of the loader's buffers; the loop runs to its end, or FFCV's thread would leak."""
    images, start = torch.empty(0), 0
    count = int(loader.reader.num_samples)
    labels, groups = (torch.empty(count, dtype=torch.int64) for _ in range(2))
    for batch, label, group in loader:
        if start == 0:
            images = torch.empty((count, *batch.shape[1:]), dtype=torch.uint8)
        end = start + len(batch)
        images[start:end] = torch.from_numpy(batch)
        labels[start:end] = torch.from_numpy(label[:, 0])
        groups[start:end] = torch.from_numpy(group[:, 0])
        start = end
    return Samples(images.permute(0, 3, 1, 2), labels, groups)


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
