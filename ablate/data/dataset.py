"""A dataset as a trial sees it: images resident on its device, split into train, val and test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ablate.data.beton import Beton, build
from ablate.data.choose import joint_labels, split_by_group
from ablate.data.error import DataError
from ablate.data.sources.registry import LABEL
from ablate.data.views import two_views
from ablate.spec.data import DataSpec, OwnValidation
from ablate.spec.streams import stream_seed
from ablate.spec.views import ViewSpec

# Of the device's memory, for the pixels of one dataset: two are kept, and the model needs room.
_MEMORY_SHARE = 0.35


@dataclass(frozen=True)
class Split:
    """Images of one split, on one device. Left out, ``factors`` is the label alone, as "label"."""

    images: Tensor  # uint8 [N, 3, H, W], channels_last memory
    labels: Tensor  # int64 [N], positions in the dataset's class names
    ids: Tensor  # int64 [N], stable position of the image in its beton; key of all randomness about it
    factors: dict[str, Tensor] = field(default_factory=dict)  # int64 [N] each, the label among them
    alternates: Tensor | None = None  # as images, without what `views.drop` takes away

    def __post_init__(self) -> None:
        if not self.factors:
            self.factors[LABEL] = self.labels

    def rows(self, chosen: Tensor) -> Split:
        """The images at these positions, int64 [n]."""
        return Split(
            self.images[chosen],
            self.labels[chosen],
            self.ids[chosen],
            {name: values[chosen] for name, values in self.factors.items()},
            None if self.alternates is None else self.alternates[chosen],
        )

    def two_views(self, chosen: Tensor, spec: ViewSpec, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Two random views [n, 3, S, S] of the images at these positions (see ``data/views.py``)."""
        alternates = self.alternates[chosen] if self.alternates is not None and spec.drop else None
        images, ids = self.images[chosen], self.ids[chosen]
        return two_views(images, ids, spec, seed=seed, epoch=epoch, alternates=alternates)


@dataclass(frozen=True)
class Dataset:
    """Left out, ``factor_names`` is the label alone, as "label"."""

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    digest: str  # of the source's content and options
    factor_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the classes of every factor

    def __post_init__(self) -> None:
        if not self.factor_names:
            self.factor_names[LABEL] = self.class_names

    def groups(self, split: Split) -> Tensor:
        """int64 [N]: one number for each combination of all factors, equal in all splits."""
        names = self.factor_names
        return joint_labels([split.factors[name] for name in names], [len(c) for c in names.values()])


def load(spec: DataSpec, *, seed: int, cache: Path, device: torch.device, threads: int) -> Dataset:
    """The dataset of ``spec``; if its beton is missing it is built first, ``threads`` decoding.

    The test split is the same for every ``seed``. The seed moves the border between train and val: whole
    groups at a time, in the proportions of the classes; where the source has a validation split of its own,
    it moves nothing. A process keeps the last two it read (by content,
    device and split), so that trial after trial pays for reading once.

    Raises DataError if the source cannot be read, train or val would have fewer than two images, or the
    pixels would take more than 0.35 of the device's memory.
    """
    beton = build(spec, cache, threads=threads)
    if isinstance(spec, OwnValidation):
        train, val, test = _splits(beton, device, None, 0)  # no seed: all share what was read once
    else:
        train, val, test = _splits(beton, device, spec.validation, seed)
    return Dataset(train, val, test, beton.class_names, beton.digest, dict(beton.factors))


@lru_cache(maxsize=2)
def _splits(
    beton: Beton, device: torch.device, validation: float | None, seed: int
) -> tuple[Split, Split, Split]:
    _check_memory(beton, device)
    (train, groups), (test, _) = _read(beton, "train"), _read(beton, "test")
    if validation is None:
        return _on(train, device), _on(_read(beton, "val")[0], device), _on(test, device)
    kept, aside = split_by_group(train.labels, groups, validation, seed=stream_seed("split", seed))
    if min(len(kept), len(aside)) < 2:  # some measures are of pairs
        raise DataError(
            f"data.validation is {validation}, which leaves {len(kept)} training and {len(aside)} validation "
            f"images of {len(train.labels)}; each needs two. Change it, or data.train."
        )
    return _on(train.rows(kept), device), _on(train.rows(aside), device), _on(test, device)


def _read(beton: Beton, split: str) -> tuple[Split, Tensor]:
    """A whole split on the CPU, and the groups [N] of its images."""
    samples = beton.read(split)
    groups, *labels = samples.numbers
    factors = {name: values for (name, _), values in zip(beton.factors, labels, strict=True)}
    alternates = samples.pictures[1] if beton.alternates else None
    ids = torch.arange(len(groups))
    return Split(samples.pictures[0], factors[beton.label], ids, factors, alternates), groups


def _on(split: Split, device: torch.device) -> Split:
    def pixels(images: Tensor) -> Tensor:
        return images.to(device, memory_format=torch.channels_last)

    return Split(
        pixels(split.images),
        split.labels.to(device),
        split.ids.to(device),
        {name: values.to(device) for name, values in split.factors.items()},
        None if split.alternates is None else pixels(split.alternates),
    )


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
