"""The only file that knows FFCV: write images into a beton, read any of them back.

The format, the writer's parts, the reader of a beton's tables and the JPEG decoder are FFCV 1.0.2's. Its
traps are dealt with here, and most of them by doing without its loader and its writer's processes:

- ``import ffcv`` compiles two dictionaries with numba (3 s) and sets torch's threads to one. It is imported
  with numba's compiler off (0.1 s), and torch's thread count is put back.
- Its writer forks processes, and a crash in one hangs the parent for ever. Samples are encoded here, in this
  process, by FFCV's own page allocator, so an error is just an error.
- Its loader compiles a decoder in every process (3 s, and 30 s with augmentations), hands out batches that
  alias a ring of buffers, leaks its threads if an epoch is left early, draws from a global seed, and aborts
  beside a second loader. Here an image is a read at the place that FFCV's tables name and a call of FFCV's C
  decoder through ctypes. Both let other threads run, so plain threads decode (``streamed.py``): nothing to
  compile, no ring, no seed.
- Its loader maps the file and ignores what the decoder returns: a file that is cut short kills the process,
  and a damaged JPEG is a picture of whatever the buffer held. Here both are errors that name the image. What
  libjpeg does not notice, such as a flipped bit among the coefficients, is not noticed here either.
- Its decoder keeps two handles of libjpeg-turbo for each thread that ever called it, which are not freed when
  the thread ends (9 kB measured): threads live as long as their dataset, not as long as an epoch.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.data.error import DataError
from ablate.data.sources.registry import Image, Indices

_SMALL_PAGE, _PAGE = 2**21, 2**23  # bytes; FFCV's smallest page, and its default
_JPEG = 0  # FFCV's number for that way of writing a picture


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


@dataclass(frozen=True, eq=False)
class Pictures:
    """Where one picture of every sample lies in a beton."""

    path: Path
    offsets: Indices  # [N]
    sizes: Indices  # [N] bytes
    side: tuple[int, int]  # height and width
    jpeg: bool  # else raw pixels


@dataclass(frozen=True, eq=False)
class Samples:
    """A beton: its pictures, still on disk, and ``numbers`` int64 [N] each."""

    pictures: list[Pictures]
    numbers: list[Tensor]


def write_beton(
    path: Path,
    samples: Iterable[tuple[Image | int, ...]],
    layout: Layout,
    count: int,
    side: tuple[int, int],
    jpeg: int | None = None,
) -> None:
    """Write ``count`` samples: pictures uint8 [H, W, 3] of one size ``side`` = (H, W), then numbers.

    ``jpeg``: the quality, 1 to 100, of the JPEGs that pictures are kept as; None: raw pixels.
    """
    with _ffcv():
        from ffcv.fields import IntField, RGBImageField
        from ffcv.memory_allocator import MemoryAllocator
        from ffcv.writer import DatasetWriter, handle_sample

        picture = (
            RGBImageField(write_mode="raw")
            if jpeg is None
            else RGBImageField(write_mode="jpg", jpeg_quality=jpeg)
        )
        fields = {
            **dict.fromkeys(layout.picture_names, picture),
            **{name: IntField() for name in layout.number_names},
        }
        picture_bytes = side[0] * side[1] * 3
        page = _SMALL_PAGE if picture_bytes <= _SMALL_PAGE // 32 else _PAGE
        while page < layout.pictures * picture_bytes:  # a sample lies on one page
            page *= 2
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


def read_samples(path: Path, layout: Layout) -> Samples:
    """The tables of a beton; no picture is read.

    Raises OSError, ValueError, LookupError or AssertionError if they are not whole.
    """
    with _ffcv():
        from ffcv.reader import Reader

        reader = Reader(str(path))
    found, table = reader.metadata, reader.alloc_table
    names = [*layout.picture_names, *layout.number_names]
    if len(found) != reader.num_samples or reader.field_names != names:
        raise ValueError("its tables are not those of its samples")
    columns = [found[name] for name in found.dtype.names]
    table = table[np.argsort(table["ptr"])]
    pictures = [_pictures(path, column, table) for column in columns[: layout.pictures]]
    numbers = [torch.from_numpy(column.astype(np.int64)) for column in columns[layout.pictures :]]
    return Samples(pictures, numbers)


def _pictures(path: Path, column: NDArray[Any], table: NDArray[Any]) -> Pictures:
    """Of the pictures that ``column`` of the metadata describes; ``table``: of the pieces of the file."""
    place = np.searchsorted(table["ptr"], column["data_ptr"]).clip(max=len(table) - 1)
    mode, height, width = (int(column[name][0]) for name in ("mode", "height", "width"))
    offsets, sizes = (table[name][place].astype(np.int64) for name in ("ptr", "size"))
    whole = (
        (table["ptr"][place] == column["data_ptr"]).all()
        and all((column[n] == column[n][0]).all() for n in ("mode", "height", "width"))
        and sizes.min() > 0
        and (mode == _JPEG or (sizes == height * width * 3).all())
        and (offsets + sizes).max() <= path.stat().st_size
    )
    if not whole:
        raise ValueError("its tables do not fit its pictures")
    return Pictures(path, offsets, sizes, (height, width), mode == _JPEG)


class PictureFile:
    """An open beton, of which threads may read pictures at the same time; closed when it is forgotten."""

    def __init__(self, pictures: Pictures) -> None:
        """Raises DataError if the file cannot be opened."""
        self._at = pictures
        self._decode = _imdecode() if pictures.jpeg else None
        try:
            self._file = os.open(pictures.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unreadable(error) from error
        weakref.finalize(self, os.close, self._file)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of every picture."""
        return self._at.side

    def read(self, rows: Indices, out: NDArray[np.uint8]) -> None:
        """The pictures of the samples ``rows`` [n] into ``out`` [n, H, W, 3], which is contiguous.

        Raises DataError, naming file and image, for one that is not whole.
        """
        try:
            if self._decode is None:
                self._read_raw(rows, out)
            else:
                self._read_jpegs(rows, out)
        except OSError as error:
            raise self._unreadable(error) from error

    def _read_raw(self, rows: Indices, out: NDArray[np.uint8]) -> None:
        offsets, size = self._at.offsets[rows], self.side[0] * self.side[1] * 3
        pixels = out.reshape(-1).data
        # Pictures that lie one behind the other, as after each other written, are one read.
        breaks = (np.flatnonzero(np.diff(offsets) != size) + 1).tolist()
        for first, last in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            target, offset = pixels[first * size : last * size], int(offsets[first]) if last else 0
            while target:
                got = os.preadv(self._file, [target], offset)
                if not got:
                    raise self._damaged(
                        int(rows[last - 1 - (len(target) - 1) // size]), "the file ends in it"
                    )
                target, offset = target[got:], offset + got

    def _read_jpegs(self, rows: Indices, out: NDArray[np.uint8]) -> None:
        assert self._decode is not None
        (height, width), address = self.side, out.ctypes.data
        places = zip(
            rows.tolist(), self._at.offsets[rows].tolist(), self._at.sizes[rows].tolist(), strict=True
        )
        for row, offset, size in places:
            encoded = os.pread(self._file, size, offset)
            if len(encoded) < size:
                raise self._damaged(row, "the file ends in it")
            if self._decode(encoded, size, height, width, address, height, width, 0, 0, 1, 1, False, False):
                raise self._damaged(row, "not a whole JPEG")
            address += height * width * 3

    def _damaged(self, row: int, how: str) -> DataError:
        path = self._at.path
        return DataError(
            f"{path}: image {row} is damaged ({how}). Delete {path.parent} to have it built anew."
        )

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(f"{self._at.path}: cannot be read ({error}).")


@lru_cache(maxsize=1)
def _imdecode() -> Any:
    """FFCV's decoder in C: JPEG to RGB, nonzero where libjpeg complained."""
    with _ffcv():
        from ffcv.libffcv import ctypes_imdecode

        return ctypes_imdecode


@contextmanager
def _ffcv() -> Iterator[None]:
    """FFCV can be imported from inside; torch's thread count is as before at the end."""
    threads = torch.get_num_threads()
    try:
        _import_ffcv()
        yield
    finally:
        torch.set_num_threads(threads)


def _import_ffcv() -> None:
    try:
        import numba
        from numba.core.compiler_lock import global_compiler_lock

        with global_compiler_lock:  # another thread may be compiling (``view_kernel.py``)
            jit = numba.config.DISABLE_JIT
            numba.config.DISABLE_JIT = 1
            try:
                import ffcv  # noqa: F401
            finally:
                numba.config.DISABLE_JIT = jit
    except ImportError as error:
        raise DataError(
            f"FFCV, which reads and writes the image files, cannot be imported ({error}). It runs on Linux "
            "and needs the libraries that clusters/setup.sh installs; run that script."
        ) from error
