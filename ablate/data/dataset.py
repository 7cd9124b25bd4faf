"""A dataset as a trial sees it: split into train, val and test, on its device or streamed to it.

Resident images are on the device as pixels; streamed ones stay in the beton and are decoded batch by batch
(``streamed.py``). Numbers do not depend on which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ablate.data.beton import Beton, build, open_beton
from ablate.data.choose import joint_labels, split_by_group
from ablate.data.error import DataError
from ablate.data.ffcv_io import PictureFile, Pictures
from ablate.data.sources.registry import LABEL
from ablate.data.streamed import Decoders, Streamed, in_turn
from ablate.data.views import two_views
from ablate.durable import in_words
from ablate.spec.data import DataSpec, Images, OwnValidation
from ablate.spec.streams import stream_seed
from ablate.spec.views import ViewSpec

# Of the device's memory, for the pixels of one dataset: two are kept, and the model needs room.
_MEMORY_SHARE = 0.35
_KEPT = 2


@dataclass(frozen=True)
class Split:
    """Images of one split, for one device. Left out, ``factors`` is the label alone, as "label"."""

    # uint8 [N, 3, H, W], channels_last memory; ``alternates`` the same, and streamed if these are
    images: Tensor | Streamed
    labels: Tensor  # int64 [N], positions in the dataset's class names
    ids: Tensor  # int64 [N], stable position of the image in its beton; key of all randomness about it
    factors: dict[str, Tensor] = field(default_factory=dict)  # int64 [N] each, the label among them
    alternates: Tensor | Streamed | None = None  # without what `views.drop` takes away

    def __post_init__(self) -> None:
        if not self.factors:
            self.factors[LABEL] = self.labels

    def rows(self, chosen: Tensor) -> Split:
        """The images at these positions, int64 [n]; streamed ones stay on disk."""
        return Split(
            _subset(self.images, chosen),
            self.labels[chosen],
            self.ids[chosen],
            {name: values[chosen] for name, values in self.factors.items()},
            None if self.alternates is None else _subset(self.alternates, chosen),
        )

    def two_views(self, chosen: Tensor, spec: ViewSpec, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Two random views [n, 3, S, S] of the images at these positions (see ``data/views.py``)."""
        images, alternates = self.images, self.alternates if spec.drop > 0 else None
        ids, rows = self.ids[chosen], chosen if isinstance(images, Tensor) else None
        if isinstance(images, Streamed):
            images = images[chosen]
        if isinstance(alternates, Streamed):
            alternates = alternates[chosen]
        return two_views(images, ids, spec, seed=seed, epoch=epoch, alternates=alternates, rows=rows)

    def expect(self, chosen: Tensor) -> None:
        """The images at these positions are read next: have them decoded meanwhile if they are streamed.

        Not their alternates, which are small and raw, and in most trials never looked at.
        """
        if isinstance(self.images, Streamed):
            self.images.expect(chosen)

    def in_turn(self, size: int, chosen: Tensor | None = None) -> Iterator[Tensor]:
        """Positions, ``size`` at a time, of all images or of ``chosen``; the next ones are expected."""
        if chosen is None:
            chosen = torch.arange(len(self.labels), device=self.ids.device)
        return in_turn(chosen, size, self.expect)

    def chunks(self, size: int, chosen: Tensor | None = None) -> Iterator[Tensor]:
        """Images uint8 [n, 3, H, W], ``size`` at a time: all, or those at the positions ``chosen``."""
        if chosen is None and isinstance(self.images, Tensor):
            return iter(torch.split(self.images, size))
        return (_taken(self.images, rows) for rows in self.in_turn(size, chosen))

    def resident(self) -> Split:
        """The same with its pixels on the device: for few images that are read often."""
        alternates = None if self.alternates is None else _resident(self.alternates)
        return replace(self, images=_resident(self.images), alternates=alternates)


def _subset(images: Tensor | Streamed, chosen: Tensor) -> Tensor | Streamed:
    return images.subset(chosen) if isinstance(images, Streamed) else _taken(images, chosen)


def _taken(images: Tensor | Streamed, chosen: Tensor) -> Tensor:
    """In channels_last memory always: what is computed of them may be rounded by how they lie."""
    return images[chosen].contiguous(memory_format=torch.channels_last)


def _resident(images: Tensor | Streamed) -> Tensor:
    return images.resident() if isinstance(images, Streamed) else images


@dataclass(frozen=True)
class Dataset:
    """Left out, ``factor_names`` is the label alone, as "label"."""

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    digest: str  # of the source's content and options
    factor_names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # the classes of every factor
    residence: str = "resident: made in memory"  # where the pixels are, and why

    def __post_init__(self) -> None:
        if not self.factor_names:
            self.factor_names[LABEL] = self.class_names

    def groups(self, split: Split) -> Tensor:
        """int64 [N]: one number for each combination of all factors, equal in all splits."""
        names = self.factor_names
        return joint_labels([split.factors[name] for name in names], [len(c) for c in names.values()])


class Residence(NamedTuple):
    """Whether images are streamed, and a line for the user on where they are and why."""

    streamed: bool
    why: str


