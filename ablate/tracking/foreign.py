"""Runs that others have tracked in MLflow, read as a table of arms, seeds and one metric. Writes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from ablate.report.foreign import (
    Columns,
    ForeignError,
    ForeignRun,
    ForeignTable,
    check_known,
    failed,
    foreign_run,
    table_of,
)
from ablate.tracking.store import TrackingError, find_store, hide_password

_PAGE = 1000
_UNREADABLE = (MlflowException, SQLAlchemyError, ImportError)  # the last: the driver of a database is missing


def read_mlflow(
    experiment: str, columns: Columns, *, runs: Path, uri: str | None = None, where: str = ""
) -> ForeignTable:
    """The runs of ``experiment`` (a name or an id) that the MLflow filter ``where`` lets through.

    Arm, seed and replicate are parameters or tags, the metric counts with its last value. Only runs that are
    FINISHED have a score. ``uri`` None: $MLFLOW_TRACKING_URI, or the store in the folder ``runs``. Raises
    TrackingError if the store cannot be read, ForeignError if it holds no such table.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    try:
        client = _client(runs, uri)
        found = list(_search(client, _experiment(client, experiment), where))
    except _UNREADABLE as error:
        raise TrackingError(f"MLflow: {_first_line(error, uri)}") from None
    if not found:
        raise ForeignError(f"no runs in experiment {experiment!r}" + (f" with {where}" if where else ""))
    _check_columns(found, columns)
    return table_of([_row(run, columns) for run in found])


def _client(runs: Path, uri: str | None) -> MlflowClient:
    """A client that makes no store where there is none; plain folders of older versions can be read too."""
    place = urlsplit(uri or "")
    if place.scheme in ("", "file") and place.path:
        folder = Path(place.path)
        if not any(folder.glob("*/meta.yaml")):
            raise TrackingError(f"{folder}: no MLflow store (a folder such as mlruns) is there")
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        return MlflowClient(tracking_uri=folder.absolute().as_uri())
    if uri is None or uri.startswith("sqlite:///"):
        _check_sqlite(runs / "mlflow.db" if uri is None else Path(uri.removeprefix("sqlite:///")))
    return find_store(runs, uri).client()


def _check_sqlite(file: Path) -> None:
    """MLflow would make its tables in any file."""
    if not file.is_file():
        raise TrackingError(f"{file}: no MLflow store is there; name one with --uri")
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        connection.execute("SELECT 1 FROM experiments LIMIT 1")
        connection.close()
    except sqlite3.Error as error:
        raise TrackingError(f"{file}: is not an MLflow store: {error}") from None


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None and name.isdigit():
        found = client.get_experiment(name)
    if found is None:
        known = [e.name for e in client.search_experiments(max_results=_PAGE)]
        check_known(name, known, "no experiment is called", "experiments")
    assert found is not None
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} was deleted: restore it there, or name another")
    return str(found.experiment_id)


def _search(client: MlflowClient, experiment: str, where: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            filter_string=where,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _check_columns(found: list[Run], columns: Columns) -> None:
    names = {name for run in found for name in (*run.data.params, *run.data.tags)}
    for name in columns.names:
        own = [each for each in names if not each.startswith("mlflow.")]
        check_known(name, [*own, *(n for n in names if n == name)], "no run has a", "parameters and tags")
    metrics = {name for run in found for name in run.data.metrics}
    check_known(columns.metric, metrics, "no run has a metric", "metrics")


def _row(run: Run, columns: Columns) -> ForeignRun | None:
    values = {**run.data.tags, **run.data.params, columns.metric: run.data.metrics.get(columns.metric)}
    row = foreign_run(f"run {run.info.run_id[:8]}", values, columns)
    if row is None or run.info.status == "FINISHED":
        return row
    return failed(row, f"is {run.info.status}")


def _first_line(error: Exception, uri: str | None) -> str:
    """What went wrong, without the password that ``uri`` may hold."""
    text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return hide_password(text, uri or "")
