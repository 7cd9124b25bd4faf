"""`ablate verdict`: of a sweep and of runs from elsewhere, on the screen and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli.verdict import app
from tests.report.made_sweep import Made
from tests.report.test_foreign import rows, write

RUNS = ["--arm", "head", "--seed", "seed", "--metric", "acc", "--mode", "max", "--baseline", "mlp"]
FAR = {"best": 0.8, "simclr": 0.6, "untrained": 0.5, "pixels": 0.2}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def one_line(result: Result) -> str:
    """The only line of a refusal."""
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    Made("made", confirm={"seeds": 8}, share=FAR).search().confirm().write(folder / "made")
    Made("early").search().write(folder / "early")
    hardly = Made("hardly")
    hardly.write(folder / "hardly")
    Made("ended").end("stopped by the operator").write(folder / "ended")
    write(folder, rows(mlp=0.5, sparse=0.55))
    return folder


def test_a_sweeps_verdict_is_said_in_a_table_a_sentence_and_what_it_means(runs: Path) -> None:
    result = call("made", "--runs", str(runs))
    assert result.exit_code == 0, result.output
    for said in (
        "Verdicts on made",
        "best - simclr: these two configurations differ: best is better.",
        "best - pixels: a control, which is beaten.",
        "inconclusive: neither: this is not the same as no difference",
        "Declared before the first confirmation trial",
    ):
        assert said in result.stdout
    (row,) = [
        line for line in result.stdout.splitlines() if line.startswith("best - simclr ") and "better" in line
    ]
    assert row.count("[") == 1


def test_runs_from_a_parquet_file(runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "verdicts.json"
    source = str(runs / "runs.parquet")
    result = call("--from-parquet", source, *RUNS, "--margin", "0.01", "--json", str(target))
    assert result.exit_code == 0, result.output
    assert "sparse - mlp: sparse is better on this test set" in result.stdout
    assert "Over seeds, on this test set only: no per-example results." in result.stdout
    written = json.loads(target.read_text())
    (verdict,) = written["verdicts"]
    assert (written["source"], verdict["arm"], verdict["word"]) == (source, "sparse", "better")
    assert (written["margin"], written["alpha"], written["unit"]) == (0.01, 0.05, "seed")
    assert verdict["mean"] == pytest.approx(sum(verdict["differences"]) / 8)


def test_a_missing_pair_is_shown_and_blocks(tmp_path: Path) -> None:
    table = rows(mlp=0.5, sparse=0.55)
    table[9]["acc"] = None
    result = call("--from-parquet", str(write(tmp_path, table)), *RUNS)
    assert result.exit_code == 0
    assert "sparse - mlp: no claim: no score in one of the two for seed 1." in result.stdout
    assert "    sparse, seed 1: row 9 has no acc" in result.stdout.splitlines()


def without(option: str) -> list[str]:
    place = RUNS.index(option)
    return RUNS[:place] + RUNS[place + 2 :]


def test_what_cannot_be_done_ends_with_status_2_and_one_line(runs: Path) -> None:
    file = ["--from-parquet", str(runs / "runs.parquet")]
    cases: list[tuple[list[str], str]] = [
        ([], "name one source: a sweep, --from-parquet FILE or --from-mlflow EXPERIMENT"),
        (["made", *file], "name one source"),
        (["nothing", "--runs", str(runs)], "no such sweep (found in"),
        (["made", "--runs", str(runs), "--margin", "0.1"], "--margin: what a sweep compares was declared"),
        ([*file, *without("--baseline")], "runs from elsewhere need --baseline as well"),
        ([*file, *without("--mode")], "runs from elsewhere need --mode as well"),
        ([*file, *RUNS, "--alpha", "1.5"], "--alpha: must be above 0 and at most 0.5, found 1.5"),
        ([*file, *RUNS, "--margin", "0"], "--margin: must be above 0, found 0"),
        ([*file, *RUNS, "--uri", "x"], "--uri: is for --from-mlflow"),
        ([*file, *RUNS, "--replicate", "sed"], "no column 'sed'; did you mean 'seed'?"),
        (["--from-parquet", str(runs / "gone.parquet"), *RUNS], "gone.parquet: cannot be read: there is no"),
        ([*file, *without("--baseline"), "--baseline", "mpl"], "no arm is called 'mpl'; did you mean 'mlp'?"),
    ]
    for arguments, words in cases:
        result = call(*arguments)
        assert words in one_line(result), arguments
        assert result.exit_code == 2


def test_a_sweep_that_declared_nothing_has_no_verdict(runs: Path) -> None:
    early = call("early", "--runs", str(runs))
    assert early.exit_code == 0
    assert "best - simclr: no claim" in early.stdout
    hardly = call("hardly", "--runs", str(runs))
    assert one_line(hardly) == "hardly: nothing is declared yet, and search scores are no result"
    assert hardly.exit_code == 1
    ended = one_line(call("ended", "--runs", str(runs)))
    assert ended == "ended: nothing was confirmed before the sweep ended, and search scores are no result"


def test_a_damaged_ledger_ends_with_status_1_and_its_line(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("sweep.json", "ledger.jsonl"):
        (folder / name).write_bytes((runs / "made" / name).read_bytes())
    lines = (folder / "ledger.jsonl").read_bytes().split(b"\n")
    lines[5] = lines[5].replace(b"0", b"1", 1)
    (folder / "ledger.jsonl").write_bytes(b"\n".join(lines))
    result = call("made", "--runs", str(tmp_path))
    assert "ledger.jsonl, line 6: not a record of a ledger" in one_line(result)
    assert result.exit_code == 1


def test_runs_from_mlflow_without_a_store_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = call("--from-mlflow", "heads", *RUNS, "--runs", str(tmp_path))
    assert "mlflow.db: no MLflow store is there; name one with --uri" in one_line(result)
    assert result.exit_code == 1


def test_one_seed_is_refused(tmp_path: Path) -> None:
    table: list[dict[str, Any]] = pd.DataFrame(rows(1, mlp=0.5, sparse=0.55)).to_dict("records")
    result = call("--from-parquet", str(write(tmp_path, table)), *RUNS)
    assert one_line(result).startswith("one seed: chance cannot be told from a difference")
    assert result.exit_code == 2


def test_a_metrics_name_is_shown_as_it_is(tmp_path: Path) -> None:
    table = [{**row, "acc[/b]": row["acc"]} for row in rows(mlp=0.5, sparse=0.55)]
    options = [*without("--metric"), "--metric", "acc[/b]"]
    result = call("--from-parquet", str(write(tmp_path, table)), *options)
    assert result.exit_code == 0, result.output
    assert "mean acc[/b]" in result.stdout
