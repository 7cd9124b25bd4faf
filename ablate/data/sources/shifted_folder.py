"""Training images of one folder, test images of another with a shift: ImageNet-R, ImageNet-A, IN-9 variants.

Without a ``mapping`` the test folders name some or all of the training classes (ImageNet-R and -A: 200 of the
1,000 class ids). With one, each class folder is a label of the mapping, and folders that it does not name
are left out:

- ``{"n02085620": "dog", ...}``: class folder to label. A folder that has the name of a label is that label.
- ``in_to_in9.json`` of the Backgrounds Challenge (Xiao et al., arXiv 2006.09994): the position of a class
  among the 1,000 of ImageNet to a number, -1 for none. Training folders are counted in sorted order, so there
  must be 1,000; an IN-9 folder such as ``00_dog`` is the label of its leading number (recalled, and read in
  public loaders), and the labels take its name.

Nothing is downloaded. Validation images are of the training folder, in distribution; only test is shifted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.folder import class_folders, existing, files_part, images_below
from ablate.data.sources.registry import LABEL, Names, Part, Source, register
from ablate.spec.data import ShiftedFolderData

_IMAGENET = 1000
_Classes = list[tuple[str, list[Path]]]  # label, or class folder, and its files


def _recipe(spec: ShiftedFolderData) -> dict[str, object]:
    return {"kind": spec.kind, "resolution": spec.resolution, "mapped": spec.mapping is not None, "recipe": 1}


def _roots(spec: ShiftedFolderData) -> tuple[Path, Path]:
    return existing(spec.path, "data.path"), existing(spec.test_path, "data.test_path")


def _files(spec: ShiftedFolderData) -> list[Path]:
    images = [f for root in _roots(spec) for f in images_below(root)]
    return images if spec.mapping is None else [*images, Path(spec.mapping).expanduser()]


@register(ShiftedFolderData, recipe=_recipe, files=_files)
def open_shifted_folder(spec: ShiftedFolderData) -> Source:
    train, test = (list(zip(*class_folders(root), strict=True)) for root in _roots(spec))
    if spec.mapping is not None:
        mapping = _read_mapping(Path(spec.mapping).expanduser())
        train, test = _mapped(mapping, train, test, spec)
    names = tuple(dict.fromkeys(name for name, _ in train))
    if odd := [name for name, _ in test if name not in names]:
        raise DataError(
            f"{spec.test_path}: these classes are not in {spec.path}: {', '.join(odd[:8])}. Give a "
            "data.mapping of folders to labels, or take them out."
        )
    return Source({LABEL: names}, _part(train, names, spec), _part(test, names, spec))


def _part(classes: _Classes, names: Names, spec: ShiftedFolderData) -> Part:
    files = [f for _, found in classes for f in found]
    labels = np.array([names.index(name) for name, found in classes for _ in found], dtype=np.int64)
    return files_part(files, {LABEL: labels}, spec.resolution)


def _read_mapping(file: Path) -> dict[str, str | int]:
    try:
        mapping = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable JSON file ({error}). Set data.mapping.") from error
    kinds = {type(value) for value in mapping.values()} if isinstance(mapping, dict) else set()
    if kinds not in ({str}, {int}):
        raise DataError(f"{file}: must map class folders to labels, or be in_to_in9.json as published.")
    return dict(mapping)


def _mapped(
    mapping: dict[str, str | int], train: _Classes, test: _Classes, spec: ShiftedFolderData
) -> tuple[_Classes, _Classes]:
    """Both lists under their labels, without what has none; the labels of training in sorted order."""
    by_folder = {k: v for k, v in mapping.items() if isinstance(v, str)}
    if not by_folder:
        by_folder = _of_positions({k: int(v) for k, v in mapping.items()}, train, test, spec)
    labels = set(by_folder.values())

    def under(classes: _Classes) -> _Classes:
        named = [(by_folder.get(name, name), files) for name, files in classes]
        return sorted((one for one in named if one[0] in labels), key=lambda one: one[0])

    found = under(train), under(test)
    for root, classes in zip((spec.path, spec.test_path), found, strict=True):
        if not classes:
            raise DataError(f"{root}: none of its class folders is in {spec.mapping}.")
    return found


def _of_positions(
    mapping: dict[str, int], train: _Classes, test: _Classes, spec: ShiftedFolderData
) -> dict[str, str]:
    """The mapping by folder that one by position among ImageNet's classes means for these folders."""
    if len(train) != _IMAGENET:
        raise DataError(
            f"{spec.mapping}: counts the {_IMAGENET} classes of ImageNet, but {spec.path} has {len(train)} "
            "class folders. Map class folders to labels instead."
        )
    names = {int(name.split("_")[0]): name for name, _ in test if re.match(r"\d+_", name)}
    return {
        train[int(position)][0]: names.get(number, str(number))
        for position, number in mapping.items()
        if number >= 0
    }
