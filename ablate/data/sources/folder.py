"""A folder of image files: ``path/train/<class>/*`` with ``path/test/<class>/*``, or just ``path/<class>/*``.

Without a test folder a fifth of each class is held out as test, chosen by file name, the same for all seeds.
Hidden files and files that are not images by their ending are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ablate.data.choose import choose_stratified
from ablate.data.error import DataError
from ablate.data.sources.image import decode
from ablate.data.sources.registry import LABEL, Decode, Image, Indices, Part, Source, register
from ablate.spec.data import FolderData

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
_TEST_SHARE = 0.2
_TEST_SEED = 2002


def _recipe(spec: FolderData) -> dict[str, object]:
    return {"kind": "folder", "resolution": spec.resolution, "recipe": 1}


def _files(spec: FolderData) -> list[Path]:
    return images_below(existing(spec.path, "data.path"))


@register(FolderData, recipe=_recipe, files=_files)
def open_folder(spec: FolderData) -> Source:
    root = existing(spec.path, "data.path")
    if (root / "train").is_dir() != (root / "test").is_dir():
        raise DataError(
            f"{root}: has one of train/ and test/ without the other. Give both, or class folders directly."
        )
    if not (root / "train").is_dir():
        names, files = class_folders(root)
        labels = labels_of(files)
        test = choose_stratified(labels, round(_TEST_SHARE * len(labels)), seed=_TEST_SEED)
        train = np.setdiff1d(np.arange(len(labels)), test)
        flat = [f for of_class in files for f in of_class]
        return Source(
            {LABEL: names},
            files_part([flat[i] for i in train], {LABEL: labels[train]}, spec.resolution),
            files_part([flat[i] for i in test], {LABEL: labels[test]}, spec.resolution),
        )
    (names, train_files), (test_names, test_files) = (class_folders(root / s) for s in ("train", "test"))
    if names != test_names:
        odd = sorted(set(names) ^ set(test_names))
        raise DataError(f"{root}: train/ and test/ differ in their classes: {', '.join(odd)}.")
    parts = [
        files_part([f for of_class in files for f in of_class], {LABEL: labels_of(files)}, spec.resolution)
        for files in (train_files, test_files)
    ]
    return Source({LABEL: names}, parts[0], parts[1])


def existing(path: str, key: str) -> Path:
    """The folder at ``path``. Raises DataError, which tells to set ``key``, if there is none."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Give the folder of the images as {key}.")
    return root


def images_below(root: Path) -> list[Path]:
    """Every image file anywhere below ``root``, sorted."""
    return sorted(f for f in root.rglob("*") if _is_image(f))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()


def class_folders(root: Path) -> tuple[tuple[str, ...], list[list[Path]]]:
    """Names of the class folders in ``root``, and the image files of each."""
    folders = sorted(d for d in root.iterdir() if d.is_dir() and not d.name.startswith("."))
    files = [images_below(folder) for folder in folders]
    if len(folders) < 2:
        found = f"only the class folder {folders[0].name!r}" if folders else "no class folder"
        raise DataError(f"{root}: has {found}; at least two classes are needed, one folder each.")
    for folder, of_class in zip(folders, files, strict=True):
        if not of_class:
            raise DataError(f"{folder}: holds no image file ({', '.join(sorted(_ENDINGS))}).")
    return tuple(folder.name for folder in folders), files


def labels_of(files: list[list[Path]]) -> Indices:
    """Label k for every file of the k-th class."""
    return np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files])


def files_part(files: list[Path], factors: dict[str, Indices], resolution: int | None) -> Part:
    """A part of one image a file; each is its own group."""

    def image(file: Path) -> Image:
        return decode(_bytes(file), resolution, str(file))

    def read(indices: Indices) -> Iterator[Decode]:
        return (partial(image, files[i]) for i in indices)

    return Part(factors, np.arange(len(files), dtype=np.int64), read, lambda i: str(files[i]))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
