"""A dataset as a trial sees it: images resident on its device, split into train, val and test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ablate.data.beton import Beton, build
from ablate.data.choose import split_by_group
from ablate.data.error import DataError
from ablate.data.ffcv_io import Samples, read_beton
from ablate.spec.data import DataSpec
from ablate.spec.streams import stream_seed

# Of the device's memory, for the pixels of one dataset: two are kept, and the model needs room.
_MEMORY_SHARE = 0.35


@dataclass(frozen=True)
class Split:
    """Images of one split, on one device."""

    images: Tensor  # uint8 [N, 3, H, W], channels_last memory
    labels: Tensor  # int64 [N], positions in the dataset's class names
    ids: Tensor  # int64 [N], stable position of the image in its beton; key of all randomness about it


@dataclass(frozen=True)
class Dataset:
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    digest: str  # of the source's content and options


def load(spec: DataSpec, *, seed: int, cache: Path, device: torch.device, threads: int) -> Dataset:
    """The dataset of ``spec``; if its beton is missing it is built first, ``threads`` decoding.

    The test split is the same for every ``seed``. The seed moves the border between train and val: whole
    groups at a time, in the proportions of the classes. A process keeps the last two it read (by content,
    device and split), so that trial after trial pays for reading once.

    Raises DataError if the source cannot be read, train or val would have fewer than two images, or the
    pixels would take more than 0.35 of the device's memory.
    """
    beton = build(spec, cache, threads=threads)
    train, val, test = _splits(beton, device, spec.validation, seed)
    return Dataset(train, val, test, beton.class_names, beton.digest)


@lru_cache(maxsize=2)
def _splits(beton: Beton, device: torch.device, validation: float, seed: int) -> tuple[Split, Split, Split]:
    _check_memory(beton, device)
    train, test = _read(beton, "train"), _read(beton, "test")
    kept, aside = split_by_group(train.labels, train.groups, validation, seed=stream_seed("split", seed))
    if min(len(kept), len(aside)) < 2:  # some measures are of pairs
        raise DataError(
            f"data.validation is {validation}, which leaves {len(kept)} training and {len(aside)} validation "
            f"images of {len(train.labels)}; each needs two. Change it, or data.train."
        )
    everything = torch.arange(len(test.labels))
    return _take(train, kept, device), _take(train, aside, device), _take(test, everything, device)


def _take(samples: Samples, ids: Tensor, device: torch.device) -> Split:
    """The images at the positions ``ids``, on ``device``."""
    pixels = samples.images[ids].to(device, memory_format=torch.channels_last)
    return Split(pixels, samples.labels[ids].to(device), ids.to(device))


def _read(beton: Beton, split: str) -> Samples:
    try:
        return read_beton(beton.path(split))
    except (OSError, ValueError, AssertionError) as error:
        raise DataError(
            f"{beton.path(split)}: damaged ({error}). Delete {beton.folder} to have it built anew."
        ) from error


def _check_memory(beton: Beton, device: torch.device) -> None:
    allowed = int(_MEMORY_SHARE * _memory(device))
    if beton.pixels > allowed:
        raise DataError(
            f"{beton.folder}: its pixels take {beton.pixels / 2**30:.2f} GiB, more than {_MEMORY_SHARE} of "
            f"the memory of {device}, {allowed / 2**30:.2f} GiB. Lower data.train or data.resolution."
        )


def _memory(device: torch.device) -> int:
    """Bytes of memory of the device, or that this machine or its container lets a process use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    container = limit.read_text().strip() if limit.is_file() else "max"
    return machine if container == "max" else min(machine, int(container))
