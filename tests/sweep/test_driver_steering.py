"""The driver between slots, clock, operators and a changed file: budgets, requests, pauses, changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger
from ablate.ledger.memory import MemoryLedger
from ablate.report.trials import opening
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver, DriverError, Order
from ablate.sweep.requests import Request
from tests.search.synthetic import METRIC, SEEDS, sweep
from tests.sweep.test_driver import events, given, save

PBT: dict[str, Any] = {"kind": "pbt", "every": 1, "quantile": 0.5, "mutate": ["optim.lr"]}


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is tested with the ledger; here it would only cost time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@dataclass
class Clock:
    """Hours pass when a test says so."""

    hours: float = 1000.0

    def __call__(self) -> float:
        return self.hours * 3600


def at(clock: Clock, runs: Path, spec: SweepSpec, **options: Any) -> Driver:
    return Driver(spec, runs, clock=clock, open_log=lambda path: Ledger.open(path, clock), **options)


def finish(driver: Driver, trial: str, value: float) -> None:
    for epoch in range(1, 4):
        assert driver.reported(trial, epoch, {METRIC: value}) is Order.GO
    driver.ended(trial, "COMPLETE", "", {})


def swept(driver: Driver, **options: Any) -> SweepSpec:
    """The driver's sweep with other values at dotted keys (``__`` for the dot)."""
    tree = driver.sweep.as_dict()
    for key, value in options.items():
        *above, last = key.split("__")
        part = tree
        for name in above:
            part = part[name]
        part[last] = value
    return SweepSpec.model_validate(tree)


# --- budgets in hours ---------------------------------------------------------------------------------------


def test_a_search_ends_when_its_hours_are_over_and_what_runs_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    spec = sweep(trials=100, budget={"hours": 2.0}, confirm=SEEDS)
    with at(clock, tmp_path, spec) as driver:
        first, second = given(driver, "a"), given(driver, "b")
        clock.hours += 1.5
        driver.tick()
        finish(driver, first.trial, 0.5)
        clock.hours += 0.5
        driver.tick()
        driver.tick()
        [closed] = events(driver, "closed")
        assert (closed["by"], closed["reason"]) == ("hours", "2 hours were spent, of 2 budgeted")
        assert driver.next("a") is None
        finish(driver, second.trial, 0.6)
        assert events(driver, "chosen")[0]["trial"] == second.trial
        clock.hours += 100
        driver.tick()
        assert given(driver, "a").stage == "confirm"


def test_hours_count_while_a_driver_runs_and_not_between_drivers(tmp_path: Path) -> None:
    clock = Clock()
    spec = sweep(trials=100, budget={"hours": 2.0})
    with at(clock, tmp_path, spec) as driver:
        trial = given(driver)
        clock.hours += 1.5
        driver.reported(trial.trial, 1, {METRIC: 0.5})
    clock.hours += 50
    with at(clock, tmp_path, spec, resuming=True) as driver:
        clock.hours += 0.4
        driver.tick()
        assert events(driver, "halted") == []
        clock.hours += 0.2
        driver.tick()
        assert [e["by"] for e in events(driver, "halted")] == ["hours"]


def test_gpu_hours_are_those_of_running_search_trials(tmp_path: Path) -> None:
    clock = Clock()
    resources = {"slots": 2, "workers": 2, "gpus": 1.0}
    spec = sweep(trials=100, budget={"gpu_hours": 10.0}, resources=resources)
    with at(clock, tmp_path, spec) as driver:
        first = given(driver, "a")
        clock.hours += 1  # 2 GPU hours
        driver.abandoned(first.trial, "gone")
        clock.hours += 7  # nobody runs
        given(driver, "a")
        given(driver, "b")
        clock.hours += 1.5  # 8 in all
        driver.tick()
        assert events(driver, "halted") == []
        clock.hours += 0.5
        driver.tick()
        [halted] = events(driver, "halted")
        assert (halted["by"], halted["reason"]) == ("gpu_hours", "10 GPU hours were spent, of 10 budgeted")


