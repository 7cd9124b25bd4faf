"""The report in MLflow, and what is said where it cannot get there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ablate.tracking import Mirror, find_store, log_report
from tests.report.made_sweep import Made
from tests.tracking.servers import free_port


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs folder whose store is made once: a new SQLite store takes seconds."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield tmp_path_factory.mktemp("runs")
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="module")
def tracked(runs: Path) -> Path:
    """A sweep that was mirrored with the report that it wrote at its end."""
    folder = Made("tracked").search().end().write(runs / "tracked")
    write(folder, "at the end", "first", "second")
    assert Mirror(folder, machine=False).close()
    return folder


def write(folder: Path, text: str, *figures: str) -> None:
    place = folder / "report" / "figures"
    place.mkdir(parents=True, exist_ok=True)
    (folder / "report" / "index.html").write_text(f"<h1>{text}</h1>")
    for old in place.iterdir():
        old.unlink()
    for name in figures:
        (place / f"{name}.svg").write_text("<svg/>")


def logged(folder: Path) -> tuple[str, set[str]]:
    """The page and the figures as MLflow has them."""
    client: MlflowClient = find_store(folder.parent).client()
    run = json.loads((folder / "tracking.json").read_text())["parent"]
    page = Path(client.download_artifacts(run, "report/index.html")).read_text()
    return page, {Path(file.path).name for file in client.list_artifacts(run, "report/figures")}


def test_the_report_at_the_end_goes_with_the_mirror(tracked: Path) -> None:
    assert logged(tracked) == ("<h1>at the end</h1>", {"first.svg", "second.svg"})


def test_a_later_one_replaces_it_with_all_its_figures(tracked: Path) -> None:
    write(tracked, "later", "second", "third")
    for _ in range(2):
        assert log_report(tracked) == "In MLflow: run tracked, Artifacts, report/index.html."
        assert logged(tracked) == ("<h1>later</h1>", {"second.svg", "third.svg"})


def test_without_a_report_or_a_mirror_it_says_what_is_missing(runs: Path) -> None:
    folder = Made("alone").search().write(runs / "alone")
    assert log_report(folder).endswith("report/index.html is missing.")
    write(folder, "alone")
    said = log_report(folder)
    assert "has nothing of this sweep" in said
    assert "`ablate ui` brings it in" in said
    assert not (folder / "tracking.json").exists()


def test_of_a_store_that_is_away_it_says_so_and_hides_the_password(
    tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hush-hush@{place}")
    mark = (tracked / "tracking.json").read_text()
    assert "has nothing of this sweep" in log_report(tracked), "it was mirrored elsewhere"
    changed = {**json.loads(mark), "uri": f"http://me@{place}"}
    (tracked / "tracking.json").write_text(json.dumps(changed))
    said = log_report(tracked)
    (tracked / "tracking.json").write_text(mark)
    assert said.startswith("The report was not logged to MLflow (http://me@127.0.0.1:")
    assert said.endswith("`ablate report` tries again.")
    assert "hush-hush" not in said


def test_a_store_that_cannot_be_used_is_said(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert "allowed are" in log_report(tracked)
