"""A built data set lists its files, and serves a machine that has no source."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from ablate.data import DataError, build, load
from ablate.data.beton import open_beton
from ablate.data.manifest import MANIFEST, Manifest, manifest_of
from ablate.spec.data import ParquetData

CPU = torch.device("cpu")


def test_every_file_is_listed_with_its_size_and_digest(parquet: Path, cache: Path) -> None:
    folder = build(ParquetData(path=str(parquet)), cache).folder
    manifest = manifest_of(folder)
    assert manifest.digest == folder.name
    assert {p.name for p in manifest.pieces} == {f.name for f in folder.iterdir()} - {MANIFEST}
    for piece in manifest.pieces:
        content = (folder / piece.name).read_bytes()
        assert (piece.size, piece.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest.size == sum(p.size for p in manifest.pieces)


def test_one_that_an_earlier_version_built_gets_its_list(parquet: Path, cache: Path) -> None:
    folder = build(ParquetData(path=str(parquet)), cache).folder
    written = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).unlink()
    assert manifest_of(folder).text() == written
    assert (folder / MANIFEST).read_bytes() == written


@pytest.mark.parametrize("name", ["../train.beton", "/etc/passwd", ".ssh", "train.beton/..", "code.py", ""])
def test_a_list_that_names_what_is_no_file_of_a_data_set_is_refused(name: str) -> None:
    entry = {"name": name, "size": 1, "sha256": "0" * 64}
    with pytest.raises(DataError, match="there: is no list of a data set's files"):
        Manifest.parse(json.dumps({"digest": "x", "files": [entry]}).encode(), "there")


@pytest.mark.parametrize("text", [b"", b"[]", b'{"digest": "x"}', b'{"digest": "x", "files": [{}]}'])
def test_what_is_no_list_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="is no list"):
        Manifest.parse(text, "there")


def test_a_machine_without_the_source_reads_a_copy_by_its_digest(
    parquet: Path, cache: Path, tmp_path: Path
) -> None:
    spec = ParquetData(path=str(parquet))
    built = build(spec, cache)
    there = load(spec, seed=0, cache=cache, device=CPU, threads=1)
    shutil.copytree(built.folder, tmp_path / "other" / built.digest)
    shutil.rmtree(parquet)
    other = tmp_path / "other"
    with pytest.raises(DataError):
        load(spec, seed=0, cache=other, device=CPU, threads=1)
    here = load(spec, seed=0, cache=other, device=CPU, threads=1, beton=built.digest)
    assert here.digest == there.digest
    assert torch.equal(here.train.images[:], there.train.images[:])
    assert torch.equal(here.val.labels, there.val.labels)


def test_what_is_not_there_or_was_cut_is_refused_when_it_is_opened(parquet: Path, cache: Path) -> None:
    folder = build(ParquetData(path=str(parquet)), cache).folder
    with pytest.raises(DataError, match="damaged"):
        open_beton(cache / "nothing")
    with (folder / "train.beton").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="has 100 bytes, not"):
        open_beton(folder)