def test_gpu_hours_on_a_machine_without_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match=r"resources\.gpus is 0"):
        sweep(budget={"gpu_hours": 1.0})


def test_a_search_that_asks_no_more_anyway_is_not_halted(tmp_path: Path) -> None:
    clock = Clock()
    with at(clock, tmp_path, sweep(trials=1, budget={"hours": 1.0})) as driver:
        trial = given(driver)
        clock.hours += 5
        driver.tick()
        finish(driver, trial.trial, 0.5)
        assert driver.finished
        assert events(driver, "halted") == []


# --- operators ----------------------------------------------------------------------------------------------


class Desk:
    """Where operators leave requests."""

    def __init__(self) -> None:
        self.left: list[Request] = []

    def take(self) -> list[Request]:
        taken, self.left = self.left, []
        return taken


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    assert desk.left == []


def test_operators_stop_trials_and_sweeps(tmp_path: Path, desk: Desk) -> None:
    with Driver(sweep(trials=9, confirm=SEEDS), tmp_path, requests=desk.take) as driver:
        first, second = given(driver, "a"), given(driver, "b")
        finish(driver, given(driver, "c").trial, 0.5)
        desk.left = [Request("cancel", first.trial)]
        driver.tick()
        assert driver.reported(first.trial, 1, {METRIC: 0.5}) is Order.STOP
        assert driver.reported(second.trial, 1, {METRIC: 0.5}) is Order.GO
        desk.left = [Request("stop")]
        driver.tick()
        assert driver.reported(second.trial, 2, {METRIC: 0.5}) is Order.STOP
        assert given(driver, "a").stage == "confirm"
        desk.left = [Request("stop", confirm=False)]
        driver.tick()
        assert driver.finished
        assert events(driver, "ended")[0]["reason"] == "stopped by the operator"


def test_a_pause_lets_the_backend_drain(tmp_path: Path, desk: Desk) -> None:
    with Driver(sweep(), tmp_path, requests=desk.take) as driver:
        assert not driver.draining
        desk.left = [Request("pause")]
        driver.tick()
        assert driver.draining
    with Driver.resume("s", tmp_path) as driver:
        assert not driver.draining


