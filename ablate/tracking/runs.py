"""The runs of one sweep in MLflow: a parent, and one child a trial. Writing anything twice changes nothing.

Every run carries the tags ``ablate.sweep_id`` and, a child, ``ablate.trial``; before the first write the runs
that are there are looked up by them, so a mirror that lost its memory finds its work again. A child's metric
``epoch`` is written in one batch with the other metrics of that epoch, so its latest value says up to where
the child is complete. Points carry the ledger's times, not the clock's, so a point written again is equal to
the first one, and MLflow's SQL stores keep one of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from ablate.report.trials import TrialRecord
from ablate.spec.identity import digest
from ablate.tracking.spectrum import plot_spectrum
from ablate.tracking.store import Store

_BATCH = 1000  # metrics a request, MLflow's limit
_PARAMS = 100  # params a request, MLflow's limit
_TAG_LENGTH = 5000
_ARTIFACTS = ("identity.json", "spectrum.npz", "correct.npz", "encoder.pt")
_SWEEP_ARTIFACTS = ("sweep.json", "packing.json", "results.parquet", "summary.md")
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "COLLAPSED": "FINISHED", "FAILED": "FAILED"}

Point = tuple[int, float, dict[str, float]]  # epoch, time, metrics


@dataclass
class Child:
    """What MLflow holds of one trial."""

    run_id: str
    status: str = "RUNNING"
    epoch: int = -1
    described: bool = False
    last: dict[str, float] = field(default_factory=dict)


def sweep_id(opened: dict[str, Any]) -> str:
    """Names one sweep for ever, also if its folder moves or another of its name is run later."""
    return digest([opened["sweep"]["name"], opened["time"]])


class SweepRuns:
    """The parent and the children of one sweep. Connects, and looks up what is there, when made."""

    def __init__(self, store: Store, experiment: str, opened: dict[str, Any]) -> None:
        self.sweep, self.id = opened["sweep"], sweep_id(opened)
        self.client: MlflowClient = store.client()
        self.experiment_id = store.experiment(self.client, experiment)
        self.children: dict[str, Child] = {}
        self.found = False  # the parent was there already
        self.parent = ""
        self.parent_status = "RUNNING"
        self._look_up()
        if not self.parent:
            self.parent = self._create(
                self.sweep["name"],
                opened["time"],
                {"mlflow.note.content": self.sweep["question"], "stage": "sweep"},
            )

    def _look_up(self) -> None:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                filter_string=f"tags.`ablate.sweep_id` = '{self.id}'",
                order_by=["attributes.start_time DESC"],
                max_results=1000,
                page_token=token,
            )
            for run in page:
                self._recognise(run)
            token = page.token
            if not token:
                return

    def _recognise(self, run: Run) -> None:
        trial = run.data.tags.get("ablate.trial")
        if trial is None:
            self.found, self.parent, self.parent_status = True, run.info.run_id, run.info.status
            return
        self.children[trial] = Child(
            run.info.run_id,
            run.info.status,
            int(run.data.metrics.get("epoch", -1)),
            "seed" in run.data.params,
            dict(run.data.metrics),
        )

    def _create(self, name: str, time: float, tags: dict[str, str]) -> str:
        run = self.client.create_run(
            self.experiment_id,
            start_time=_milliseconds(time),
            tags={"ablate.sweep_id": self.id, "ablate.sweep": self.sweep["name"], **tags},
            run_name=name,
        )
        return str(run.info.run_id)

    def running(self, record: TrialRecord) -> None:
        """The trial has started, or goes on after an interruption."""
        child = self._child(record)
        if child.status == "KILLED":
            self._run_on(child)

    def again(self, record: TrialRecord) -> None:
        """The trial had failed and is to run again."""
        self._run_on(self._child(record))

    def _run_on(self, child: Child) -> None:
        if child.status != "RUNNING":
            self.client.update_run(child.run_id, status="RUNNING")
            child.status = "RUNNING"

    def log_points(self, record: TrialRecord, points: list[Point]) -> None:
        """Log the metrics of epochs that are not there yet, an epoch never split over two requests."""
        child = self._child(record)
        batch: list[Metric] = []
        for epoch, time, metrics in points:
            if epoch <= child.epoch:
                continue
            found = _metrics({**metrics, "epoch": float(epoch)}, time, epoch)
            if batch and len(batch) + len(found) > _BATCH:
                self.client.log_batch(child.run_id, metrics=batch)
                batch = []
            batch += found
            child.epoch = epoch
            child.last |= metrics
        if batch:
            self.client.log_batch(child.run_id, metrics=batch)

    def finish(self, record: TrialRecord, folder: Path) -> None:
        """Log the final metrics, the outcome and the artifacts in the trial's ``folder``; end the run."""
        child = self._child(record)
        if child.status in ("FINISHED", "FAILED") or record.ended is None:
            return
        fresh = {name: value for name, value in record.final.items() if _differs(child.last.get(name), value)}
        tags = {"state": record.state, "reason": record.reason[:_TAG_LENGTH], "epochs": str(record.epochs)}
        self.client.log_batch(
            child.run_id,
            metrics=_metrics(fresh, record.ended, record.epochs),
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self._log_artifacts(child.run_id, record, folder)
        child.status = _STATUS[record.state]
        self.client.set_terminated(child.run_id, child.status, _milliseconds(record.ended))

    def _log_artifacts(self, run_id: str, record: TrialRecord, folder: Path) -> None:
        self.client.log_dict(run_id, record.spec, "spec.json")
        for name in _ARTIFACTS:
            if (folder / name).exists():
                self.client.log_artifact(run_id, str(folder / name))
        if (folder / "spectrum.npz").exists():
            self.client.log_figure(run_id, plot_spectrum(folder / "spectrum.npz"), "spectrum.png")
        if (folder / "identity.json").exists():
            identity = json.loads((folder / "identity.json").read_text())
            self.client.log_inputs(run_id, [_dataset(record.spec["data"], identity["data"])])

    def _child(self, record: TrialRecord) -> Child:
        if record.trial not in self.children:
            tags = {
                "mlflow.parentRunId": self.parent,
                "ablate.trial": record.trial,
                "stage": record.stage,
                "arm": record.arm,
                "replicate": str(record.replicate),
                "spec_hash": record.spec_hash or "",
                "gpus": f"{self.sweep['resources']['gpus']:g}",  # timings compare only where it is the same
            }
            self.children[record.trial] = Child(self._create(_name(record), record.asked, tags))
        child = self.children[record.trial]
        if not child.described:
            params = {**record.params, "seed": record.seed, "arm": record.arm}
            listed = [Param(key, _text(value)) for key, value in params.items()]
            for start in range(0, len(listed), _PARAMS):
                self.client.log_batch(child.run_id, params=listed[start : start + _PARAMS])
            child.described = True
        return child

    def reopen(self) -> None:
        """The sweep goes on after an interruption."""
        if self.parent_status != "RUNNING":
            self.client.update_run(self.parent, status="RUNNING")
            self.parent_status = "RUNNING"

    def interrupt(self, folder: Path) -> None:
        """The driver stopped before the sweep ended: no run of it is going on any more."""
        self._log_sweep(folder)
        for child in self.children.values():
            if child.status == "RUNNING":
                self.client.update_run(child.run_id, status="KILLED")
                child.status = "KILLED"
        self.client.update_run(self.parent, status="KILLED")
        self.parent_status = "KILLED"

    def end(self, folder: Path, time: float) -> None:
        """The sweep has ended: attach its own artifacts, those that are there, to the parent and end it."""
        self._log_sweep(folder)
        self.client.set_terminated(self.parent, "FINISHED", _milliseconds(time))
        self.parent_status = "FINISHED"

    def _log_sweep(self, folder: Path) -> None:
        for name in _SWEEP_ARTIFACTS:
            if (folder / name).exists():
                self.client.log_artifact(self.parent, str(folder / name))


def _name(record: TrialRecord) -> str:
    """``t0007 mlp`` in the search (the arm, or the kinds drawn), ``c0012 best seed 1002`` in confirm."""
    if record.stage == "confirm":
        return f"{record.trial} {record.arm} seed {record.seed}"
    if record.arm != "search":
        return f"{record.trial} {record.arm}"
    kinds = [str(value) for key, value in record.params.items() if key.endswith(".kind")]
    return " ".join([record.trial, *kinds])


def _metrics(values: dict[str, float], time: float, step: int) -> list[Metric]:
    return [Metric(name, float(value), _milliseconds(time), step) for name, value in values.items()]


def _differs(logged: float | None, value: float) -> bool:
    return logged is None or not (logged == value or (math.isnan(logged) and math.isnan(value)))


def _dataset(data: dict[str, Any], content: str) -> DatasetInput:
    dataset = Dataset(
        name=data["kind"], digest=content[:36], source_type="ablate", source=json.dumps(data, sort_keys=True)
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(time: float) -> int:
    return round(time * 1000)
