"""A sweep in shared storage goes on anywhere; a full disk or a store out of reach ends it cleanly."""

from __future__ import annotations

import io
import json
import logging
import pickle
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate.ledger import Ledger, LedgerBusy, LedgerError, Store, StoreError, canonical
from ablate.ledger.bucket import read_segments
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.disk import check_disk, sizes
from ablate.sweep.driver import Driver, DriverError
from ablate.sweep.inline import run_inline
from ablate.sweep.run import run_sweep
from ablate.sweep.storage import SweepStorage, begin_here, has_begun, storing
from ablate.train import Trainer, World
from ablate.trial import CheckpointError, EpochReport
from ablate.trial.checkpoint import save_checkpoint
from tests.ledger.object_store import s3_bucket
from tests.sweep.conformance_trial import ConformanceTrial
from tests.sweep.fakes import sweep
from tests.sweep.small_disk import Disk, small_disk
from tests.train.synthetic import tiny_data

SWEEP = sweep("s", trials=5, epochs=4)


class Killed(BaseException):
    """Nothing that a trial or the driver would catch."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket() as url:
        yield url


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    return f"{request.getfixturevalue('bucket')}/{request.node.name.replace('[', '-').strip(']')}"


def run_stored(
    runs: Path, url: str, *, resuming: bool, trial: Any = ConformanceTrial
) -> list[dict[str, Any]]:
    """Run SWEEP on a machine whose runs folder is ``runs``; its ledger at the end."""
    if resuming:
        begin_here(runs / "s", url)
    storage = SweepStorage.find(runs / "s", url)
    assert storage is not None
    spec = SweepSpec.model_validate(json.loads((runs / "s/sweep.json").read_text())) if resuming else SWEEP
    with Driver(spec, runs, resuming=resuming, open_log=storage.open_log, storage=storage) as driver:
        run_inline(driver, runs, 1, storing(trial, storage))
        assert driver.finished
    return Ledger.read(runs / "s/ledger.jsonl")


def run_plain(runs: Path, *, resuming: bool = False, trial: Any = ConformanceTrial) -> list[dict[str, Any]]:
    with Driver(SWEEP, runs, resuming=resuming) as driver:
        run_inline(driver, runs, 1, trial)
        assert driver.finished
    return Ledger.read(runs / "s/ledger.jsonl")


def finished(events: list[dict[str, Any]]) -> list[str]:
    """What became of every trial, exactly. Fails if one was finished twice."""
    found = [e for e in events if e["event"] == "finished"]
    assert len({e["trial"] for e in found}) == len(found)
    return sorted(canonical(e) for e in found)


class DiesInItsFourthEpoch(ConformanceTrial):
    """Kills its driver, once that is armed."""

    def step(self) -> EpochReport:
        if self.epoch == 3 and (self.cache / "deadly").exists():
            raise Killed
        return super().step()


def kill_one(runs: Path, url: str) -> list[dict[str, Any]]:
    """A driver that dies in the first trial that ASHA lets into its fourth epoch; the ledger it leaves."""
    runs.mkdir()
    (runs / "deadly").touch()
    with pytest.raises(Killed):
        run_stored(runs, url, resuming=False, trial=DiesInItsFourthEpoch)
    return Ledger.read(runs / "s/ledger.jsonl")


def test_another_machine_with_an_empty_folder_goes_on_to_the_same_end(url: str, tmp_path: Path) -> None:
    undisturbed = run_plain(tmp_path / "undisturbed")
    left = kill_one(tmp_path / "a", url)
    events = run_stored(tmp_path / "b", url, resuming=True)
    assert finished(events) == finished(undisturbed)
    assert [canonical(e) for e in events[: len(left)]] == [canonical(e) for e in left]
    (resumed,) = (e for e in events if e["event"] == "resumed")
    assert list(resumed["epochs"].values()) == [3], "it went on from the checkpoint that the other wrote"
    replay(events)


def test_a_sweep_has_begun_wherever_the_storage_has_it_and_its_file_comes_here(
    url: str, tmp_path: Path
) -> None:
    assert not has_begun(tmp_path / "a/s", url)
    run_stored(tmp_path / "a", url, resuming=False)
    assert has_begun(tmp_path / "a/s", url)
    assert has_begun(tmp_path / "a/s", None)
    assert not has_begun(tmp_path / "b/s", None)
    assert has_begun(tmp_path / "b/s", url)
    assert (tmp_path / "b/s/sweep.json").read_bytes() == (tmp_path / "a/s/sweep.json").read_bytes()


def test_artifacts_of_trials_that_ran_elsewhere_are_brought_here_and_weights_are_not(
    url: str, tmp_path: Path
) -> None:
    kill_one(tmp_path / "a", url)
    run_stored(tmp_path / "b", url, resuming=True)
    storage = SweepStorage.find(tmp_path / "b/s", None)
    assert storage is not None
    assert storage.store.url == f"{url}/s", "named once, it is remembered"
    storage.fetch_artifacts()
    (tmp_path / "b/s/summary.md").write_text("text")
    storage.publish()
    kept = {key for key in storage.store.sizes("trials") if key.endswith("weights.txt")}
    complete = [e["trial"] for e in Ledger.read(tmp_path / "b/s/ledger.jsonl")
                if e["event"] == "finished" and e["state"] == "COMPLETE"]  # fmt: skip
    assert kept == {f"trials/{trial}/weights.txt" for trial in complete}
    for key in kept:
        assert (tmp_path / "b/s" / key).read_bytes() == storage.store.get(key)
    assert json.loads(storage.store.get("sweep.json")) == SWEEP.as_dict()
    assert storage.store.get("summary.md") == b"text"


def test_superseded_checkpoints_leave_the_storage_as_they_leave_the_disk(url: str, tmp_path: Path) -> None:
    run_stored(tmp_path, url, resuming=False)
    here = {str(p.relative_to(tmp_path / "s")) for p in (tmp_path / "s/trials").rglob("*.pt")}
    there = {key for key in Store.at(url, "s").sizes("trials") if key.endswith(".pt")}
    assert here == there


def test_a_checkpoint_damaged_here_is_fetched_anew_and_one_gone_everywhere_is_an_error(
    url: str, tmp_path: Path
) -> None:
    storage = SweepStorage(Store.at(url, "s"), tmp_path)
    make = pickle.loads(pickle.dumps(storing(ConformanceTrial, storage)))
    trial = make(SWEEP.base, cache=tmp_path, through_collapse=False)
    trial.step()
    checkpoint = trial.save(tmp_path / "trials/t0000/1")
    for damage in (Path.unlink, lambda path: path.write_bytes(b"rubbish")):
        damage(Path(checkpoint.path))
        other = make(SWEEP.base, cache=tmp_path, through_collapse=False)
        other.restore(checkpoint)
        assert (other.epoch, other.weights) == (1, trial.weights)
    storage.delete([Path(checkpoint.path)])
    Path(checkpoint.path).unlink()
    with pytest.raises(CheckpointError):
        other.restore(checkpoint)


def test_a_trial_whose_checkpoint_is_damaged_in_the_storage_too_starts_again(
    url: str, tmp_path: Path
) -> None:
    undisturbed = run_plain(tmp_path / "undisturbed")
    left = kill_one(tmp_path / "a", url)
    [*_, saved] = (e for e in left if e["event"] == "checkpointed")
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish")
    Store.at(url, "s").put(saved["path"], rubbish)
    events = run_stored(tmp_path / "b", url, resuming=True)
    [abandoned] = (e for e in events if e["event"] == "abandoned")
    assert (abandoned["trial"], abandoned["epoch"]) == (saved["trial"], 0)
    assert finished(events) == finished(undisturbed)


def test_what_a_replayed_ledger_let_go_of_is_deleted_where_it_is_still_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SweepStorage(Store.at(url, "s"), tmp_path)
    paths = [tmp_path / f"trials/t{number:04d}/1/epoch-0001.pt" for number in range(100)]
    for path in paths[3], paths[50]:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        storage.upload([path])
    asked: list[str] = []
    delete = Store.delete
    monkeypatch.setattr(Store, "delete", lambda store, key: (asked.append(key), delete(store, key)))
    storage.delete(paths)
    assert len(asked) == 2, "not a request for each"
    assert storage.store.sizes("trials") == {}


def test_a_second_driver_anywhere_is_refused(url: str, tmp_path: Path) -> None:
    storage = SweepStorage.find(tmp_path / "a/s", url)
    assert storage is not None
    with (
        Driver(SWEEP, tmp_path / "a", open_log=storage.open_log, storage=storage),
        pytest.raises(LedgerBusy, match="another driver is running this sweep: process"),
    ):
        run_stored(tmp_path / "b", url, resuming=True)


def test_a_sweep_stays_in_the_storage_it_began_in(tmp_path: Path) -> None:
    one, two = f"file://{tmp_path}/one", f"file://{tmp_path}/two"
    run_stored(tmp_path / "a", one, resuming=False)
    with pytest.raises(DriverError, match=r"is stored in file://.*/one, not in .*/two; leave --storage out"):
        SweepStorage.find(tmp_path / "a/s", two)
    run_plain(tmp_path / "plain")
    assert SweepStorage.find(tmp_path / "plain/s", None) is None
    with pytest.raises(DriverError, match="was begun without storage"):
        SweepStorage.find(tmp_path / "plain/s", one)
    with pytest.raises(DriverError, match="two/s: there is no sweep of this name in the storage"):
        begin_here(tmp_path / "b/s", two)


def test_the_command_keeps_a_sweep_in_storage_which_a_resume_need_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, put = f"file://{tmp_path}/shared", Store.put
    monkeypatch.setattr("ablate.sweep.run.build", lambda *_, **__: None)
    monkeypatch.setattr("ablate.sweep.run.Mirror", lambda *_: io.BytesIO())  # something to close
    monkeypatch.setattr("ablate.sweep.run.TrialRun", ConformanceTrial)
    monkeypatch.setattr(Store, "put", _failing_at("weights.txt", put))
    with pytest.raises(DriverError, match="the network is down"):
        run_sweep(SWEEP, runs=tmp_path, backend="inline", cache=tmp_path, storage=url)
    monkeypatch.setattr(Store, "put", put)
    run_sweep(SWEEP, runs=tmp_path, backend="inline", cache=tmp_path, resume=True)
    store = Store.at(url, "s")
    for name in ("sweep.json", "results.parquet", "summary.md"):
        assert store.get(name) == (tmp_path / "s" / name).read_bytes()
    events = [event for _, events in read_segments(store) for event in events]
    assert finished(events) == finished(run_plain(tmp_path / "undisturbed"))


def test_storage_out_of_reach_halts_the_sweep_with_nothing_lost_or_mislabelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, put = f"file://{tmp_path}/shared", Store.put
    undisturbed = run_plain(tmp_path / "undisturbed")
    monkeypatch.setattr(Store, "put", _failing_at("weights.txt", put))  # as a trial hands in its artifacts
    with pytest.raises(DriverError, match=r"the network is down\. Nothing recorded is lost"):
        run_stored(tmp_path / "a", url, resuming=False)
    events = Ledger.read(tmp_path / "a/s/ledger.jsonl")
    assert not [e for e in events if e["event"] == "outcome"]
    monkeypatch.undo()
    assert finished(run_stored(tmp_path / "a", url, resuming=True)) == finished(undisturbed)


def _failing_at(name: str, put: Any) -> Any:
    def failing(store: Store, key: str, data: Any) -> None:
        if key.endswith(name):
            raise StoreError("the network is down")
        put(store, key, data)

    return failing


# --- a full disk ----------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", 8 * 2**20) as disk:
        yield disk


Usage = namedtuple("Usage", "total used free")


def test_a_checkpoint_that_does_not_fit_halts_the_sweep_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run_plain(tmp_path / "undisturbed")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 2**20))
    with pytest.raises(
        DriverError, match=r"the disk is full: epoch-0001\.pt needs 1\.05 MB in .*, where 1\.05 MB are free"
    ):
        run_plain(tmp_path)
    monkeypatch.undo()
    assert not list((tmp_path / "s").rglob("*.pt*"))
    assert finished(run_plain(tmp_path, resuming=True)) == finished(undisturbed)


@pytest.mark.parametrize("free", [2**20 + 2**14, 2**19, 2**14, 2**12, 0])
def test_a_disk_that_fills_up_ends_the_sweep_and_with_room_again_it_comes_to_the_same_end(
    tmp_path: Path, disk: Disk, free: int
) -> None:
    """Whatever is written when no room is left: checkpoints first, the ledger last."""
    undisturbed = run_plain(tmp_path / "undisturbed")

    class FillsTheDisk(ConformanceTrial):
        def step(self) -> EpochReport:
            if self.epoch == 2:
                disk.leave(free)
            return super().step()

    with pytest.raises((DriverError, LedgerError), match=r"disk is full|No space left on device"):
        run_plain(disk.folder, trial=FillsTheDisk)
    recorded = Ledger.read(disk.folder / "s/ledger.jsonl")
    assert not [e for e in recorded if e["event"] == "finished" and e["state"] == "FAILED"]
    disk.leave(4 * 2**20)
    events = run_plain(disk.folder, resuming=True)
    assert finished(events) == finished(undisturbed)
    assert [canonical(e) for e in events[: len(recorded)]] == [canonical(e) for e in recorded]


def test_a_sweep_that_cannot_even_begin_on_a_full_disk_says_so(disk: Disk) -> None:
    disk.leave(0)
    with pytest.raises((DriverError, LedgerError), match=r"cannot be .*: No space left on device"):
        run_plain(disk.folder)
    disk.leave(4 * 2**20)
    run_plain(disk.folder)


def test_room_is_looked_at_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts, checkpoint = sizes(SWEEP)
    start = 2 * checkpoint + artifacts + 2**25
    whole = start + 5 * (artifacts + checkpoint)
    for free, refused, warned in ((start - 1, True, False), (start, False, True), (whole, False, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(10**12, 0, free))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            if refused:
                with pytest.raises(
                    DriverError, match=r"the disk is nearly full: .* are free, 1 slot\(s\) need"
                ):
                    check_disk(SWEEP, tmp_path / "not/yet")
            else:
                check_disk(SWEEP, tmp_path / "not/yet")
        assert ("5 trials may need up to" in caplog.text) == warned


@pytest.mark.parametrize("method", [{"kind": "simclr"}, {"kind": "byol"}, {"kind": "moco-v2", "queue": 512}])
def test_the_sizes_are_those_of_real_files(tmp_path: Path, method: dict[str, Any]) -> None:
    base = TrialSpec.model_validate({**SWEEP.base.as_dict(), "method": method, "loss": {}})
    trainer = Trainer(base, tiny_data(base.optim.batch), World.single(), torch.device("cpu"))
    next(iter(trainer.epochs()))
    state = trainer.state_dict()
    artifacts, checkpoint = sizes(SWEEP.model_copy(update={"base": base}))
    whole = save_checkpoint(state, 1, tmp_path)
    weights = save_checkpoint(trainer.model.state_dict(), 2, tmp_path)
    assert Path(whole.path).stat().st_size == pytest.approx(checkpoint, rel=0.2)
    assert Path(weights.path).stat().st_size == pytest.approx(artifacts, rel=0.2)
