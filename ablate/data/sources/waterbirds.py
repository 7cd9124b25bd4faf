"""Waterbirds (Sagawa et al., arXiv 1911.08731), read as published: ``path/metadata.csv`` and its images.

The columns read in public loaders of it are ``img_filename``, ``y`` (0 landbird, 1 waterbird), ``place``
(0 land, 1 water) and ``split`` (0 train, 1 validation, 2 test). Recalled: that training images agree in 95 %
and that the validation and test groups are balanced within each bird, not between birds.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.folder import existing, files_part
from ablate.data.sources.registry import Names, Part, Source, register
from ablate.spec.data import WaterbirdsData

_COLUMNS = ("img_filename", "y", "place", "split")
_NAMES: dict[str, Names] = {"bird": ("landbird", "waterbird"), "place": ("land", "water")}


def _recipe(spec: WaterbirdsData) -> dict[str, object]:
    return {"kind": spec.kind, "resolution": spec.resolution, "recipe": 1}


def _files(spec: WaterbirdsData) -> list[Path]:
    root = existing(spec.path, "data.path")
    return [root / "metadata.csv", *(root / row["img_filename"] for row in _rows(root))]


@register(WaterbirdsData, recipe=_recipe, files=_files)
def open_waterbirds(spec: WaterbirdsData) -> Source:
    root = existing(spec.path, "data.path")
    rows = _rows(root)

    def part(split: int) -> Part:
        of_split = [row for row in rows if row["split"] == str(split)]
        if not of_split:
            raise DataError(f"{root / 'metadata.csv'}: has no row of split {split}.")
        factors = {
            name: np.array([int(row[column]) for row in of_split], dtype=np.int64)
            for name, column in (("bird", "y"), ("place", "place"))
        }
        return files_part([root / row["img_filename"] for row in of_split], factors, spec.resolution)

    return Source(_NAMES, part(0), part(2), validation=part(1), label="bird")


def _rows(root: Path) -> list[dict[str, str]]:
    file = root / "metadata.csv"
    try:
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}). Give Waterbirds' folder as data.path.") from error
    missing = [c for c in _COLUMNS if not rows or c not in rows[0]]
    if missing:
        raise DataError(f"{file}: has no column {', '.join(missing)}; Waterbirds' metadata has them.")
    for number, row in enumerate(rows, start=2):
        if row["y"] not in ("0", "1") or row["place"] not in ("0", "1"):
            raise DataError(
                f"{file} line {number}: y is {row['y']!r} and place {row['place']!r}; each must be 0 or 1."
            )
    return rows
