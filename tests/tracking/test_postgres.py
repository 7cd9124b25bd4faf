"""A real sweep through a real server: MLflow over HTTP, PostgreSQL behind it, artifacts on a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from ablate.spec.sweep import SweepSpec
from ablate.sweep.run import run_sweep
from ablate.tracking import catch_up, log_report
from tests.tracking.servers import free_port, mlflow_server, postgres

SWEEP = {
    "name": "over-http",
    "question": "does everything arrive?",
    "base": {
        "data": {"kind": "digits", "train": 300, "test": 100},
        "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
        "head": {"kind": "mlp", "depth": 1, "hidden": 8, "out": 8},
        "optim": {"kind": "sgd", "epochs": 2, "batch": 32, "warmup_epochs": 0.0},
    },
    "space": {"optim.lr": {"float": [0.05, 0.5], "log": True}},
    "search": {"trials": 2, "sampler": {"kind": "random"}},
    "confirm": {"seeds": 2, "controls": ["pixels"]},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of the server, and the folder where it keeps artifacts."""
    artifacts = tmp_path_factory.mktemp("disk")
    with postgres() as database, mlflow_server(database, artifacts, free_port()) as url:
        yield url, artifacts


@pytest.fixture(scope="module")
def tracked(server: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    spec = SweepSpec.model_validate({**SWEEP, "tracking": {"uri": server[0]}})
    return run_sweep(spec, runs=runs, backend="inline", cache=runs / "cache")


def found(url: str) -> tuple[MlflowClient, Run, dict[str, Run]]:
    client = MlflowClient(url)
    runs = client.search_runs([client.get_experiment_by_name("over-http").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return client, parent, {run.data.tags["ablate.trial"]: run for run in children}


def test_every_number_is_in_the_database(server: tuple[str, Path], tracked: Path) -> None:
    client, parent, children = found(server[0])
    rows = {row["trial_id"]: row for row in pq.read_table(tracked / "results.parquet").to_pylist()}
    metrics = json.loads(pq.read_schema(tracked / "results.parquet").metadata[b"ablate.metrics"])
    assert parent.info.status == "FINISHED"
    assert rows.keys() == children.keys()
    for trial, row in rows.items():
        assert children[trial].info.status == "FINISHED"
        for name in metrics:
            assert children[trial].data.metrics.get(name) == row[name]
    curve = client.get_metric_history(children["t0000"].info.run_id, "loss")
    assert sorted(point.step for point in curve) == [1, 2]


def test_artifacts_and_models_lie_on_the_servers_disk(server: tuple[str, Path], tracked: Path) -> None:
    url, disk = server
    client, parent, children = found(url)
    names = {file.path for file in client.list_artifacts(children["t0000"].info.run_id)}
    assert {"spec.json", "identity.json", "spectrum.png", "encoder.pt"} <= names
    assert {"summary.md", "results.parquet"} <= {f.path for f in client.list_artifacts(parent.info.run_id)}
    models = client.search_logged_models([parent.info.experiment_id])
    assert {model.name for model in models} == {"best seed 1000", "best seed 1001"}
    for model in models:
        trial = model.tags["ablate.trial"]
        (score,) = [metric for metric in model.metrics if metric.key == "probe.h.test"]
        assert score.value == children[trial].data.metrics["probe.h.test"]
        here = (tracked / "trials" / trial / "encoder.pt").read_bytes()
        assert here in {path.read_bytes() for path in disk.rglob(f"{model.model_id}/**/encoder.pt")}


def test_the_report_is_shown_by_the_server_and_replaced(server: tuple[str, Path], tracked: Path) -> None:
    client, parent, _ = found(server[0])
    report = tracked / "report"
    (report / "figures").mkdir(parents=True, exist_ok=True)
    (report / "index.html").write_text("<h1>first</h1>")
    (report / "figures" / "old.svg").write_text("<svg/>")
    assert "report/index.html" in log_report(tracked)
    (report / "figures" / "old.svg").unlink()
    (report / "index.html").write_text("<h1>second</h1>")
    assert "report/index.html" in log_report(tracked)
    page = Path(client.download_artifacts(parent.info.run_id, "report/index.html"))
    assert page.read_text() == "<h1>second</h1>"
    assert "report/figures/old.svg" not in {
        file.path for file in client.list_artifacts(parent.info.run_id, "report/figures")
    }


def test_a_lost_mark_changes_nothing(server: tuple[str, Path], tracked: Path) -> None:
    before = state(server[0])
    (tracked / "tracking.json").unlink()
    assert catch_up(tracked)
    assert state(server[0]) == before


def state(url: str) -> dict[str, object]:
    """Everything of every run and model that could be there twice, or differ."""
    client, parent, children = found(url)
    models = client.search_logged_models([parent.info.experiment_id])
    runs = {
        trial: (
            run.info.status,
            run.info.end_time,
            run.data.params,
            {n: len(client.get_metric_history(run.info.run_id, n)) for n in run.data.metrics},
            [output.model_id for output in run.outputs.model_outputs],
            len(run.inputs.dataset_inputs),
        )
        for trial, run in children.items()
    }
    return {**runs, "models": sorted(model.model_id for model in models)}