def test_a_request_that_makes_no_sense_is_told_and_costs_nothing(
    tmp_path: Path, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with Driver(sweep(trials=1), tmp_path, requests=desk.take) as driver:
        trial = given(driver).trial
        desk.left = [Request("cancel", "t0099"), Request("retry", trial)]
        with caplog.at_level(logging.WARNING):
            driver.tick()
        assert "no trial 't0099'" in caplog.text
        assert "t0000 is under way; only a FAILED trial runs again" in caplog.text
        finish(driver, trial, 0.5)
        desk.left = [Request("stop"), Request("cancel", trial)]
        driver.tick()
        assert "its search is over" in caplog.text
        assert "t0000 has ended already: COMPLETE" in caplog.text


def test_a_failed_trial_of_an_ended_sweep_runs_again_under_a_new_fence(tmp_path: Path) -> None:
    with Driver(sweep(trials=1), tmp_path) as driver:
        trial = given(driver)
        driver.reported(trial.trial, 1, {METRIC: 0.1})
        driver.checkpointed(trial.trial, save(trial, 1))
        driver.ended(trial.trial, "FAILED", "out of memory", {})
        assert driver.finished
    with Driver.resume("s", tmp_path) as driver:
        assert (driver.finished, driver.fence) == (True, 1)
        driver.retry(trial.trial)
        assert (driver.finished, driver.fence) == (False, 2)
    with Driver.resume("s", tmp_path) as driver:
        again = given(driver)
        assert (again.trial, again.checkpoint, again.fence) == (trial.trial, save(trial, 1), 3)
        assert driver.reported(trial.trial, 2, {METRIC: 0.2}) is Order.GO
        driver.ended(trial.trial, "COMPLETE", "", {})
        assert driver.finished
        assert events(driver, "chosen")[0]["trial"] == trial.trial
        replay(Ledger.read(driver.path))


# --- a population -------------------------------------------------------------------------------------------


def test_a_member_saves_and_leaves_at_the_end_of_its_generation_and_children_know_their_descent(
    tmp_path: Path,
) -> None:
    with Driver(sweep(trials=2, scheduler=PBT, resources={"keep": []}), tmp_path) as driver:
        worse, better = given(driver, "a"), given(driver, "b")
        for member, value in ((worse, 0.1), (better, 0.9)):
            for _ in range(2):  # again, as after a lost reply
                assert driver.reported(member.trial, 1, {METRIC: value}) is Order.PAUSE
            assert driver.checkpointed(member.trial, save(member, 1)) is Order.STOP
            assert driver.reported(member.trial, 2, {METRIC: value}) is Order.STOP
        assert given(driver, "a").trial == better.trial
        child = given(driver, "b")
        assert child.trial == "t0002"
        assert child.spec != better.spec
        assert child.checkpoint == save(better, 1)
        [asked] = [e for e in events(driver, "asked") if e["trial"] == "t0001"]
        link = {"trial": "t0001", "spec_hash": asked["spec_hash"], "epochs": 1}
        assert child.lineage == (link,)
        assert better.lineage == ()
        assert not (worse.folder / "1/1.pt").exists()
        assert driver.reported(child.trial, 2, {METRIC: 0.95}) is Order.PAUSE
        driver.checkpointed(child.trial, save(child, 2))
        driver.reported(better.trial, 2, {METRIC: 0.9})
        driver.checkpointed(better.trial, save(better, 2))
        grandchild = [given(driver, slot) for slot in "ab"][1]
        assert [link["trial"] for link in grandchild.lineage] == ["t0001", "t0002"]
        assert (child.folder / "1/2.pt").exists()
        driver.ended(grandchild.trial, "FAILED", "it broke", {})
        driver.ended(child.trial, "FAILED", "it broke", {})
    remaining = sorted(path.name for path in tmp_path.rglob("*.pt"))
    assert remaining == [], "nothing is kept, and nobody goes on from them any more"


@pytest.mark.parametrize(("keep", "left"), [
    ([], []), (["last"], [3]), (["best"], [2]), (["best", "last"], [2, 3]),
])  # fmt: skip
def test_what_is_to_be_kept_is_kept(tmp_path: Path, keep: list[str], left: list[int]) -> None:
    with Driver(sweep(trials=1, epochs=4, resources={"keep": keep}), tmp_path) as driver:
        trial = given(driver)
        for epoch, value in enumerate((0.1, 0.9, 0.5), 1):
            driver.reported(trial.trial, epoch, {METRIC: value})
            driver.checkpointed(trial.trial, save(trial, epoch))
            assert (trial.folder / f"1/{epoch}.pt").exists()
        driver.reported(trial.trial, 4, {METRIC: 0.4})
        driver.ended(trial.trial, "COMPLETE", "", {})
    assert sorted(int(p.stem) for p in trial.folder.rglob("*.pt")) == left


def test_checkpoints_that_a_killed_driver_did_not_delete_are_deleted_by_the_next(tmp_path: Path) -> None:
    with Driver(sweep(trials=2), tmp_path) as driver:
        trial = given(driver)
        for epoch in (1, 2):
            driver.reported(trial.trial, epoch, {METRIC: 0.5})
            driver.checkpointed(trial.trial, save(trial, epoch))
    save(trial, 1)
    with Driver.resume("s", tmp_path) as driver:
        assert given(driver).checkpoint == save(trial, 2)
    assert not (trial.folder / "1/1.pt").exists()


# --- a changed sweep ----------------------------------------------------------------------------------------


def test_what_may_change_changes_and_is_remembered(tmp_path: Path) -> None:
    with Driver(sweep(trials=1), tmp_path) as driver:
        finish(driver, given(driver).trial, 0.5)
        wanted = swept(driver, search__trials=2, resources__slots=3, resources__keep=["best"])
        assert driver.finished
    with Driver.resume("s", tmp_path, changes=wanted) as driver:
        assert driver.sweep == wanted
        assert SweepSpec.model_validate(json.loads((tmp_path / "s/sweep.json").read_text())) == wanted
        assert events(driver, "resumed")[0]["changes"] == {
            "resources.keep": ["best"], "resources.slots": 3, "search.trials": 2,
        }  # fmt: skip
        finish(driver, given(driver).trial, 0.9)
        assert driver.finished
        assert opening(Ledger.read(driver.path))["sweep"] == wanted.as_dict()
    with Driver.resume("s", tmp_path) as driver:
        assert driver.sweep == wanted
        assert len(events(driver, "resumed")) == 1


@pytest.mark.parametrize("stale", ["began", "now"])
def test_a_crash_between_the_record_of_a_change_and_the_file_is_harmless(tmp_path: Path, stale: str) -> None:
    began = sweep(trials=1)
    with Driver(began, tmp_path) as driver:
        wanted = swept(driver, search__trials=2)
    Driver.resume("s", tmp_path, changes=wanted).close()
    given_sweep = began if stale == "began" else wanted
    with Driver(given_sweep, tmp_path, resuming=True) as driver:
        assert driver.sweep == wanted


@pytest.mark.parametrize(("change", "why"), [
    ({"base__optim__epochs": 9}, r"base\.optim\.epochs \(its results would not belong together\)"),
    ({"resources__workers": 2}, r"resources\.workers \(a trial's numbers may depend"),
    ({"search__seed": 3}, r"search\.seed"),
    ({"confirm": {"seeds": 3}}, r"confirm\."),
])  # fmt: skip
def test_what_may_not_change_is_named_with_the_reason_and_what_may(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    with Driver(sweep(), tmp_path) as driver:
        wanted = swept(driver, **change)
    before = (tmp_path / "s/ledger.jsonl").read_bytes()
    with pytest.raises(DriverError, match=why + r".*What may change: search\.trials"):
        Driver.resume("s", tmp_path, changes=wanted)
    assert (tmp_path / "s/ledger.jsonl").read_bytes() == before


def test_a_search_whose_choice_is_being_confirmed_cannot_be_extended(tmp_path: Path) -> None:
    with Driver(sweep(trials=1, confirm=SEEDS), tmp_path) as driver:
        finish(driver, given(driver).trial, 0.5)
        given(driver)
        wanted = swept(driver, search__trials=2)
        slower = swept(driver, resources__stall_minutes=60.0)
    with pytest.raises(DriverError, match=r"search\.trials cannot change any more.*t0000.*warm_start"):
        Driver.resume("s", tmp_path, changes=wanted)
    with Driver.resume("s", tmp_path, changes=slower) as driver:
        assert driver.sweep.resources.stall_minutes == 60


def test_a_population_keeps_its_size(tmp_path: Path) -> None:
    with Driver(sweep(trials=2, scheduler=PBT), tmp_path) as driver:
        wanted = swept(driver, search__trials=4)
    with pytest.raises(DriverError, match="it is the population"):
        Driver.resume("s", tmp_path, changes=wanted)


def test_a_driver_works_on_any_log(tmp_path: Path) -> None:
    log = MemoryLedger()
    with Driver(sweep(trials=1), tmp_path, open_log=lambda _: log) as driver:
        trial = given(driver).trial
    again = MemoryLedger(records=log.events())
    with Driver(sweep(trials=1), tmp_path, open_log=lambda _: again, resuming=True) as driver:
        finish(driver, given(driver).trial, 0.5)
        assert driver.finished
    assert [e["event"] for e in again.events() if e["event"] in ("resumed", "ended")] == ["resumed", "ended"]
    assert trial == "t0000"
