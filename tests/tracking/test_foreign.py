"""Runs that others tracked in a real MLflow store, read page by page."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from ablate.cli import app
from ablate.report.foreign import Columns, ForeignError, ForeignTable, claims_from
from ablate.tracking import TrackingError, find_store
from ablate.tracking import foreign as module
from ablate.tracking.foreign import read_mlflow

COLUMNS = Columns("head", "seed", "acc")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs folder whose store is made once: a new SQLite store takes seconds."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    folder = tmp_path_factory.mktemp("runs")
    client = find_store(folder).client()
    place = client.create_experiment("heads")
    for seed in range(6):
        log(client, place, "mlp", seed, 0.5 + 0.01 * seed)
        log(client, place, "sparse", seed, 0.6 + 0.01 * seed, as_tag=True)
    log(client, place, "sparse", 3, 0.1, status="FAILED")
    client.create_run(place, run_name="a parent, without arm and seed")
    client.create_experiment("nothing")
    yield folder
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


def log(
    client: MlflowClient, experiment: str, arm: str, seed: int, score: float | None, *,
    status: str = "FINISHED", as_tag: bool = False, **tags: str,
) -> str:  # fmt: skip
    named = {"head": arm, "seed": str(seed)}
    run = client.create_run(experiment, tags={**tags, **(named if as_tag else {})})
    for key, value in {} if as_tag else named.items():
        client.log_param(run.info.run_id, key, value)
    if score is not None:
        client.log_metric(run.info.run_id, "acc", 0.0, step=1)
        client.log_metric(run.info.run_id, "acc", score, step=2)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def judged(table: ForeignTable) -> Any:
    return claims_from(table, baseline="mlp", metric="acc", mode="max")


@pytest.mark.parametrize("page", [1000, 4])
def test_parameters_tags_and_last_values_become_the_table(
    runs: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", page)
    table = read_mlflow("heads", COLUMNS, runs=runs)
    assert (len(table.runs), table.left_out) == (13, 1)
    found = judged(table)
    assert found.verdicts[0].word == "better"
    assert found.verdicts[0].mean == pytest.approx(0.1)
    assert found.scores["mlp"] == pytest.approx(tuple(0.5 + 0.01 * seed for seed in range(6)))


def test_the_command_judges_them(runs: Path, tmp_path: Path) -> None:
    options = ["--arm", "head", "--seed", "seed", "--metric", "acc", "--mode", "max", "--baseline", "mlp"]
    target = tmp_path / "verdicts.json"
    source = ["--from-mlflow", "heads", "--runs", str(runs), "--json", str(target)]
    result = CliRunner().invoke(app, ["verdict", *source, *options])
    assert result.exit_code == 0, result.output
    (verdict,) = json.loads(target.read_text())["verdicts"]
    assert (verdict["arm"], verdict["against"], verdict["word"]) == ("sparse", "mlp", "better")
    unknown = CliRunner().invoke(app, ["verdict", *source, *options, "--filter", "tags.x = '1'"])
    assert (unknown.exit_code, unknown.stderr) == (2, "no runs in experiment 'heads' with tags.x = '1'\n")


def test_a_store_and_an_experiment_can_be_named_otherwise(runs: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{runs / 'mlflow.db'}"
    place = find_store(runs).client().get_experiment_by_name("heads").experiment_id
    assert judged(read_mlflow(place, COLUMNS, runs=tmp_path, uri=uri)).verdicts[0].word == "better"


def test_a_filter_chooses_runs(runs: Path) -> None:
    client = find_store(runs).client()
    place = client.create_experiment("stages")
    for seed in range(6):
        log(client, place, "mlp", seed, 0.5, stage="confirm")
        log(client, place, "sparse", seed, 0.6, stage="confirm")
        log(client, place, "sparse", seed, 0.9, stage="search")
    with pytest.raises(ForeignError, match="has 2 results for seed 0"):
        judged(read_mlflow("stages", COLUMNS, runs=runs))
    chosen = read_mlflow("stages", COLUMNS, runs=runs, where="tags.stage = 'confirm'")
    assert judged(chosen).verdicts[0].mean == pytest.approx(0.1)
    with pytest.raises(ForeignError, match=r"no runs in experiment 'stages' with tags\.stage = 'x'"):
        read_mlflow("stages", COLUMNS, runs=runs, where="tags.stage = 'x'")
    with pytest.raises(TrackingError, match="MLflow"):
        read_mlflow("stages", COLUMNS, runs=runs, where="stage is confirm")


def test_only_finished_runs_have_a_score(runs: Path) -> None:
    client = find_store(runs).client()
    place = client.create_experiment("unfinished")
    for seed in range(6):
        log(client, place, "mlp", seed, 0.5)
    for seed, status in enumerate(["FINISHED", "FAILED", "KILLED", "RUNNING", "FINISHED", "FINISHED"]):
        log(client, place, "sparse", seed, None if seed == 4 else 0.6, status=status)
    found = judged(read_mlflow("unfinished", COLUMNS, runs=runs))
    assert found.verdicts[0].comparison.missing == ("1", "2", "3", "4")
    said = " ".join(found.notes["sparse - mlp"])
    for word in ("is FAILED", "is KILLED", "is RUNNING", "has no acc"):
        assert word in said


def test_all_failed_is_refused(runs: Path) -> None:
    client = find_store(runs).client()
    place = client.create_experiment("failed")
    for arm in ("mlp", "sparse"):
        log(client, place, arm, 0, 0.5, status="FAILED")
    with pytest.raises(ForeignError, match="none of 2 runs has a score in acc: 2 is FAILED"):
        judged(read_mlflow("failed", COLUMNS, runs=runs))


@pytest.mark.parametrize(("experiment", "columns", "words"), [
    ("heads", Columns("haed", "seed", "acc"), "no run has a 'haed'; did you mean 'head'?"),
    ("heads", Columns("head", "seed", "ac"), "no run has a metric 'ac'; did you mean 'acc'?"),
    ("heads", Columns("head", "seed", "acc", "search"), "no run has a 'search'"),
    ("head", COLUMNS, "no experiment is called 'head'; did you mean 'heads'?"),
    ("nothing", COLUMNS, "no runs in experiment 'nothing'"),
])  # fmt: skip
def test_unknown_names_are_refused_with_the_nearest(
    runs: Path, experiment: str, columns: Columns, words: str
) -> None:
    with pytest.raises(ForeignError) as caught:
        read_mlflow(experiment, columns, runs=runs)
    assert words in str(caught.value)


def test_no_store_is_made_and_no_other_file_is_touched(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"mlflow\.db: no MLflow store is there"):
        read_mlflow("heads", COLUMNS, runs=tmp_path)
    with pytest.raises(TrackingError, match="no MLflow store"):
        read_mlflow("heads", COLUMNS, runs=tmp_path, uri=str(tmp_path / "mlruns"))
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    before = other.read_bytes()
    with pytest.raises(TrackingError, match="is not an MLflow store"):
        read_mlflow("heads", COLUMNS, runs=tmp_path, uri=f"sqlite:///{other}")
    assert other.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.db"]


def test_a_deleted_experiment_is_refused(runs: Path) -> None:
    client = find_store(runs).client()
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(TrackingError, match="experiment 'gone' was deleted"):
        read_mlflow("gone", COLUMNS, runs=runs)


def test_plain_folders_of_older_versions_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    place = client.create_experiment("heads")
    for seed in range(6):
        log(client, place, "mlp", seed, 0.5)
        log(client, place, "sparse", seed, 0.6)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    table = read_mlflow("heads", COLUMNS, runs=tmp_path, uri=str(tmp_path / "mlruns"))
    assert judged(table).verdicts[0].mean == pytest.approx(0.1)


def test_a_password_in_the_uri_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        read_mlflow("heads", COLUMNS, runs=tmp_path, uri="http://me:hush-hush@127.0.0.1:9")
    assert "hush-hush" not in str(caught.value)
