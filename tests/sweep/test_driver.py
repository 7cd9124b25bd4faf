"""The driver: refusals, hand-outs, checkpoints, late and stale words of slots, subscribers, threads."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger, LedgerBusy, LedgerError
from ablate.search import MAX_ABANDONED, ReplayMismatch, replay
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Assignment, Driver, DriverError, Order
from ablate.trial import Checkpoint
from tests.search.synthetic import METRIC, sweep


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is tested with the ledger; here it would only cost time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def given(driver: Driver, slot: str = "a") -> Assignment:
    assignment = driver.next(slot)
    assert assignment is not None
    return assignment


def save(assignment: Assignment, epoch: int) -> Checkpoint:
    folder = assignment.folder / str(assignment.fence)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{epoch}.pt"
    path.write_text(str(epoch))
    return Checkpoint(epoch, str(path), f"digest {epoch}")


def events(driver: Driver, name: str) -> list[dict[str, Any]]:
    return [e for e in Ledger.read(driver.path) if e["event"] == name]


def test_a_new_sweep_has_its_folder_its_resolved_spec_and_its_first_record(tmp_path: Path) -> None:
    spec = sweep(name="mine")
    with Driver(spec, tmp_path) as driver:
        assert SweepSpec.model_validate(json.loads((tmp_path / "mine/sweep.json").read_text())) == spec
        assert events(driver, "opened")[0]["sweep"] == spec.as_dict()
        assert (driver.fence, driver.finished) == (1, False)


def test_an_existing_sweep_is_not_started_over(tmp_path: Path) -> None:
    Driver(sweep(), tmp_path).close()
    before = (tmp_path / "s/ledger.jsonl").read_bytes()
    with pytest.raises(DriverError, match=r"`ablate resume s`.*--runs"):
        Driver(sweep(), tmp_path)
    assert (tmp_path / "s/ledger.jsonl").read_bytes() == before
    Driver.resume("s", tmp_path).close()


def test_a_second_driver_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path):
        for start in (lambda: Driver(sweep(), tmp_path), lambda: Driver.resume("s", tmp_path)):
            with pytest.raises(LedgerBusy, match="process"):
                start()


def test_resuming_what_is_not_there_names_what_is(tmp_path: Path) -> None:
    Driver(sweep(), tmp_path).close()
    with pytest.raises(DriverError, match=r"no sweep to resume; .* there are: s"):
        Driver.resume("z", tmp_path)


def test_resuming_with_another_sweep_names_the_keys_that_changed(tmp_path: Path) -> None:
    Driver(sweep(), tmp_path).close()
    with pytest.raises(DriverError, match=r"other values of base\.optim\.epochs, search\.trials\."):
        Driver(sweep(trials=6, epochs=4), tmp_path, resuming=True)


def test_a_crash_before_the_first_record_can_be_resumed(tmp_path: Path) -> None:
    Driver(sweep(), tmp_path).close()
    (tmp_path / "s/ledger.jsonl").write_bytes(b'{"sequ')
    with Driver.resume("s", tmp_path) as driver:
        assert given(driver).trial == "t0000"


def test_an_edited_or_foreign_ledger_is_refused_and_the_lock_is_free_again(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        given(driver)
    path = tmp_path / "s/ledger.jsonl"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"t0000", b"t0001"))
    with pytest.raises(LedgerError, match="line 3"):
        Driver.resume("s", tmp_path)
    path.write_bytes(good)
    Driver.resume("s", tmp_path).close()


def test_decisions_that_cannot_be_reproduced_stop_a_resume(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        given(driver)
    path = tmp_path / "s/ledger.jsonl"
    old = Ledger.read(path)
    old[3]["slot"] = "b"
    path.unlink()
    forged = Ledger.open(path)
    forged.extend([{k: v for k, v in e.items() if k not in ("sequence", "time", "version")} for e in old])
    forged.close()
    with pytest.raises(ReplayMismatch, match=r'record 3: .*"slot":"b".* lead to .*"slot":"a"'):
        Driver.resume("s", tmp_path)


def test_an_unfinished_trial_goes_on_from_its_last_checkpoint_under_a_new_fence(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        first = given(driver)
        assert (first.checkpoint, first.fence, first.folder) == (None, 1, tmp_path / "s/trials/t0000")
        for epoch in (1, 2):
            assert driver.reported(first.trial, epoch, {METRIC: epoch / 10}) is Order.GO
            if epoch == 1:
                driver.checkpointed(first.trial, save(first, epoch))
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "s", moved / "s")
    with Driver.resume("s", moved) as driver:
        again = given(driver, "b")
        assert (again.trial, again.spec, again.fence) == (first.trial, first.spec, 2)
        path = moved / "s/trials/t0000/1/1.pt"
        assert again.checkpoint == Checkpoint(1, str(path), "digest 1")
        with pytest.raises(DriverError, match="t0000 reported epoch 3 where epoch 2 was due"):
            driver.reported(first.trial, 3, {})
        assert driver.reported(first.trial, 2, {METRIC: 0.2}) is Order.GO
        driver.checkpointed(again.trial, save(again, 2))
        assert events(driver, "checkpointed")[-1]["path"] == "trials/t0000/2/2.pt"
        assert not path.exists(), "superseded"


def test_a_trial_whose_checkpoint_is_gone_starts_again(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        first = given(driver)
        driver.reported(first.trial, 1, {METRIC: 0.1})
        driver.checkpointed(first.trial, save(first, 1))
    shutil.rmtree(first.folder)
    with Driver.resume("s", tmp_path) as driver:
        assert given(driver).checkpoint is None
        assert driver.reported(first.trial, 1, {METRIC: 0.1}) is Order.GO


def test_the_first_checkpoint_is_not_deleted_by_recording_it_twice(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        first = given(driver)
        driver.reported(first.trial, 1, {METRIC: 0.1})
        for _ in range(2):
            driver.checkpointed(first.trial, save(first, 1))
        assert (first.folder / "1/1.pt").exists()


def test_a_superseded_checkpoint_that_cannot_be_deleted_does_not_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise OSError(16, "Device or resource busy")

    with Driver(sweep(), tmp_path) as driver:
        first = given(driver)
        monkeypatch.setattr(Path, "unlink", busy)
        for epoch in (1, 2):
            driver.reported(first.trial, epoch, {METRIC: 0.1})
            driver.checkpointed(first.trial, save(first, epoch))
        assert [e["epoch"] for e in events(driver, "checkpointed")] == [1, 2]


def test_reporting_an_epoch_again_changes_nothing(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        trial = given(driver).trial
        for _ in range(2):
            assert driver.reported(trial, 1, {METRIC: 0.1}) is Order.GO
        assert len(events(driver, "reported")) == 1


def test_an_untrained_trial_reports_epoch_0(tmp_path: Path) -> None:
    with Driver(sweep(epochs=0), tmp_path) as driver:
        trial = given(driver).trial
        with pytest.raises(DriverError, match="epoch 1 where epoch 0 was due"):
            driver.reported(trial, 1, {METRIC: 0.1})
        assert driver.reported(trial, 0, {METRIC: 0.1}) is Order.GO


def test_words_about_a_finished_or_given_up_trial_are_ignored(tmp_path: Path) -> None:
    with Driver(sweep(trials=2, rungs=(1,)), tmp_path) as driver:
        good, bad = given(driver, "a"), given(driver, "b")
        driver.reported(good.trial, 1, {METRIC: 0.5})
        assert driver.reported(bad.trial, 1, {METRIC: 0.4}) is Order.STOP
        driver.abandoned(good.trial, "node died")
        size = driver.path.stat().st_size
        for trial in (good, bad):
            assert driver.reported(trial.trial, 2, {METRIC: 0.9}) is Order.STOP
            driver.checkpointed(trial.trial, save(trial, 2))
            driver.ended(trial.trial, "COMPLETE", "", {METRIC: 0.9})
            driver.abandoned(trial.trial, "late")
        assert driver.path.stat().st_size == size
        assert [e["state"] for e in events(driver, "finished")] == ["PRUNED"]


def test_a_lost_slot_does_not_cost_the_checkpoint_and_not_the_sweep(tmp_path: Path) -> None:
    with Driver(sweep(trials=2), tmp_path) as driver:
        first = given(driver)
        driver.reported(first.trial, 1, {METRIC: 0.1})
        driver.checkpointed(first.trial, save(first, 1))
        for _ in range(MAX_ABANDONED):
            driver.abandoned(first.trial, "out of memory")
            again = given(driver)
            assert (again.trial, again.checkpoint) == (first.trial, save(first, 1))
        driver.abandoned(first.trial, "out of memory")
        assert events(driver, "finished")[0]["state"] == "FAILED"
        assert given(driver).trial == "t0001"


def test_a_slot_that_asks_while_it_runs_a_trial_is_told(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver:
        given(driver, "a")
        with pytest.raises(DriverError, match="slot a asks for work while it runs t0000"):
            driver.next("a")
        assert given(driver, "b").trial == "t0001"


def test_asking_in_vain_leaves_no_record(tmp_path: Path) -> None:
    with Driver(sweep(trials=1), tmp_path) as driver:
        given(driver, "a")
        size = driver.path.stat().st_size
        assert driver.next("b") is None
        assert not driver.finished
        assert driver.path.stat().st_size == size


def test_after_a_failed_write_the_driver_says_so_and_the_ledger_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(sweep(), tmp_path)
    trial = given(driver).trial

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(LedgerError, match="No space left"):
        driver.reported(trial, 1, {METRIC: 0.1})
    monkeypatch.undo()
    with pytest.raises(DriverError, match=r"has stopped: .*No space left.*Resume"):
        driver.reported(trial, 1, {METRIC: 0.1})
    driver.close()
    with Driver.resume("s", tmp_path) as again:
        assert given(again).trial == trial


def test_subscribers_see_every_event_in_order_and_a_broken_one_is_dropped(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    calls: list[str] = []

    def broken(event: dict[str, Any]) -> None:
        calls.append(event["event"])
        raise ValueError("no terminal")

    with Driver(sweep(), tmp_path) as driver:
        given(driver, "a")
        driver.subscribe(broken)
        driver.subscribe(seen.append, past=True)
        given(driver, "b")
        assert seen == Ledger.read(driver.path)
        assert calls == ["wanted"]
        driver.subscribe(broken, past=True)
        assert calls == ["wanted", "opened"]


def test_many_slots_in_threads_never_share_or_lose_a_trial(tmp_path: Path) -> None:
    driver = Driver(sweep(trials=40, rungs=(1, 2), sampler={"kind": "random"}), tmp_path)
    started: list[str] = []

    def slot(name: str) -> None:
        while (assignment := driver.next(name)) is not None:
            started.append(assignment.trial)
            epochs = range(1, assignment.spec.optim.epochs + 1)
            value = assignment.spec.optim.lr
            orders = (driver.reported(assignment.trial, epoch, {METRIC: value}) for epoch in epochs)
            if all(order is Order.GO for order in orders):
                driver.ended(assignment.trial, "COMPLETE", "", {})

    threads = [threading.Thread(target=slot, args=(f"slot {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver.close()
    assert driver.finished
    assert sorted(started) == [f"t{i:04d}" for i in range(40)]
    state = replay(Ledger.read(driver.path))
    assert state.states().keys() == {"COMPLETE", "PRUNED"}


def test_a_closed_driver_gives_nothing_out(tmp_path: Path) -> None:
    driver = Driver(sweep(), tmp_path)
    driver.close()
    driver.close()
    with pytest.raises(DriverError, match="closed"):
        driver.next("a")
