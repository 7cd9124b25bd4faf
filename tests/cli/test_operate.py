"""The commands that look at sweeps and steer them, with and without a driver at work."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli import app
from ablate.ledger import Event, Ledger
from ablate.sweep.driver import Driver
from ablate.sweep.requests import Requests
from tests.report.made_sweep import append
from tests.sweep.operated import ended, events, killed, run, spec

NAMED = ["status", "pause", "stop", "retry", "export", "gc", "dashboard", "resume"]
MORE = {"retry": ["t0001"], "export": ["x.tar.gz"]}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("command", NAMED)
def test_an_unknown_name_ends_with_status_2_and_one_line_that_lists_what_there_is(
    tmp_path: Path, command: str
) -> None:
    killed(tmp_path, after=1)
    result = call(command, "nothing", *MORE.get(command, []), "--runs", str(tmp_path))
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/nothing: no such sweep (found in {tmp_path}: s)\n"


def test_status_of_one_sweep(tmp_path: Path) -> None:
    ended(tmp_path)
    result = call("status", "s", "--runs", str(tmp_path))
    assert result.exit_code == 0
    for said in (
        "s: ended",
        "11 of 11 trials done (1 collapsed, 9 complete, 1 failed)",
        "best in search: t0000, probe.h.val 0.8875 (optim.lr=0.1)",
        "the search has used trials 5 of 5",
        "t0001 FAILED at epoch 1: RuntimeError: the GPU fell off the bus",
    ):
        assert said in result.stdout
    assert "to go on" not in result.stdout


def test_status_of_a_stopped_sweep_says_what_waits_and_how_to_go_on(tmp_path: Path) -> None:
    killed(tmp_path, after=2)
    result = call("status", "s", "--runs", str(tmp_path))
    assert "s: stopped" in result.stdout
    assert "t0000 waiting, epoch 2/3" in result.stdout
    assert f"to go on: ablate resume s --runs {tmp_path}" in result.stdout


def test_status_of_all_sweeps(tmp_path: Path) -> None:
    ended(tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "sweep.json").write_text("{}")
    result = call("status", "--runs", str(tmp_path))
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert any(row[:2] == ["begun", "stopped"] for row in rows)
    assert any(row[:4] == ["s", "ended", "ended", "11/11"] for row in rows)
    listed = json.loads(call("status", "--runs", str(tmp_path), "--json").stdout)
    assert [s["name"] for s in listed] == ["begun", "s"]
    one = json.loads(call("status", "s", "--runs", str(tmp_path), "--json").stdout)
    assert one == listed[1]


def test_status_of_a_damaged_sweep_says_so_with_status_1_and_the_others_are_still_listed(
    tmp_path: Path,
) -> None:
    ledger = ended(tmp_path) / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"t0001"', b'"t0011"', 1))
    result = call("status", "s", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert "check sum" in result.stdout
    assert call("status", "--runs", str(tmp_path)).exit_code == 0


def test_a_sweep_of_another_version_of_ablate_is_told_as_that_without_a_traceback(tmp_path: Path) -> None:
    """Its record says what this version does not know."""
    folder = killed(tmp_path, after=5)
    first, *rest = Ledger.read(folder / "ledger.jsonl")
    first["sweep"]["search"]["phase_of_the_moon"] = "full"
    sweep = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**sweep, "search": first["sweep"]["search"]}))
    (folder / "ledger.jsonl").unlink()
    append(folder, [{k: v for k, v in e.items() if k not in ("sequence", "version")} for e in (first, *rest)])
    where = ["--runs", str(tmp_path)]
    for command in (["stop", "s"], ["retry", "s", "t0001"], ["dashboard", "s"]):
        result = call(*command, *where)
        assert result.exit_code == 1, result.output
        assert "another version of ablate" in result.stderr
        assert "phase_of_the_moon" in result.stderr
    assert "phase_of_the_moon" in call("status", "s", *where).stdout
    assert "left alone" in call("gc", "s", *where).stdout


def test_status_without_any_sweep(tmp_path: Path) -> None:
    result = call("status", "--runs", str(tmp_path))
    assert result.exit_code == 2
    assert "no sweep has been run here" in result.stderr


# --- steering a sweep that nobody runs --------------------------------------------------------------------


def test_stop_without_a_driver_is_recorded_and_resume_only_confirms(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=5)  # t0000 complete, t0001 failed, t0002 under way
    result = call("stop", "s", "--runs", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert f"ablate resume s --runs {tmp_path}" in result.stdout
    assert [(e["by"], e["confirm"]) for e in events(folder, "halted")] == [("operator", True)]
    with Driver.resume("s", tmp_path) as driver:
        run(driver)
        assert driver.finished
    asked = [e["trial"] for e in events(folder, "asked")]
    assert [trial for trial in asked if trial.startswith("t")] == ["t0000", "t0001", "t0002"]
    assert sum(trial.startswith("c") for trial in asked) == 6


def test_stop_without_confirmation_ends_the_sweep_and_writes_its_summary(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=5)
    result = call("stop", "s", "--no-confirm", "--runs", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "ended" in result.stdout
    assert events(folder, "ended")
    assert "t0000" in (folder / "summary.md").read_text()
    assert (folder / "results.parquet").is_file()
    again = call("stop", "s", "--runs", str(tmp_path))
    assert (again.exit_code, again.stderr) == (1, "s: it has ended already\n")


def test_stopping_one_trial_without_a_driver(tmp_path: Path) -> None:
    folder = killed(tmp_path, after=2)
    assert call("stop", "s", "t0000", "--runs", str(tmp_path)).exit_code == 0
    assert [(e["trial"], e["state"]) for e in events(folder, "finished")] == [("t0000", "PRUNED")]
    again = call("stop", "s", "t0000", "--runs", str(tmp_path))
    assert (again.exit_code, again.stderr) == (1, "t0000: it is finished already (PRUNED)\n")


def test_retry_without_a_driver_reopens_an_ended_sweep(tmp_path: Path) -> None:
    folder = ended(tmp_path)
    result = call("retry", "s", "t0001", "--runs", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert f"to go on: ablate resume s --runs {tmp_path}" in result.stdout
    assert [e["trial"] for e in events(folder, "retried")] == ["t0001"]
    with Driver.resume("s", tmp_path) as driver:
        assert not driver.finished
        run(driver)
    assert [e["state"] for e in events(folder, "finished") if e["trial"] == "t0001"] == ["FAILED", "FAILED"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["retry", "s", "t0000"], 1, "t0000: only a FAILED trial can be run again, and it is COMPLETE\n"),
        (["retry", "s", "t9999"], 2, "s has no trial 't9999' (there are: t0000 ... c0005"),
        (["stop", "s", "t9999"], 2, "s has no trial 't9999'"),
        (["stop", "s", "t0000", "--no-confirm"], 2, "--no-confirm is about the whole sweep"),
        (["pause", "s"], 1, "s: no driver is running it"),
        (["export", "s", "s.zip"], 2, "a bundle is a .tar.gz"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    folder = ended(tmp_path)
    before = (folder / "ledger.jsonl").read_bytes()
    result = call(*arguments, "--runs", str(tmp_path))
    assert (result.exit_code, len(result.stderr.splitlines())) == (status, 1)
    assert words in result.stderr
    assert (folder / "ledger.jsonl").read_bytes() == before


# --- steering a running sweep -----------------------------------------------------------------------------


def while_ticking(driver: Driver, *arguments: str) -> Result:
    """The command, with the driver looking for requests meanwhile."""
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(call(*arguments)))
    thread.start()
    while thread.is_alive():
        driver.tick()
    return found[0]


def running(runs: Path) -> Driver:
    """A driver with a slot that holds t0000, and another that failed t0001."""
    driver = Driver(spec(), runs, requests=Requests(runs / "s").take)
    driver.next("a")
    driver.next("b")
    driver.reported("t0001", 1, {"probe.h.val": 0.5})
    driver.ended("t0001", "FAILED", "it broke", {})
    return driver


@pytest.mark.parametrize(
    ("command", "happened"),
    [
        (["pause", "s"], lambda d, _: d.draining),
        (["stop", "s"], lambda _, e: "halted" in [x["event"] for x in e]),
        (["stop", "s", "--no-confirm"], lambda d, _: d.finished),
        (
            ["stop", "s", "t0000"],
            lambda _, e: ("t0000", "PRUNED") in [(x.get("trial"), x.get("state")) for x in e],
        ),
        (["retry", "s", "t0001"], lambda _, e: e[-1]["event"] == "retried"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_running_driver_does_what_it_is_asked(
    tmp_path: Path, command: list[str], happened: Callable[[Driver, list[Event]], bool]
) -> None:
    seen: list[Event] = []
    with running(tmp_path) as driver:
        driver.subscribe(seen.append)
        result = while_ticking(driver, *command, "--runs", str(tmp_path))
        assert result.exit_code == 0, result.output
        assert happened(driver, seen)
    assert Requests(tmp_path / "s").waiting() == []


def test_a_request_that_the_driver_has_not_taken_yet_stays_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.cli.steer.PATIENCE", 0.0)
    with running(tmp_path) as driver:
        result = call("stop", "s", "--runs", str(tmp_path))
        assert (result.exit_code, "has not taken it up yet" in result.stdout) == (0, True)
        shown = call("status", "s", "--runs", str(tmp_path))
        assert "asked of the driver, not taken up yet: stop" in shown.stdout
        driver.tick()
        assert Requests(tmp_path / "s").waiting() == []


def test_a_request_to_a_driver_that_ends_first_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = iter(["process 1", None])
    killed(tmp_path, after=2)
    monkeypatch.setattr("ablate.cli.steer.held_by", lambda _: next(held))
    result = call("stop", "s", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert "ended before it took the request, which is withdrawn" in result.stderr
    assert Requests(tmp_path / "s").waiting() == []


# --- the rest ---------------------------------------------------------------------------------------------


def test_export_and_status_elsewhere(tmp_path: Path) -> None:
    ended(tmp_path / "runs")
    bundle = tmp_path / "s.tar.gz"
    result = call("export", "s", str(bundle), "--runs", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.output
    assert bundle.is_file()
    again = call("export", "s", str(bundle), "--runs", str(tmp_path / "runs"))
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_gc_shows_what_would_go_then_deletes_it(tmp_path: Path) -> None:
    folder = ended(tmp_path / "runs")
    left = folder / "trials" / "t0000" / "1" / "epoch-0099.pt"
    left.write_bytes(b"x" * 1500)
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    dry = call("gc", "--dry-run", *where)
    assert dry.exit_code == 0, dry.output
    assert str(left) in dry.stdout
    assert "1.5 kB would be freed" in dry.stdout
    assert left.exists()
    assert "1.5 kB are freed" in call("gc", "s", *where).stdout
    assert not left.exists()
    assert "Nothing to delete" in call("gc", *where).stdout


@pytest.fixture
def _no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's data base takes seconds to make."""
    monkeypatch.setattr("ablate.sweep.run.Mirror", lambda *_: contextlib.nullcontext())


