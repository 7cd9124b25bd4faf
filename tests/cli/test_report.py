"""`ablate report`: what it writes, says and refuses, and that MLflow can never make it fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli.report import app
from tests.report.made_sweep import Made

LOGGED: list[Path] = []


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    LOGGED.clear()

    def log_report(folder: Path) -> str:
        LOGGED.append(folder)
        return "Not logged to MLflow: it is away."

    monkeypatch.setattr("ablate.tracking.log_report", log_report)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_it_writes_the_report_and_says_where(tmp_path: Path) -> None:
    folder = Made().search().confirm().write(tmp_path / "made")
    result = call("made", "--runs", str(tmp_path))
    assert result.exit_code == 0
    assert (folder / "report" / "index.html").is_file()
    assert "index.html" in result.output
    assert "Not logged to MLflow: it is away." in result.output
    assert [folder] == LOGGED


def test_mlflow_can_be_left_alone(tmp_path: Path) -> None:
    Made().search().write(tmp_path / "made")
    assert call("made", "--runs", str(tmp_path), "--no-mlflow").exit_code == 0
    assert LOGGED == []


def test_the_page_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    folder = Made().search().write(tmp_path / "made")
    call("made", "--runs", str(tmp_path), "--no-mlflow", "--open")
    assert opened == [(folder / "report" / "index.html").as_uri()]


def test_a_sweep_that_is_not_there_is_refused(tmp_path: Path) -> None:
    Made().search().write(tmp_path / "made")
    result = call("maed", "--runs", str(tmp_path))
    assert result.exit_code == 2
    assert "no such sweep" in result.output
    assert "made" in result.output


@pytest.mark.parametrize("ledger", [None, b"", b'{"sequence":0,"torn'])
def test_a_sweep_without_a_record_is_refused(tmp_path: Path, ledger: bytes | None) -> None:
    folder = Made().search().write(tmp_path / "made")
    (folder / "ledger.jsonl").unlink()
    if ledger is not None:
        (folder / "ledger.jsonl").write_bytes(ledger)
    result = call("made", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert "nothing was recorded here yet" in result.output
    assert not (folder / "report").exists()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    folder = Made().search().write(tmp_path / "made")
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"replicate":0', b'"replicate":1', 1))
    result = call("made", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert "its check sum does not match" in result.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = Made().search().write(tmp_path / "made")
    (folder / "report").write_text("a file where the folder should be")
    result = call("made", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert f"{folder / 'report'}: cannot be written" in result.output
    assert LOGGED == []
