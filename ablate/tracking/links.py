"""Addresses inside MLflow's pages: the views of a sweep, its runs, what its arms chose side by side.

Every one says ``workflowType``: without it MLflow 3 opens its pages for language models, which show no runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, urlencode

from ablate.ledger import Ledger, LedgerError
from ablate.tracking.views import view_id

_CHOSEN_AT_MOST = 20  # runs that are compared side by side


def page(path: str, **query: str) -> str:
    """The address of one of MLflow's pages, from ``#`` on, so that it holds on every server."""
    # The page that compares runs finds them only if they come first.
    return f"#/{path}?{urlencode({**query, 'workflowType': 'machine_learning'}, quote_via=quote)}"


def view_page(experiment: str, sweep_id: str, stage: str, *, charts: bool = False) -> str:
    """A prepared view (see ``views``), as a table or as charts."""
    mode = {"compareRunsMode": "CHART"} if charts else {}
    shown = {"viewStateShareKey": view_id(sweep_id, stage), **mode}
    return page(f"experiments/{experiment}/runs", **shown)


def view_pages(experiment: str, sweep_id: str, *, confirm: bool) -> dict[str, str]:
    """What the prepared views show -> where; ``confirm``: the sweep has a confirmation."""
    pages = {
        "search, best first": view_page(experiment, sweep_id, "search"),
        "search, parallel coordinates": view_page(experiment, sweep_id, "search", charts=True),
    }
    if confirm:
        pages["confirm, mean of each arm"] = view_page(experiment, sweep_id, "confirm")
        pages["confirm, charts"] = view_page(experiment, sweep_id, "confirm", charts=True)
        pages["confirmed encoders"] = page(f"experiments/{experiment}/models")
    return pages


def report_page(experiment: str, run: str) -> str:
    """The report among the artifacts of a sweep's run."""
    return page(f"experiments/{experiment}/runs/{run}/artifacts/report/index.html")


def links(folder: Path) -> dict[str, str]:
    """What there is to see of the sweep in ``folder`` -> where, from ``#`` on; empty if it was never
    mirrored."""
    path = folder / "tracking.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    experiment, runs = found["experiment_id"], found["runs"]
    confirm = bool(json.loads((folder / "sweep.json").read_text())["confirm"])
    sweep = page(f"experiments/{experiment}/runs/{found['parent']}")
    pages = {"the sweep": sweep, **view_pages(experiment, found["sweep_id"], confirm=confirm)}
    if (folder / "report" / "index.html").exists():
        pages["report"] = report_page(experiment, found["parent"])
    chosen = [runs[trial] for trial in _chosen(folder) if trial in runs]
    if len(chosen) > 1:
        what = {"runs": json.dumps(chosen[:_CHOSEN_AT_MOST]), "experiments": json.dumps([experiment])}
        pages["what was chosen, compared"] = page("compare-runs", **what)
    return pages


def _chosen(folder: Path) -> list[str]:
    """The trials that the searches chose; none if the ledger cannot be read, which the mirror has said."""
    try:
        events = Ledger.read(folder / "ledger.jsonl")
    except LedgerError:
        return []
    return list(dict.fromkeys(event["trial"] for event in events if event["event"] == "chosen"))
