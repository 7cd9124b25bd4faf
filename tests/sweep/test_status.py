"""What `ablate status` knows: of running, stopped, ended, empty and damaged sweeps; it changes none."""

from __future__ import annotations

import json
from pathlib import Path

from ablate.ledger import Ledger
from ablate.sweep.driver import Driver
from ablate.sweep.progress import Progress
from ablate.sweep.requests import Request, Requests
from ablate.sweep.status import status_of
from tests.sweep.operated import Crash, ended, events, killed, run, spec


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_ended_sweep(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    before = contents(tmp_path)
    s = status_of(folder)
    assert contents(tmp_path) == before
    assert (s.state, s.stage, s.driver, s.error) == ("ended", "ended", None, "")
    assert (s.done, s.planned) == (11, 11)
    assert s.counts == {"COLLAPSED": 1, "COMPLETE": 9, "FAILED": 1}
    assert (s.best, s.params) == ("t0000", {"optim.lr": 0.1})
    chosen = events(folder, "chosen")[0]
    assert s.value == chosen["value"]
    assert [(t.trial, t.state, t.epoch) for t in s.lost] == [
        ("t0001", "FAILED", 1),
        ("t0002", "COLLAPSED", 1),
    ]
    assert s.lost[0].reason == "RuntimeError: the GPU fell off the bus"
    assert s.unfinished == ()
    assert json.loads(json.dumps(s.as_dict()))["best"] == "t0000"


def test_a_killed_sweep_waits_and_a_resumed_one_runs(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=2)
    s = status_of(folder)
    assert (s.state, s.stage, s.driver) == ("stopped", "search", None)
    assert s.counts == {"WAITING": 1}
    assert [(t.trial, t.state, t.epoch, t.epochs) for t in s.unfinished] == [("t0000", "WAITING", 2, 3)]
    with Driver.resume("s", tmp_path) as driver:
        assert driver.next("slot") is not None
        Requests(folder).put(Request("cancel", "t0000"))
        s = status_of(folder)
        assert s.state == "running"
        assert s.driver is not None
        assert "process" in s.driver
        assert s.counts == {"RUNNING": 1}
        assert [(t.trial, t.state, t.epoch) for t in s.unfinished] == [("t0000", "RUNNING", 1)]
        assert s.requests == ("cancel t0000",)


def test_a_sweep_of_which_nothing_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text("{}")
    s = status_of(tmp_path / "s")
    assert (s.name, s.state, s.counts, s.error) == ("s", "stopped", None, "")


def test_a_damaged_ledger_is_told_and_not_raised(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"t0001"', b'"t0011"', 1))
    s = status_of(folder)
    assert s.state == "damaged"
    assert "check sum" in s.error


def test_what_a_search_has_used_of_its_budget(tmp_path: Path) -> None:
    """Epochs count once, also where a restarted trial repeats them; hours only while a driver ran."""
    now = [1000.0]

    def later(event: object) -> None:
        del event
        now[0] += 1.0

    runs = tmp_path
    limited = spec(budget={"epochs": 100, "hours": 1.0})
    driver = Driver(
        limited, runs, clock=lambda: now[0], open_log=lambda path: Ledger.open(path, lambda: now[0])
    )
    driver.subscribe(later)

    def crash(event: dict[str, object]) -> None:
        if event["event"] == "reported" and event["epoch"] == 3:
            raise Crash

    driver.subscribe(crash)
    try:
        run(driver)
    except Crash:
        driver.close()
    died = now[0]
    now[0] += 1e6
    s = status_of(driver.folder)
    assert s.budget is not None
    assert s.budget["epochs"] == (3, 100)
    assert s.budget["trials"] == (1, 5)
    used, allowed = s.budget["hours"]
    assert allowed == 1.0
    assert 0 < used <= (died - 1000.0) / 3600
    with Driver.resume(
        "s", runs, clock=lambda: now[0], open_log=lambda path: Ledger.open(path, lambda: now[0])
    ) as driver:
        driver.subscribe(later)
        run(driver)
    s = status_of(driver.folder)
    assert s.budget is not None
    reported = {(e["trial"], e["epoch"]) for e in events(driver.folder, "reported")}
    assert s.budget["epochs"] == (sum(trial.startswith("t") for trial, _ in reported), 100)
    assert s.budget["hours"][0] < 100 / 3600


def test_duplicates_and_a_closed_search_are_told(tmp_path: Path) -> None:
    points = [{"optim.lr": 0.1}, {"optim.lr": 0.1}, {"optim.lr": 0.05}]
    folder = ended(tmp_path, points=points, budget={"epochs": 6})
    s = status_of(folder)
    assert s.duplicates == {"t0001": "t0000"}
    assert s.closed is not None
    assert s.budget is not None
    assert s.budget["epochs"] == (6, 6)
    assert s.planned == s.done


def test_the_best_violates_no_constraint_and_the_front_is_told(tmp_path: Path) -> None:
    constraint = [{"metric": "loss", "at_least": 1.2}]
    s = status_of(ended(tmp_path / "a", constraints=constraint))
    unconstrained = status_of(ended(tmp_path / "b"))
    assert (unconstrained.best, s.best) == ("t0000", "t0003")
    assert unconstrained.front == ()
    several = status_of(ended(tmp_path / "c", tradeoffs=[{"metric": "loss", "mode": "max"}]))
    assert set(several.front) == {"t0000", "t0003", "t0004"}


def test_progress_follows_changes_and_retries(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    with Driver.resume("s", tmp_path) as driver:
        driver.retry("t0001")
    s = status_of(folder)
    assert (s.state, s.stage) == ("stopped", "confirm")
    assert [t.trial for t in s.unfinished] == ["t0001"]
    progress = Progress()
    for event in Ledger.read(folder / "ledger.jsonl"):
        progress.update(event)
    progress.update(
        {"event": "resumed", "time": 2e9, "fence": 9, "epochs": {}, "changes": {"search.trials": 7}}
    )
    assert progress.search.trials == 7
