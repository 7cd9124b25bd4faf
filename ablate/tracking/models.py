"""The encoders that confirmation trained, as MLflow's logged models: one a trial, beside its test metrics.

A logged model holds the weights as they were saved. What MLflow itself can load is made on demand by
``ablate encoder``, because tracing a network beside the driver would cost the trials.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, ErrorCode

from ablate.report.trials import TrialRecord
from ablate.tracking.describe import NOTE

_log = logging.getLogger(__name__)
WEIGHTS = "encoder.pt"
_TYPE = "encoder"
_FORBIDDEN = re.compile(r"""[/:.%"']""")  # in names of logged models


def has_model(record: TrialRecord, folder: Path) -> bool:
    """Whether the trial is a confirmation of which an encoder came out; the controls train none."""
    return record.stage == "confirm" and record.epochs > 0 and (folder / WEIGHTS).exists()


class Models:
    """The logged models of one experiment, looked up when the first is to be logged."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client, self._experiment_id = client, experiment_id
        self._found: dict[str, LoggedModel] = {}  # by the id of the run that made them
        self._available: bool | None = None

    @property
    def available(self) -> bool:
        """Whether the server knows logged models: those before MLflow 3 do not, which is said once."""
        if self._available is None:
            try:
                self._found = self._look_up()
                self._available = True
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(ENDPOINT_NOT_FOUND):
                    raise
                _log.warning("MLflow's server is older than 3: encoders are artifacts of runs, not models")
                self._available = False
        return self._available

    def log(
        self,
        run_id: str,
        record: TrialRecord,
        folder: Path,
        *,
        params: Mapping[str, str],
        data: tuple[str, str],
    ) -> None:
        """Log the encoder in the trial's ``folder`` as a model of its run, once; ``data`` is the name and the
        digest of its data set. Only where logged models are ``available``."""
        model = self._found.get(run_id)
        if model is not None and model.status == "READY":
            return
        linked = False
        if model is None:
            model = self._client.create_logged_model(
                self._experiment_id,
                name=_FORBIDDEN.sub("-", f"{record.arm} seed {record.seed}"),
                source_run_id=run_id,
                tags={"ablate.trial": record.trial, "arm": record.arm, NOTE: _note(folder)},
                params=dict(params),
                model_type=_TYPE,
            )
            self._found[run_id] = model
        else:  # somebody began; unlike the rest, the link from the run may not be written twice
            outputs = self._client.get_run(run_id).outputs.model_outputs
            linked = model.model_id in [output.model_id for output in outputs]
        if not linked:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, record.epochs)])
        self._client.log_model_artifact(model.model_id, str(folder / WEIGHTS))
        self._client.log_batch(run_id, metrics=_metrics(model.model_id, record, data))
        self._client.finalize_logged_model(model.model_id, "READY")

    def _look_up(self) -> dict[str, LoggedModel]:
        found: dict[str, LoggedModel] = {}
        token = None
        while True:
            page = self._client.search_logged_models([self._experiment_id], page_token=token)
            found |= {model.source_run_id: model for model in page if model.model_type == _TYPE}
            token = page.token
            if not token:
                return found


def _metrics(model: str, record: TrialRecord, data: tuple[str, str]) -> list[Metric]:
    """The test metrics, as the run has them, but now also of the model and the data set."""
    time = round((record.ended or 0.0) * 1000)
    return [
        Metric(name, value, time, record.epochs, model_id=model, dataset_name=data[0], dataset_digest=data[1])
        for name, value in record.final.items()
        if name.endswith(".test") and math.isfinite(value)
    ]


def _note(folder: Path) -> str:
    return (
        f"Weights of the encoder as trained. `ablate encoder {folder} --mlflow DIR` writes a model that "
        "MLflow can load, `--torchvision FILE` a plain state dict."
    )
