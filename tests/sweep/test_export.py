"""A bundle holds what was found, equal bytes for equal sweeps, and reads like the sweep elsewhere."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ablate.ledger import Ledger
from ablate.report import results_table
from ablate.sweep.driver import Driver
from ablate.sweep.export import ExportError, export
from ablate.sweep.status import status_of
from tests.report.made_sweep import Made, append
from tests.sweep.operated import ended, events, killed, run


def unpacked(bundle: Path, into: Path) -> Path:
    with tarfile.open(bundle) as tar:
        tar.extractall(into, filter="data")
    return into


def test_a_bundle_reads_like_the_sweep(tmp_path: Path) -> None:
    made = Made().search().confirm()
    folder = made.write(tmp_path / "runs" / "made")
    size = export(folder, tmp_path / "made.tar.gz")
    assert size == (tmp_path / "made.tar.gz").stat().st_size
    there = unpacked(tmp_path / "made.tar.gz", tmp_path / "there") / "made"
    assert (there / "ledger.jsonl").read_bytes() == (folder / "ledger.jsonl").read_bytes()
    assert (there / "sweep.json").read_bytes() == (folder / "sweep.json").read_bytes()
    for artifact in folder.glob("trials/*/*"):
        assert (there / artifact.relative_to(folder)).read_bytes() == artifact.read_bytes()
    table = pq.read_table(there / "results.parquet")
    assert table.equals(results_table(Ledger.read(folder / "ledger.jsonl")))
    assert "## Verdicts" in (there / "summary.md").read_text()
    readme = (there / "README.md").read_text()
    assert all(f"`{file}`" in readme for file in ("summary.md", "results.parquet", "environment.json"))
    here, elsewhere = status_of(folder), status_of(there)
    assert (elsewhere.state, elsewhere.done, elsewhere.value) == ("ended", here.done, here.value)


def test_equal_sweeps_make_equal_bytes_whatever_the_files_times_and_owners(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    export(folder, tmp_path / "a.tar.gz")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    (folder / "sweep.json").chmod(0o600)
    export(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_checkpoints_and_half_written_files_stay_behind(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    kept = list(folder.glob("trials/*/*/*"))
    assert kept
    (folder / "trials" / "t0000" / "metrics.json.partial").write_text("{")
    (folder / "trials" / "t0000" / "log.txt").write_text("said\n")
    export(folder, tmp_path / "s.tar.gz")
    with tarfile.open(tmp_path / "s.tar.gz") as tar:
        names = set(tar.getnames())
    assert not any("epoch-" in name or "partial" in name for name in names)
    assert "s/trials/t0000/log.txt" in names


def test_while_a_driver_runs_only_live_and_then_what_is_finished(tmp_path: Path) -> None:
    made = Made().search()
    folder = made.write(tmp_path / "made")
    append(folder, [{"event": "asked", **_asked(made, "t0009")}])
    running = folder / "trials" / "t0009"
    running.mkdir()
    (running / "metrics.json").write_text("{}")
    held = Ledger.open(folder / "ledger.jsonl")
    try:
        with pytest.raises(ExportError, match="--live"):
            export(folder, tmp_path / "made.tar.gz")
        assert not (tmp_path / "made.tar.gz").exists()
        export(folder, tmp_path / "made.tar.gz", live=True)
    finally:
        held.close()
    there = unpacked(tmp_path / "made.tar.gz", tmp_path / "there") / "made"
    assert not (there / "trials" / "t0009").exists()
    assert (there / "trials" / "t0000").exists()
    assert "had not ended: 4 trials" in (there / "README.md").read_text()


def test_an_unfinished_sweep_can_be_gone_on_with_from_its_bundle(tmp_path: Path) -> None:
    folder = killed(tmp_path / "here", after=5)
    export(folder, tmp_path / "s.tar.gz")
    there = unpacked(tmp_path / "s.tar.gz", tmp_path / "there")
    with Driver.resume("s", there) as driver:
        run(driver)
        assert driver.finished
    reference = ended(tmp_path / "whole")
    assert [e["metrics"] for e in events(there / "s", "finished")] == [
        e["metrics"] for e in events(reference, "finished")
    ]


@pytest.mark.parametrize("place", ["there.tar.gz", "gone/s.tar.gz"])
def test_a_bundle_never_replaces_a_file_and_needs_its_folder(tmp_path: Path, place: str) -> None:
    folder = Made().search().write(tmp_path / "made")
    (tmp_path / "there.tar.gz").write_text("mine")
    with pytest.raises(ExportError, match=r"there\.tar\.gz: is there|no folder"):
        export(folder, tmp_path / place)
    assert (tmp_path / "there.tar.gz").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "there.tar.gz"]


def _asked(made: Made, trial: str) -> dict[str, object]:
    asked = next(e for e in made.events if e["event"] == "asked")
    return {k: v for k, v in asked.items() if k not in ("event", "time")} | {"trial": trial}
