"""Which MLflow store, and a client of it: SQLite beside the sweeps, unless a URI names another."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment

_SQL = ("sqlite://", "postgresql", "mysql", "mssql")
_REMOTE = ("http://", "https://", "databricks")


class TrackingError(Exception):
    """The store cannot be used as given; the message says what is allowed."""


@dataclass(frozen=True)
class Store:
    """``artifacts`` is the folder for artifacts of new experiments; None: the server's choice."""

    uri: str
    artifacts: Path | None

    @property
    def is_server(self) -> bool:
        return self.uri.startswith(_REMOTE)

    @property
    def shown(self) -> str:
        """The URI without a password: what may be printed and kept."""
        return hide_password(self.uri, self.uri)

    def client(self) -> MlflowClient:
        """A client; reaches a server only when it is used, but creates a missing SQLite store now."""
        return MlflowClient(tracking_uri=self.uri)

    def experiment(self, client: MlflowClient, name: str) -> Experiment:
        """The experiment called ``name``, made if missing. Raises TrackingError if it was deleted."""
        found = client.get_experiment_by_name(name)
        if found is None:
            place = None if self.artifacts is None else (self.artifacts / name.replace("/", "_")).as_uri()
            return client.get_experiment(client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted in {self.shown}: restore it there, or choose another with "
                "tracking.experiment"
            )
        return found


def hide_password(text: str, uri: str) -> str:
    """``text`` without the password that ``uri`` may hold."""
    secret = urlsplit(uri).password
    return text.replace(f":{secret}@", "@").replace(secret, "***") if secret else text


def check_recordable(uri: str | None) -> None:
    """Raise TrackingError if ``uri``, a sweep's ``tracking.uri``, holds a password: what is in a sweep is in
    its ledger, in every bundle of it, and in MLflow."""
    if uri is not None and urlsplit(uri).password is not None:
        raise TrackingError(
            "tracking.uri holds a password, which would be kept with the sweep's results and in every bundle "
            "of them; leave tracking.uri out and set the environment variable MLFLOW_TRACKING_URI instead"
        )


def find_store(runs: Path, uri: str | None = None) -> Store:
    """The store at ``uri``, or else $MLFLOW_TRACKING_URI, or else ``runs/mlflow.db``.

    Paths are made absolute: Ray changes the working directory. Raises TrackingError for a store that MLflow
    no longer writes to (plain folders) or does not know.
    """
    runs = runs.absolute()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}"
    if uri.startswith(_REMOTE):
        return Store(uri, None)
    if not uri.startswith(_SQL):
        raise TrackingError(
            f"tracking.uri {uri!r}: MLflow stores runs in a database or behind a server; allowed are "
            "sqlite:///path/to/file.db, postgresql://..., mysql://..., http://... and https://..."
        )
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{path}"
    return Store(uri, runs / "mlflow-artifacts")


def store_of(folder: Path) -> tuple[Store, str | None]:
    """The store and the experiment that the sweep in ``folder`` names. Raises TrackingError as find_store."""
    tracking = json.loads((folder / "sweep.json").read_text())["tracking"]
    return find_store(folder.absolute().parent, tracking["uri"]), tracking["experiment"]
