"""The runs of one sweep in MLflow: a parent, and one child a trial. Writing anything twice changes nothing.

Every run carries the tags ``ablate.sweep_id`` and, a child, ``ablate.trial``; before the first write the runs
that are there are looked up by them, so a mirror that lost its memory finds its work again. A child's metric
``epoch`` is written after the other metrics of that epoch, so its latest value says up to where the child is
complete. Points carry the ledger's times, not the clock's, so a point written again is equal to the first
one, and MLflow's SQL stores keep one of them. What people may change in MLflow's pages (descriptions of
experiments, views) is written only where there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from ablate.report.machines import machines_of
from ablate.report.trials import TrialRecord
from ablate.spec.identity import digest
from ablate.tracking.artifacts import REPORT, SWEEP_FILES, log_trial, replace_report
from ablate.tracking.best import BestPoint
from ablate.tracking.describe import NOTE, cut, first_tags, last_tags, listed_keys, name_of, params_of
from ablate.tracking.links import report_page, view_pages
from ablate.tracking.machine import Sample
from ablate.tracking.models import Models, has_model
from ablate.tracking.store import Store
from ablate.tracking.views import views_of

# In one request MLflow takes 1000 metrics, parameters and tags, of which 100 parameters.
_METRICS, _PARAMS = 800, 100
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "COLLAPSED": "FINISHED", "FAILED": "FAILED"}
_OBJECTIVE = "mlflow.experiment.primaryMetric."

Point = tuple[int, float, dict[str, float]]  # epoch, time, metrics


@dataclass
class Child:
    """What MLflow holds of one trial."""

    run_id: str
    artifacts: str
    status: str = "RUNNING"
    epoch: int = -1
    described: bool = False
    last: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.status in ("FINISHED", "FAILED")


def sweep_id(opened: dict[str, Any]) -> str:
    """Names one sweep for ever, also if its folder moves or another of its name is run later."""
    return digest([opened["sweep"]["name"], opened["time"]])


class SweepRuns:
    """The parent and the children of one sweep. Connects, and looks up what is there, when made."""

    def __init__(self, store: Store, experiment: str, opened: dict[str, Any]) -> None:
        self.store, self.sweep, self.id = store, opened["sweep"], sweep_id(opened)
        self.client: MlflowClient = store.client()
        found = store.experiment(self.client, experiment)
        self.experiment_id = str(found.experiment_id)
        self.children: dict[str, Child] = {}
        self.found = False  # the parent was there already
        self.parent = ""
        self.parent_status = "RUNNING"
        self._keys = listed_keys(self.sweep)
        self._models = Models(self.client, self.experiment_id)
        self._opened = float(opened["time"])
        self._look_up()
        if not self.parent:
            tags = {NOTE: f"{self._pages()}\n\n{self.sweep['question']}", "stage": "sweep"}
            self.parent = self._create(self.sweep["name"], self._opened, tags).info.run_id
        self._present(found.tags)

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
            run.info.artifact_uri,
            run.info.status,
            int(run.data.metrics.get("epoch", -1)),
            "seed" in run.data.params,
            dict(run.data.metrics),
        )

    def _create(self, name: str, time: float, tags: dict[str, str]) -> Run:
        return self.client.create_run(
            self.experiment_id,
            start_time=_milliseconds(time),
            tags={"ablate.sweep_id": self.id, "ablate.sweep": self.sweep["name"], **tags},
            run_name=name,
        )

    def _present(self, there: dict[str, str]) -> None:
        """Give the experiment what it has not: a description, an objective, the views of this sweep."""
        objective = self.sweep["search"]["objective"]
        tags = {
            NOTE: f"{self.sweep['question']}\n\n{self._pages()}",
            f"{_OBJECTIVE}name": objective["metric"],
            f"{_OBJECTIVE}greaterIsBetter": str(objective["mode"] == "max"),
            **dict(view.tag(self._opened) for view in views_of(self.sweep, self.id)),
        }
        for key, value in tags.items():
            if key not in there:
                self.client.set_experiment_tag(self.experiment_id, key, value)

    def _pages(self, folder: Path | None = None) -> str:
        """The way to the prepared views, and to the report if there is one in ``folder``, as links of a
        description."""
        pages = view_pages(self.experiment_id, self.id, confirm=bool(self.sweep["confirm"]))
        if folder is not None and (folder / REPORT / "index.html").exists():
            pages = {"report": report_page(self.experiment_id, self.parent), **pages}
        return " · ".join(f"[{what}]({where})" for what, where in pages.items())

    def update(self, record: TrialRecord, points: list[Point], folder: Path, *, again: bool) -> None:
        """Bring the run of a trial up to date: what it is, epochs that are not there yet and, once it has
        ended, how, with the artifacts in its ``folder``. ``again``: it had ended before, and was run again.
        """
        child = self._child(record)
        if again or (child.status == "KILLED" and not record.finished):
            self.client.update_run(child.run_id, status="RUNNING")
            child.status = "RUNNING"
        ends = record.finished and not child.ended
        metrics = _fresh(child, points, self.sweep["search"]["objective"]["metric"])
        if ends:
            metrics += _metrics(_final(child, record), record.ended or 0.0, record.epochs)
        params = {} if child.described else params_of(record, self._keys)
        tags = {**last_tags(record), **_machine(record.trial, folder)} if ends else {}
        self._log(child.run_id, metrics, params, tags)
        child.described = True
        if ends:
            self._log_artifacts(child, record, folder)
            child.status = _STATUS[record.state]
            self.client.set_terminated(child.run_id, child.status, _milliseconds(record.ended or 0.0))

    def _child(self, record: TrialRecord) -> Child:
        if record.trial not in self.children:
            tags = {"mlflow.parentRunId": self.parent, **first_tags(record, self.sweep)}
            run = self._create(name_of(record), record.asked, tags)
            self.children[record.trial] = Child(run.info.run_id, run.info.artifact_uri)
        return self.children[record.trial]

    def _log(self, run: str, metrics: list[Metric], params: dict[str, str], tags: dict[str, str]) -> None:
        """In as few requests as may be; the tags come last."""
        listed = [Param(key, value) for key, value in params.items()]
        batches = zip_longest(_chunks(listed, _PARAMS), _chunks(metrics, _METRICS), fillvalue=())
        *early, (some, rest) = list(batches) or [((), ())]
        for some_params, some_metrics in early:
            self.client.log_batch(run, metrics=some_metrics, params=some_params)
        if some or rest or tags:
            last = [RunTag(key, value) for key, value in tags.items()]
            self.client.log_batch(run, metrics=rest, params=some, tags=last)

    def _log_artifacts(self, child: Child, record: TrialRecord, folder: Path) -> None:
        modelled = has_model(record, folder) and self._models.available
        log_trial(self.store, child.artifacts, record, folder, weights=not modelled)
        data = self._log_data(child.run_id, record, folder)
        if modelled:
            params = params_of(record, self._keys)
            self._models.log(child.run_id, record, folder, params=params, data=data)

    def _log_data(self, run: str, record: TrialRecord, folder: Path) -> tuple[str, str]:
        """Log the data set of a trial; returns its name and digest, empty if it is not known."""
        if not (folder / "identity.json").exists():
            return "", ""
        content = json.loads((folder / "identity.json").read_text())["data"][:36]
        data = record.spec["data"]
        source = json.dumps(data, sort_keys=True)
        dataset = Dataset(name=data["kind"], digest=content, source_type="ablate", source=source)
        self.client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        return data["kind"], content

    def log_best(self, points: Iterable[BestPoint]) -> None:
        """Log to the parent how good the searches are by now; the step is the number of ended trials."""
        metrics = [Metric(name, value, _milliseconds(time), step) for name, value, step, time in points]
        self._log(self.parent, metrics, {}, {})

    def log_machine(self, samples: Iterable[Sample]) -> None:
        """Log to the parent how busy the driver's machine was; the step is the sweep's age in seconds."""
        metrics: list[Metric] = []
        for time, values in samples:
            metrics += _metrics(values, time, round(time - self._opened))
        self._log(self.parent, metrics, {}, {})

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
        if (folder / "summary.md").exists():
            answer = (folder / "summary.md").read_text(encoding="utf-8").partition("\n")[2].strip()
            self.client.set_tag(self.parent, NOTE, cut(f"{self._pages(folder)}\n\n{answer}"))
        self.client.set_terminated(self.parent, "FINISHED", _milliseconds(time))
        self.parent_status = "FINISHED"

    def _log_sweep(self, folder: Path) -> None:
        for name in SWEEP_FILES:
            if (folder / name).exists():
                self.client.log_artifact(self.parent, str(folder / name))
        if (folder / REPORT / "index.html").exists():
            replace_report(self.store, self.client, self.parent, folder / REPORT)


def _fresh(child: Child, points: list[Point], objective: str) -> list[Metric]:
    """The metrics of epochs that the child has not: the objective first, because MLflow's compare page begins
    with the metric that came first, and the epoch's number after the rest of it."""
    metrics: list[Metric] = []
    for epoch, time, values in points:
        if epoch > child.epoch:
            first = {objective: values[objective]} if objective in values else {}
            metrics += _metrics({**first, **values, "epoch": float(epoch)}, time, epoch)
            child.epoch = epoch
            child.last |= values
    return metrics


def _final(child: Child, record: TrialRecord) -> dict[str, float]:
    """What a trial was finished with and its run has not as latest value."""
    return {name: value for name, value in record.final.items() if _differs(child.last.get(name), value)}


def _metrics(values: dict[str, float], time: float, step: int) -> list[Metric]:
    return [Metric(name, float(value), _milliseconds(time), step) for name, value in values.items()]


def _differs(logged: float | None, value: float) -> bool:
    return logged is None or not (logged == value or (math.isnan(logged) and math.isnan(value)))


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _machine(trial: str, folder: Path) -> dict[str, str]:
    """The type of machine that a trial ran on, if it tells: its times compare only where that is the same."""
    machine = machines_of(folder.parents[1], [trial]).get(trial)
    return {"machine": machine} if machine else {}


def _milliseconds(time: float) -> int:
    return round(time * 1000)