def residence(beton: Beton, images: Images, device: torch.device, share: float = 1.0) -> Residence:
    """Where the pixels of ``beton`` will be for a trial on ``device``, by the spec's ``compute.images``.

    ``share``: of the device, which others use too. Raises DataError if pixels are to be resident and would
    take more than 0.35 of the memory of that share.
    """
    allowed = int(_MEMORY_SHARE * share * device_memory(device))
    size, most = in_words(beton.pixels), in_words(allowed)
    part = f"{_MEMORY_SHARE} of {device}" if share == 1 else f"{_MEMORY_SHARE} of {share:g} of {device}"
    if images == "resident" and beton.pixels > allowed:
        raise DataError(
            f"compute.images is resident, but the pixels of {beton.folder} take {size}, more than {most} "
            f"({part}). Set it to auto or stream, or lower data.train or data.resolution."
        )
    if images != "auto":
        return Residence(images == "stream", f"{images}: compute.images says so; {size} of pixels")
    streamed = beton.pixels > allowed
    why = f"{size} of pixels, at most {most} allowed ({part})"
    return Residence(streamed, f"{'stream' if streamed else 'resident'}: {why}")


def load(
    spec: DataSpec,
    *,
    seed: int,
    cache: Path,
    device: torch.device,
    threads: int,
    images: Images = "auto",
    share: float = 1.0,
    beton: str | None = None,
) -> Dataset:
    """The dataset of ``spec``; if its beton is missing it is built first. ``threads`` decode.

    ``beton`` is the digest of the one that the cache has for it, on a machine that need not have the source.

    The test split is the same for every ``seed``. The seed moves the border between train and val: whole
    groups at a time, in the proportions of the classes; where the source has a validation split of its own,
    it moves nothing. ``images`` is the spec's ``compute.images``, ``share`` the part of the device that this
    process may count on. A process keeps the pixels of the last two resident sets that it read (by content,
    device and split), so that trial after trial pays for reading once; of streamed ones it keeps the tables,
    while threads and files end with the dataset.

    Raises DataError if the source cannot be read, train or val would have fewer than two images, or
    ``images`` is "resident" and the pixels would take more than 0.35 of the memory of that share.
    """
    built = build(spec, cache, threads=threads) if beton is None else open_beton(cache / beton)
    where = residence(built, images, device, share)
    validation, seed = (None, 0) if isinstance(spec, OwnValidation) else (spec.validation, seed)
    read = _streamed_splits if where.streamed else _resident_splits
    train, val, test = read(built, device, validation, seed, threads)
    return Dataset(train, val, test, built.class_names, built.digest, dict(built.factors), where.why)


_Splits = tuple[Split, Split, Split]
_kept: dict[tuple[Beton, torch.device, float | None, int], _Splits] = {}  # the one used last at the end


def _resident_splits(
    beton: Beton, device: torch.device, validation: float | None, seed: int, threads: int
) -> _Splits:
    key = (beton, device, validation, seed)
    splits = _kept.pop(key, None)
    if splits is None:
        while len(_kept) >= _KEPT:  # before the next is read: there is no room for three
            del _kept[next(iter(_kept))]
        train, val, test = _streamed_splits(beton, device, validation, seed, threads)
        splits = train.resident(), val.resident(), test.resident()
    _kept[key] = splits
    return splits


def _streamed_splits(
    beton: Beton, device: torch.device, validation: float | None, seed: int, threads: int
) -> _Splits:
    decoders = Decoders(device, threads)
    train, val, test = (part.opened(decoders) for part in _parts(beton, validation, seed))
    return train, val, test


@dataclass(frozen=True, eq=False)
class _Part:
    """A split on disk: all of a file, or some rows of it."""

    pictures: list[Pictures]
    ids: Tensor  # int64 [N], rows of the file; labels and factors are theirs
    labels: Tensor
    factors: dict[str, Tensor]

    def rows(self, chosen: Tensor) -> _Part:
        factors = {name: values[chosen] for name, values in self.factors.items()}
        return _Part(self.pictures, self.ids[chosen], self.labels[chosen], factors)

    def opened(self, decoders: Decoders) -> Split:
        device = decoders.device
        images, *alternates = (
            Streamed(PictureFile(pictures), self.ids.numpy(), decoders) for pictures in self.pictures
        )
        return Split(
            images,
            self.labels.to(device),
            self.ids.to(device),
            {name: values.to(device) for name, values in self.factors.items()},
            alternates[0] if alternates else None,
        )


@lru_cache(maxsize=2)
def _parts(beton: Beton, validation: float | None, seed: int) -> tuple[_Part, _Part, _Part]:
    """Train, val and test; ``validation``: the share of train that the seed sets aside, if it does."""
    (train, groups), (test, _) = _part(beton, "train"), _part(beton, "test")
    if validation is None:
        return train, _part(beton, "val")[0], test
    kept, aside = split_by_group(train.labels, groups, validation, seed=stream_seed("split", seed))
    if min(len(kept), len(aside)) < 2:  # some measures are of pairs
        raise DataError(
            f"data.validation is {validation}, which leaves {len(kept)} training and {len(aside)} validation "
            f"images of {len(train.labels)}; each needs two. Change it, or data.train."
        )
    return train.rows(kept), train.rows(aside), test


def _part(beton: Beton, split: str) -> tuple[_Part, Tensor]:
    """A whole file, and the groups [N] of its images."""
    samples = beton.samples(split)
    groups, *labels = samples.numbers
    factors = {name: values for (name, _), values in zip(beton.factors, labels, strict=True)}
    return _Part(samples.pictures, torch.arange(len(groups)), factors[beton.label], factors), groups


def device_memory(device: torch.device) -> int:
    """Bytes of memory of the device, or that this machine or its container lets a process use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    container = limit.read_text().strip() if limit.is_file() else "max"
    return machine if container == "max" else min(machine, int(container))
