"""`ablate compare`: on the screen and as files, by name and by folder, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli.compare import app
from tests.report.compare.two_sweeps import HIGH, change, made, written


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def refusal(result: Result, status: int = 2) -> str:
    """The only line of a refusal."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    written(folder, made("one"))
    written(folder, change(made("two", HIGH), "base.loss.temperature", 0.5))
    return folder


def test_two_sweeps_side_by_side(runs: Path) -> None:
    result = call("one", "two", "--runs", runs)
    assert result.exit_code == 0, result.output
    for said in (
        "one against two: comparison",
        "compared seed by seed",
        "No difference between sweeps is a verdict",
        "deep - plain │",
        "base.loss.temperature │",
        "plain-B: {loss.temperature: 0.5}",
    ):
        assert said in result.stdout


def test_sweeps_are_named_by_their_folders_too(runs: Path, tmp_path: Path) -> None:
    other = written(tmp_path, made("one", HIGH))
    result = call("one", other, "--runs", runs)
    assert result.exit_code == 0, result.output
    assert f"B │ {other}" in " ".join(result.stdout.split())


def test_files_are_written_where_they_are_wanted(runs: Path, tmp_path: Path) -> None:
    files = [tmp_path / "new" / name for name in ("page.html", "page.md", "numbers.json")]
    options = zip(("--html", "--markdown", "--json"), files, strict=True)
    result = call("one", "two", "--runs", runs, *(word for option in options for word in option))
    assert result.exit_code == 0, result.output
    assert files[0].read_text().startswith("<!doctype html>")
    text = files[1].read_text()
    figures = sorted((tmp_path / "new" / "page-figures").iterdir())
    assert [f.name for f in figures] == [
        "figure-gains-A-B.svg",
        "figure-scores-A-B.svg",
        "figure-verdicts.svg",
    ]
    assert all(f"(page-figures/{f.name})" in text for f in figures)
    assert json.loads(files[2].read_text())["metric"] == "probe.h.test"


def test_nothing_is_written_into_the_sweeps(runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    call("one", "two", "--runs", runs)
    assert sorted(runs.rglob("*")) == before


def test_what_cannot_be_compared_is_one_line_and_a_status(runs: Path, tmp_path: Path) -> None:
    assert refusal(call("one", "--runs", runs)) == "a comparison takes two sweeps or more"
    assert "no such sweep (found in" in refusal(call("one", "three", "--runs", runs))
    assert refusal(call("one", runs / "one", "--runs", runs)) == f"{runs / 'one'}: is the same sweep as one"
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "sweep.json").write_text("{}")
    line = refusal(call("one", tmp_path / "begun", "--runs", runs), 1)
    assert "nothing was recorded here (ledger.jsonl is missing)" in line
    (tmp_path / "begun" / "ledger.jsonl").touch()
    line = refusal(call("one", tmp_path / "begun", "--runs", runs))
    assert line == "begun: nothing has happened yet, so there is nothing to compare"


def test_a_file_that_cannot_be_written_is_status_1(runs: Path) -> None:
    result = call("one", "two", "--runs", runs, "--json", "/proc/no/numbers.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("/proc/no/numbers.json: cannot be written: ")
