"""UrbanCars (Li et al., arXiv 2212.04825), read as its published code writes it.

``path/bg-0.95_co_occur_obj-0.95/train`` and ``path/bg-0.5_co_occur_obj-0.5/{val,test}``, in each eight
folders ``obj-A_bg-B_co_occur_obj-C`` with A, B and C ``urban`` or ``country`` (read in the authors' loader).
Factors core, background and object.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.folder import existing, files_part, images_below
from ablate.data.sources.registry import Part, Source, register
from ablate.spec.data import UrbanCarsData

_PLACES = ("urban", "country")
_FACTORS = ("core", "background", "object")
_TRAIN = Path("bg-0.95_co_occur_obj-0.95", "train")
_EVEN = Path("bg-0.5_co_occur_obj-0.5")


def _recipe(spec: UrbanCarsData) -> dict[str, object]:
    return {"kind": spec.kind, "resolution": spec.resolution, "recipe": 1}


def _folders(spec: UrbanCarsData) -> list[Path]:
    root = existing(spec.path, "data.path")
    return [root / _TRAIN, root / _EVEN / "val", root / _EVEN / "test"]


def _files(spec: UrbanCarsData) -> list[Path]:
    return [f for folder in _folders(spec) for f in images_below(folder)]


@register(UrbanCarsData, recipe=_recipe, files=_files)
def open_urbancars(spec: UrbanCarsData) -> Source:
    train, validation, test = (_part(folder, spec) for folder in _folders(spec))
    return Source(dict.fromkeys(_FACTORS, _PLACES), train, test, validation=validation, label="core")


def _part(folder: Path, spec: UrbanCarsData) -> Part:
    files: list[Path] = []
    labels: list[tuple[int, ...]] = []
    for combination in product(range(2), repeat=3):
        core, background, thing = (_PLACES[k] for k in combination)
        below = folder / f"obj-{core}_bg-{background}_co_occur_obj-{thing}"
        if not below.is_dir():
            raise DataError(f"{below}: no such folder. Give the folder that holds {_TRAIN} as data.path.")
        found = images_below(below)
        files += found
        labels += [combination] * len(found)
    if not files:
        raise DataError(f"{folder}: holds no image file.")
    columns = np.array(labels, dtype=np.int64).T
    return files_part(files, dict(zip(_FACTORS, columns, strict=True)), spec.resolution)
