"""Files in MLflow: those of a trial, and the report of a sweep. What is there already is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ablate.report.trials import TrialRecord
from ablate.tracking.models import WEIGHTS
from ablate.tracking.spectrum import plot_spectrum
from ablate.tracking.store import Store

REPORT = "report"  # the folder of the report, in a sweep's folder as among the artifacts
SWEEP_FILES = ("sweep.json", "packing.json", "results.parquet", "summary.md")
_FILES = ("identity.json", "spectrum.npz", "correct.npz")


def log_trial(store: Store, place: str, record: TrialRecord, folder: Path, *, weights: bool) -> None:
    """Log what there is of a trial to ``place``, the artifact URI of its run: its spec, the files in its
    ``folder``, those with ``weights`` only if asked for, and a picture of its spectra."""
    repository = _repository(store, place)
    names = (*_FILES, WEIGHTS) if weights else _FILES
    with TemporaryDirectory() as scratch:
        spec, picture = Path(scratch) / "spec.json", Path(scratch) / "spectrum.png"
        spec.write_text(json.dumps(record.spec, indent=2) + "\n")
        if (folder / "spectrum.npz").exists():
            plot_spectrum(folder / "spectrum.npz").savefig(picture)
        for file in (spec, picture, *(folder / name for name in names)):
            if file.exists():
                repository.log_artifact(str(file))


def replace_report(store: Store, client: MlflowClient, run: str, report: Path) -> None:
    """Log the files in the folder ``report``, and remove those of an earlier report that are no more."""
    client.log_artifacts(run, str(report), REPORT)
    here = {f"{REPORT}/{path.relative_to(report).as_posix()}" for path in report.rglob("*")}
    repository = _repository(store, client.get_run(run).info.artifact_uri)
    for place in (REPORT, f"{REPORT}/figures"):
        for file in repository.list_artifacts(place):
            if file.path not in here:
                repository.delete_artifacts(file.path)


def _repository(store: Store, place: str) -> ArtifactRepository:
    return get_artifact_repository(place, tracking_uri=store.uri)
