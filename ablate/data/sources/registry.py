"""What every source gives, and the table from a spec's class to the source that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ablate.spec.base import Spec
from ablate.spec.data import DataSpec
from ablate.spec.plugins import registered

Image = NDArray[np.uint8]  # [H, W, 3]
Indices = NDArray[np.int64]
Decode = Callable[[], Image]  # work left to do, in any thread; raises DataError naming the file


Read = Callable[[Indices], Iterator[Decode]]  # the images at these ascending positions, to be decoded
Names = tuple[str, ...]

LABEL = "label"  # the one factor of a source whose images are labelled once


@dataclass(frozen=True)
class Part:
    """The training, validation or test images of a source, not yet decoded."""

    factors: dict[str, Indices]  # [N] each, positions in the source's names of that factor
    groups: Indices  # [N]; images of one group never part between train and validation
    read: Read
    where: Callable[[int], str]  # names the file (and row) of a position, for errors
    alternates: Read | None = None  # the same images without what `views.drop` takes away


@dataclass(frozen=True)
class Source:
    """``names`` of the classes of every factor; ``label`` is the factor that is trained and probed.

    A source with its own ``validation`` images keeps them for every seed; of the others a seed sets aside
    some training images.
    """

    names: dict[str, Names]
    train: Part
    test: Part
    validation: Part | None = None
    label: str = LABEL

    @property
    def class_names(self) -> Names:
        return self.names[self.label]


@dataclass(frozen=True)
class Kind:
    """How one kind of source is opened, and what its content depends on."""

    open: Callable[[Any], Source]
    recipe: Callable[[Any], dict[str, Any]]  # JSON values; equal recipes, equal images
    files: Callable[[Any], list[Path]]  # files whose content is part of the identity; [] if none is


_KINDS: dict[type[Spec], Kind] = {}
_Open = TypeVar("_Open", bound=Callable[..., Source])


def _no_files(_spec: Any) -> list[Path]:
    return []


def register(
    spec_class: type[Spec],
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
    """The source that reads ``spec``; a plugin's is imported when it is first needed."""
    return registered(_KINDS, type(spec), "source")


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
    return Part({LABEL: labels}, own, read, lambda index: f"{name} image {index}")
