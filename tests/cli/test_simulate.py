"""`ablate sweep --backend simulated`: what a recorded sweep would have come to under other rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.cli import app
from ablate.ledger import Ledger
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from tests.search.synthetic import SEEDS, sweep
from tests.sweep.fake_trial import FakeTrial

runner = CliRunner()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep that ran every trial to its end."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    spec = sweep(trials=8, sampler={"kind": "random"}, confirm={**SEEDS, "controls": []})
    with Driver(spec, tmp_path) as driver:
        run_inline(driver, None, 1, FakeTrial)
    return driver.folder


def simulate(folder: Path, *words: str) -> list[str]:
    return [
        "sweep",
        str(folder / "sweep.json"),
        "--runs",
        str(folder.parent),
        "--backend",
        "simulated",
        *words,
    ]


def test_a_recorded_sweep_is_played_with_early_stopping(recorded: Path) -> None:
    stopping = ["--set", "search.scheduler={kind: asha, rungs: [1, 2]}", "--set", "confirm=null"]
    result = runner.invoke(app, simulate(recorded, "--curves", str(recorded), *stopping))
    assert result.exit_code == 0, result.output
    assert "simulated;" in result.output
    played = Ledger.read(recorded.parent / "s-simulated/ledger.jsonl")
    original = Ledger.read(recorded / "ledger.jsonl")
    assert [e["params"] for e in played if e["event"] == "asked"] == [
        e["params"] for e in original if e["event"] == "asked" and e["stage"] == "search"
    ]
    assert any(e["event"] == "stopped" for e in played)
    assert (recorded.parent / "s-simulated/summary.md").exists()


def test_what_was_not_recorded_is_refused_with_advice(recorded: Path) -> None:
    result = runner.invoke(app, simulate(recorded, "--curves", str(recorded), "--trials", "9"))
    assert result.exit_code == 1
    assert "none of the 10 recorded configurations" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "belong together"),
        (["--curves", "nowhere"], "no sweep was recorded here"),
        (["--curves", "nowhere", "--address", "auto"], "without --address"),
    ],
)
def test_wrong_calls_say_why(recorded: Path, words: list[str], message: str) -> None:
    result = runner.invoke(app, simulate(recorded, *words))
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_simulated_sweep_is_not_resumed(recorded: Path) -> None:
    words = ["resume", "s", "--runs", str(recorded.parent), "--backend", "simulated"]
    result = runner.invoke(app, words)
    assert result.exit_code == 2
    assert "simulate it again" in result.stderr
