"""gc deletes what nobody needs, and nothing that a resume, a retry, a child or a reader may still want."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import FileLock

from ablate.ledger import lock
from ablate.sweep.driver import Driver
from ablate.sweep.housekeeping import Garbage, collect, in_cache
from tests.sweep.operated import ended, events, killed, run


def litter(folder: Path, *, fence: int) -> dict[str, Path]:
    """Left-overs of every kind, the checkpoints under ``fence``."""
    place = folder / "trials" / "t0000" / str(fence)
    made = {
        "unrecorded": place / "epoch-0099.pt",
        "half a checkpoint": place / "epoch-0098.77.partial",
        "half a table": folder / ".results.77.part",
        "half a request": folder / "requests" / "1-ab.partial",
        "scratch": folder / ".ray-abc" / "deep" / "file",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    return made


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def paths(garbage: Garbage) -> set[Path]:
    return {item.path for item in garbage.items}


def test_left_overs_go_and_nothing_else(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    before = files(folder)
    made = litter(folder, fence=1)
    found = collect(folder, delete=False)
    assert paths(found) == {*made.values(), folder / ".ray-abc"} - {made["scratch"]}
    assert sum(item.size for item in found.items) == 500
    assert files(folder) == before | set(made.values())
    assert collect(folder, delete=True) == found
    assert files(folder) == before
    assert collect(folder, delete=True).items == ()


def test_what_resume_needs_stays(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=2)
    saved = [folder / e["path"] for e in events(folder, "checkpointed")]
    assert saved
    litter(folder, fence=1)
    collect(folder, delete=True)
    assert all(path.exists() for path in saved)
    with Driver.resume("s", tmp_path) as driver:
        run(driver)
        assert driver.finished
    assert events(folder, "resumed")[0]["epochs"] == {"t0000": 1}


def test_a_checkpoint_that_the_driver_could_not_delete_any_more_goes(tmp_path: Path) -> None:
    """It died between recording the new one and deleting the old."""
    folder = ended(tmp_path)
    recorded = [folder / e["path"] for e in events(folder, "checkpointed") if e["trial"] == "t0000"]
    kept = [path for path in recorded if path.exists()]
    assert kept == recorded[-1:]
    shutil.copy(recorded[-1], recorded[0])
    found = collect(folder, delete=True)
    assert [(item.path, item.what) for item in found.items] == [(recorded[0], "checkpoint no longer needed")]
    assert kept[0].exists()


def test_while_a_driver_runs_only_what_earlier_ones_left_goes(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=2)
    with Driver.resume("s", tmp_path) as driver:
        assert driver.fence == 2
        old, new = litter(folder, fence=1), litter(folder, fence=2)
        needed = [folder / e["path"] for e in events(folder, "checkpointed")]
        found = collect(folder, delete=True)
        assert paths(found) == {old["unrecorded"], old["half a checkpoint"]}
        assert "running" in found.left
        assert all(path.exists() for path in [*new.values(), *needed])
        run(driver)
        assert driver.finished


def test_no_driver_can_begin_while_things_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = killed(tmp_path, after=2)
    litter(folder, fence=1)
    refused = []

    def try_to_begin(path: Path, **_: bool) -> None:
        with pytest.raises(lock.LedgerBusy):
            Driver.resume("s", tmp_path)
        refused.append(path)

    monkeypatch.setattr("ablate.sweep.housekeeping._delete", try_to_begin)
    collect(folder, delete=True)
    assert refused
    monkeypatch.undo()
    Driver.resume("s", tmp_path).close()


def test_with_a_damaged_ledger_nothing_is_garbage(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    litter(folder, fence=1)
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"t0001"', b'"t0011"', 1))
    before = files(folder)
    found = collect(folder, delete=True)
    assert found.items == ()
    assert "check sum" in found.left
    assert files(folder) == before


def cache_with(cache: Path, **days: float) -> None:
    """Data sets by name, last opened so many days ago."""
    (cache / "locks").mkdir(parents=True)
    for name, age in days.items():
        (cache / name).mkdir()
        (cache / name / "train.beton").write_bytes(b"x" * 1000)
        meta = cache / name / "meta.json"
        meta.write_text("{}")
        os.utime(meta, (time.time() - age * 86400,) * 2)


def test_data_sets_that_nobody_opened_for_long_go(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache_with(cache, fresh=1, old=40)
    (cache / "died.unfinished").mkdir()
    found = in_cache(cache, tmp_path / "runs", days=30, delete=False)
    assert paths(found) == {cache / "old", cache / "died.unfinished"}
    in_cache(cache, tmp_path / "runs", days=30, delete=True)
    assert {path.name for path in cache.iterdir()} == {"fresh", "locks"}


def test_a_data_set_being_built_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache_with(cache, old=40)
    (cache / "new.unfinished").mkdir()
    with FileLock(cache / "locks" / "new.lock"), FileLock(cache / "locks" / "old.lock"):
        assert in_cache(cache, tmp_path / "runs", days=30, delete=True).items == ()
    assert (cache / "old" / "train.beton").exists()


def test_while_a_sweep_runs_all_data_sets_stay(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache_with(cache, old=40)
    killed(tmp_path / "runs", after=1)
    with Driver.resume("s", tmp_path / "runs"):
        found = in_cache(cache, tmp_path / "runs", days=30, delete=True)
    assert found.items == ()
    assert "s is running" in found.left
    assert (cache / "old" / "train.beton").exists()
