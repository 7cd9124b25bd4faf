"""`ablate ui`: what it prints, and stores that have pages of their own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from mlflow import MlflowClient

from ablate.tracking import Mirror, TrackingError, serve_ui
from ablate.tracking.links import links, page
from ablate.tracking.ui import directory
from tests.report.made_sweep import ARMS, Made
from tests.tracking.servers import free_port, mlflow_server


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with two sweeps, of which the second is the newer."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    folder = tmp_path_factory.mktemp("runs")
    older = Made("older").search().end().write(folder / "older")
    newer = (
        Made("newer", arms=ARMS, share={"plain": 0.7, "deep": 0.8, "pixels": 0.2})
        .search()
        .confirm()
        .write(folder / "newer")
    )
    for sweep in (older, newer):
        assert Mirror(sweep, machine=False).close()
    os.utime(older / "ledger.jsonl", (1, 1))
    yield folder
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


def query(address: str) -> dict[str, str]:
    """What follows the question mark."""
    return {key: value for key, (value,) in parse_qs(address.partition("?")[2]).items()}


def test_every_page_is_one_for_models_not_for_language_models() -> None:
    assert query(page("experiments"))["workflowType"] == "machine_learning"
    assert list(query(page("compare-runs", runs="[]"))) == ["runs", "workflowType"], "runs come first"


def test_a_sweep_has_links_to_its_views_its_runs_and_its_choices(runs: Path) -> None:
    found = links(runs / "newer")
    mark = json.loads((runs / "newer" / "tracking.json").read_text())
    assert list(found) == [
        "the sweep", "search, best first", "search, parallel coordinates", "confirm, mean of each arm",
        "confirm, charts", "confirmed encoders", "what was chosen, compared",
    ]  # fmt: skip
    assert query(found["search, best first"])["viewStateShareKey"] == f"{mark['sweep_id']}-search"
    assert "compareRunsMode" not in query(found["confirm, mean of each arm"])
    assert query(found["confirm, charts"])["compareRunsMode"] == "CHART"
    chosen = json.loads(query(found["what was chosen, compared"])["runs"])
    assert chosen == [mark["runs"]["t0000"], mark["runs"]["t0001"]], "one of each arm"
    assert links(runs) == {}, "was never mirrored"


def test_one_choice_is_nothing_to_compare(runs: Path) -> None:
    assert "what was chosen, compared" not in links(runs / "older")


def test_the_newest_sweep_is_listed_whole(runs: Path) -> None:
    lines = directory([runs / "older", runs / "newer"], "http://127.0.0.1:5000")
    assert lines[0] == "MLflow: http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
    assert len(lines) == 1 + len(links(runs / "newer"))
    assert lines[1].startswith("  newer, the sweep: http://127.0.0.1:5000/#/experiments/")
    assert directory([], "http://127.0.0.1:5000") == lines[:1]


def test_of_a_server_the_pages_are_named_and_what_it_missed_is_brought_in(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(runs / "mlflow.db", tmp_path / "mlflow.db")  # saves the seconds of making another store
    late = Made("late").search().end().write(tmp_path / "runs" / "late")
    port = free_port()
    with mlflow_server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "disk", port) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        serve_ui(late.parent)
        said = capsys.readouterr().out
        assert f"MLflow: {url}/#/experiments" in said
        assert f"late, search, best first: {url}/#/experiments/" in said
        assert MlflowClient(url).get_experiment_by_name("late") is not None
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (late / "tracking.json").unlink()
    serve_ui(late.parent)
    assert f"late: not all of it is in MLflow yet ({url})" in capsys.readouterr().out
    assert not (late.parent / "mlflow.db").exists()


def test_a_sweep_that_names_its_server_is_listed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = Made("elsewhere").search().end().write(tmp_path / "elsewhere")
    url = f"http://127.0.0.1:{free_port()}"
    tree = json.loads((folder / "sweep.json").read_text())
    tree["tracking"]["uri"] = url
    (folder / "sweep.json").write_text(json.dumps(tree))
    serve_ui(tmp_path)
    said = capsys.readouterr().out
    assert f"MLflow: {url}/#/experiments" in said
    assert f"elsewhere: not all of it is in MLflow yet ({url})" in said
    assert not (tmp_path / "mlflow.db").exists(), "no empty store is made"


def test_where_nothing_was_run_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no sweep has been run here"):
        serve_ui(tmp_path)
