"""What every source gives, and the table from a spec's class to the source that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ablate.spec.data import DataSpec

Image = NDArray[np.uint8]  # [H, W, 3]
Indices = NDArray[np.int64]
Decode = Callable[[], Image]  # work left to do, in any thread; raises DataError naming the file


@dataclass(frozen=True)
class Part:
    """The training or the test images of a source, not yet decoded."""

    labels: Indices  # [N], positions in the source's class names
    groups: Indices  # [N]; images of one group never part between train and validation
    read: Callable[[Indices], Iterator[Decode]]  # the images at these ascending positions, to be decoded
    where: Callable[[int], str]  # names the file (and row) of a position, for errors


@dataclass(frozen=True)
class Source:
    class_names: tuple[str, ...]
    train: Part
    test: Part


@dataclass(frozen=True)
class Kind:
    """How one kind of source is opened, and what its content depends on."""

    open: Callable[[Any], Source]
    recipe: Callable[[Any], dict[str, Any]]  # JSON values; equal recipes, equal images
    files: Callable[[Any], list[Path]]  # files whose content is part of the identity; [] if none is


_KINDS: dict[type, Kind] = {}
_Open = TypeVar("_Open", bound=Callable[..., Source])


def _no_files(_spec: Any) -> list[Path]:
    return []


def register(
    spec_class: type,
    *,
    recipe: Callable[[Any], dict[str, Any]],
    files: Callable[[Any], list[Path]] = _no_files,
) -> Callable[[_Open], _Open]:
    """Decorate the function that opens the source which ``spec_class`` describes."""

    def keep(function: _Open) -> _Open:
        _KINDS[spec_class] = Kind(function, recipe, files)
        return function

    return keep


def kind_of(spec: DataSpec) -> Kind:
    """The source that reads ``spec``."""
    return _KINDS[type(spec)]


def array_part(
    images: NDArray[np.uint8], labels: Indices, groups: Indices | None = None, *, name: str
) -> Part:
    """A part in memory: ``images`` [N, H, W] or [N, H, W, 3]; without ``groups`` each is its own."""

    def image(index: int) -> Image:
        found = images[index]
        return found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=2)

    def read(indices: Indices) -> Iterator[Decode]:
        return (partial(image, index) for index in indices)

    own = np.arange(len(labels), dtype=np.int64) if groups is None else groups
    return Part(labels, own, read, lambda index: f"{name} image {index}")