@pytest.mark.usefixtures("_no_mirror")
def test_resume_takes_a_larger_budget_and_refuses_what_would_mix_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.sweep.inline.run_inline", lambda driver, *_: run(driver))
    folder = killed(tmp_path, after=5)
    where = ["--runs", str(tmp_path), "--backend", "inline", "--cache", str(tmp_path / "cache")]
    refused = call("resume", "s", "--set", "base.optim.lr=0.9", *where)
    assert refused.exit_code == 1
    assert "base.optim.lr" in refused.stderr
    wrong = call("resume", "s", "--set", "search.trails=9", *where)
    assert wrong.exit_code == 2
    assert "did you mean 'trials'" in wrong.stderr
    assert events(folder, "resumed") == []
    taken = call("resume", "s", "--set", "search.trials=7", *where)
    assert taken.exit_code == 0, taken.output
    assert [e["changes"] for e in events(folder, "resumed")] == [{"search.trials": 7}]
    assert sum(e["stage"] == "search" for e in events(folder, "asked")) == 7
    assert json.loads((folder / "sweep.json").read_text())["search"]["trials"] == 7
    edited = tmp_path / "edited.yaml"
    edited.write_text((folder / "sweep.json").read_text().replace('"trials": 7', '"trials": 8'))
    late = call("resume", "s", "--file", str(edited), *where)
    assert late.exit_code == 1
    assert "search.trials" in late.stderr


@pytest.mark.usefixtures("_no_mirror")
def test_a_paused_sweep_says_how_to_go_on_and_a_second_ctrl_c_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path, after=5)
    where = ["--runs", str(tmp_path), "--backend", "inline", "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr("ablate.sweep.inline.run_inline", lambda driver, *_: driver.drain())
    paused = call("resume", "s", *where)
    assert paused.exit_code == 1
    assert f"to go on: ablate resume s --runs {tmp_path}" in paused.stderr

    def twice(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("ablate.sweep.inline.run_inline", twice)
    abandoned = call("resume", "s", *where)
    assert abandoned.exit_code == 130
    assert f"to go on: ablate resume s --runs {tmp_path}" in abandoned.stderr
