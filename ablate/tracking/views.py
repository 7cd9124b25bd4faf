"""Prepared views of a sweep's runs in MLflow's own pages: which runs, in which order, columns and charts.

MLflow keeps the views that people save there as tags of the experiment, and opens the one that a URL names
(its menu "Views"). Ours are such tags, written from the sweep's file before the first trial, so that the
pages of a sweep of hundreds of runs begin with the right hundred of them. The format is that of MLflow 3.17
(``mlflow.sharedViewState.<id>``: an envelope of name, times and state); other versions ignore what they do
not know, and then show their own defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.spec.objective import TEST_METRICS, test_metric
from ablate.spec.search import SearchSpec
from ablate.tracking.describe import arms_of

_TAG = "mlflow.sharedViewState."
_RANK, _LOSS, _PROBE = "rank.h.effective", "loss", "probe.h.val"
_SECTION = "chosen"


@dataclass(frozen=True)
class View:
    """``id`` names it in URLs, ``name`` in MLflow's menu; ``state`` is what MLflow restores."""

    id: str
    name: str
    state: dict[str, Any]

    def tag(self, time: float) -> tuple[str, str]:
        """The tag of the experiment that holds it, as saved at ``time`` (Unix seconds)."""
        at = round(time * 1000)
        envelope = {"name": self.name, "createdAt": at, "updatedAt": at, "state": json.dumps(self.state)}
        return _TAG + self.id, json.dumps(envelope)


def views_of(sweep: Mapping[str, Any], sweep_id: str) -> tuple[View, ...]:
    """The views of the search and, if there is one, of the confirmation of a resolved ``sweep``."""
    views = [_search(sweep, sweep_id)]
    return (*views, _confirm(sweep, sweep_id)) if sweep.get("confirm") else tuple(views)


def view_id(sweep_id: str, stage: str) -> str:
    return f"{sweep_id}-{stage}"


def _search(sweep: Mapping[str, Any], sweep_id: str) -> View:
    spec = SearchSpec.model_validate(sweep["search"])
    objectives = [objective.metric for objective in (spec.objective, *spec.tradeoffs)]
    first, others = objectives[0], [*objectives[1:], *(c.metric for c in spec.constraints)]
    arm = ["arm"] if sweep.get("arms") else []
    common, groups = _drawn(sweep["space"])
    columns = _columns(
        ("tags", ["state"]),
        ("metrics", [*objectives, _PROBE]),
        ("params", [*arm, *common, *(key for group in groups for key in group)]),
        ("metrics", [*others, _RANK, _LOSS]),
        ("tags", ["epochs"]),
    )
    charts = [
        _parallel([*arm, *common], objectives),
        *(_parallel([*arm, *common, *group], objectives) for group in groups),
        _line(first),
        *(_scatter(metric, first) for metric in dict.fromkeys([*others, _RANK]) if metric != first),
    ]
    ascending = spec.objective.mode == "min"
    state = _state(sweep_id, "search", columns, charts, by=first, ascending=ascending)
    state["runsHiddenMode"] = "FIRST_20_RUNS"  # curves of the best; the parallel coordinates are of all
    return View(view_id(sweep_id, "search"), f"{sweep['name']}: search, best first", state)


def _confirm(sweep: Mapping[str, Any], sweep_id: str) -> View:
    spec = SearchSpec.model_validate(sweep["search"])
    metric, mode = test_metric(spec.objective)
    columns = _columns(
        ("metrics", [metric, *TEST_METRICS, spec.objective.metric, _RANK, _LOSS]),
        ("params", list(sweep["space"])),
        ("tags", ["state"]),
    )
    charts = [_bar(metric), _scatter(_RANK, metric), _line(spec.objective.metric)]
    state = _state(sweep_id, "confirm", columns, charts, by=metric, ascending=mode == "min")
    state["groupBy"] = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "arm"}],
    }
    state["groupsExpanded"] = {f"param.arm.{arm}": False for arm in arms_of(sweep)}
    state["runsHiddenMode"] = "SHOW_ALL"
    return View(view_id(sweep_id, "confirm"), f"{sweep['name']}: confirm, mean of each arm", state)


def _drawn(space: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The keys that every trial draws, and those drawn under one condition, condition by condition: an axis
    of parallel coordinates leaves out the runs that have no value on it."""
    common = [key for key, entry in space.items() if not entry.get("when")]
    groups: dict[str, list[str]] = {}
    for key, entry in space.items():
        if entry.get("when"):
            groups.setdefault(json.dumps(entry["when"], sort_keys=True), []).append(key)
    return common, list(groups.values())


def _columns(*parts: tuple[str, Iterable[str]]) -> dict[str, int]:
    """Columns in their order, each with a width in pixels at which its name can be read."""
    return {_column(kind, key): max(90, min(170, 44 + 7 * len(key))) for kind, keys in parts for key in keys}


def _column(kind: str, key: str) -> str:
    return f"{kind}.`{key}`"


def _state(
    sweep_id: str,
    stage: str,
    columns: Mapping[str, int],
    charts: Iterable[dict[str, Any]],
    *,
    by: str,
    ascending: bool,
) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.stage = '{stage}' and tags.`ablate.sweep_id` = '{sweep_id}'",
        "orderByKey": _column("metrics", by),
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": dict(columns),
        "compareRunCharts": list(_numbered(charts)),
        "compareRunSections": _sections(stage.capitalize()),
        "isAccordionReordered": True,  # ours stays first
    }


def _sections(title: str) -> list[dict[str, Any]]:
    """Our charts, two wide; below them, folded, those that MLflow makes of every metric."""
    ours: dict[str, Any] = {"uuid": _SECTION, "name": title, "display": True, "columns": 2, "cardHeight": 420}
    theirs: list[dict[str, Any]] = [
        {"uuid": name.lower().replace(" ", "-"), "name": name, "display": False, "isGenerated": True}
        for name in ("Model metrics", "System metrics")
    ]
    return [{"isReordered": True, "deleted": False, "isGenerated": False, **each} for each in (ours, *theirs)]


def _numbered(charts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, chart in enumerate(charts):
        yield {
            "uuid": f"{_SECTION}-{number}",
            "metricSectionId": _SECTION,
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": 100,
            **chart,
        }


def _parallel(params: Iterable[str], metrics: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": list(reversed(list(metrics))),  # coloured by the last
        "showAllRuns": True,
    }


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _bar(metric: str) -> dict[str, Any]:
    return {"type": "BAR", "metricKey": metric}


def _scatter(x: str, y: str) -> dict[str, Any]:
    return {
        "type": "SCATTER",
        "xaxis": {"key": x, "type": "METRIC"},
        "yaxis": {"key": y, "type": "METRIC"},
    }
