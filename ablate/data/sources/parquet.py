"""Parquet files in the Hugging Face layout, as ``datasets`` writes them.

A folder holds ``train-*.parquet`` and ``test-*.parquet`` (or ``validation-*.parquet``). Images are a struct
column of encoded ``bytes``, labels an integer column; the schema metadata ``huggingface`` says which columns
they are and names the classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.image import decode
from ablate.data.sources.registry import LABEL, Decode, Indices, Names, Part, Source, register
from ablate.spec.data import ParquetData


@dataclass(frozen=True)
class _Features:
    image: str  # column names
    label: str
    class_names: tuple[str, ...]


def _recipe(spec: ParquetData) -> dict[str, object]:
    return {"kind": "parquet", "resolution": spec.resolution, "label": spec.label, "recipe": 1}


def _files(spec: ParquetData) -> list[Path]:
    return [*_split_files(spec, "train"), *_test_files(spec)]


@register(ParquetData, recipe=_recipe, files=_files)
def open_parquet(spec: ParquetData) -> Source:
    names, (train, test) = _parts(spec, [_split_files(spec, "train"), _test_files(spec)])
    return Source({LABEL: names}, train, test)


def open_splits(path: str) -> tuple[Names, list[Part]]:
    """Class names and parts of a folder that may hold one split alone: [train, test], or the one there is."""
    spec = ParquetData(path=path)
    return _parts(spec, split_lists(path))


def split_lists(path: str) -> list[list[Path]]:
    """The files of the training and of the test split in the folder ``path``; of one alone if it is so."""
    spec = ParquetData(path=path)
    train = sorted(Path(path).expanduser().glob("train-*.parquet"))
    if not train:
        return [_test_files(spec)]
    has_test = any(Path(path).expanduser().glob(f"{name}-*.parquet") for name in ("test", "validation"))
    return [train, _test_files(spec)] if has_test else [train]


def _parts(spec: ParquetData, splits: list[list[Path]]) -> tuple[Names, list[Part]]:
    reference = splits[0][0]
    features = _features(reference, spec.label)
    for file in (f for files in splits for f in files):
        if (found := _features(file, spec.label)) != features:
            raise DataError(f"{file}: its features {found} differ from those of {reference}: {features}.")
    return features.class_names, [_part(spec, files, features) for files in splits]


def _split_files(spec: ParquetData, split: str) -> list[Path]:
    root = Path(spec.path).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Give the folder of the parquet files as data.path.")
    if files := sorted(root.glob(f"{split}-*.parquet")):
        return files
    found = ", ".join(sorted(f.name for f in root.iterdir())[:8]) or "nothing"
    raise DataError(f"{root}: no file {split}-*.parquet (found: {found}).")


def _test_files(spec: ParquetData) -> list[Path]:
    validation = sorted(Path(spec.path).expanduser().glob("validation-*.parquet"))
    test = sorted(Path(spec.path).expanduser().glob("test-*.parquet"))
    return test or validation or _split_files(spec, "test")


def _open(file: Path) -> Any:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise DataError(
            f"{file}: not a whole parquet file ({str(error).splitlines()[0]}). Fetch it again."
        ) from error


def _read(parquet: Any, file: Path, column: str, group: int) -> Any:
    """One column of one row group, as a pyarrow ChunkedArray."""
    try:
        return parquet.read_row_group(group, columns=[column]).column(column)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: row group {group} is damaged ({str(error).splitlines()[0]}). Fetch it again."
        ) from error


def _features(file: Path, label: str | None) -> _Features:
    with _open(file) as parquet:
        metadata = parquet.schema_arrow.metadata or {}
        columns = parquet.schema_arrow.names
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        kinds = {name: feature["_type"] for name, feature in features.items() if isinstance(feature, dict)}
        named = {name: tuple(features[name]["names"]) for name in kinds if kinds[name] == "ClassLabel"}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: no readable Hugging Face features in its schema metadata (columns: "
            f"{', '.join(columns)}). Write it with the `datasets` library, which stores them."
        ) from error
    image = _only([name for name, kind in kinds.items() if kind == "Image"], "Image", file)
    if label is not None and label not in named:
        raise DataError(
            f"{file}: data.label is {label!r}; its class labels are: {', '.join(named) or 'none'}."
        )
    chosen = label or _only(list(named), "ClassLabel", file, "Choose one as data.label.")
    return _Features(image, chosen, named[chosen])


def _only(names: list[str], kind: str, file: Path, advice: str = "") -> str:
    if len(names) == 1:
        return names[0]
    found = ", ".join(names) or "none"
    raise DataError(f"{file}: needs exactly one {kind} column, found: {found}. {advice}".rstrip())


def _part(spec: ParquetData, files: list[Path], features: _Features) -> Part:
    per_file = [_file_labels(file, features) for file in files]
    starts = np.cumsum([0, *map(len, per_file)])

    def where(index: int) -> str:
        file = int(np.searchsorted(starts, index, side="right")) - 1
        return f"{files[file]} row {index - starts[file]}"

    def read(indices: Indices) -> Iterator[Decode]:
        for file, start, end in zip(files, starts[:-1], starts[1:], strict=True):
            inside = indices[(indices >= start) & (indices < end)]
            for row, encoded in _encoded(file, features.image, inside - start):
                yield partial(decode, encoded, spec.resolution, f"{file} row {row}")

    labels = np.concatenate(per_file)
    return Part({LABEL: labels}, np.arange(len(labels), dtype=np.int64), read, where)


def _file_labels(file: Path, features: _Features) -> Indices:
    with _open(file) as parquet:
        groups = range(parquet.num_row_groups)
        found = [_read(parquet, file, features.label, group).to_pylist() for group in groups]
    labels = [label for group in found for label in group]
    classes = len(features.class_names)
    for row, label in enumerate(labels):
        if label is None or not 0 <= label < classes:
            raise DataError(
                f"{file} row {row}: {features.label} is {label}, outside its {classes} classes. "
                "A split without labels cannot be used."
            )
    return np.asarray(labels, dtype=np.int64)


def _encoded(file: Path, column: str, rows: Indices) -> Iterator[tuple[int, bytes]]:
    """(row, encoded bytes) of the ascending ``rows`` of a file, a row group at a time."""
    with _open(file) as parquet:
        start = 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            inside = rows[(rows >= start) & (rows < end)]
            if len(inside):
                values = _read(parquet, file, column, group).take(inside - start).to_pylist()
                for row, value in zip(inside, values, strict=True):
                    if value is None or value["bytes"] is None:
                        raise DataError(f"{file} row {row}: no image bytes in column {column!r}.")
                    yield int(row), value["bytes"]
            start = end
