"""The report of a sweep among the artifacts of its run, where MLflow shows the page in place."""

from __future__ import annotations

import json
from pathlib import Path

from ablate.tracking.artifacts import REPORT, replace_report
from ablate.tracking.store import Store, TrackingError, hide_password, store_of

_NOT = "The report was not logged to MLflow"


def log_report(folder: Path) -> str:
    """Log the report that was written for the sweep in ``folder`` to its run in MLflow; an earlier one is
    replaced.

    Returns one sentence on what was done, or why not and what to do: MLflow holds copies, and a report that
    does not reach it is whole on disk. A store that is away or cannot be used raises nothing.
    """
    page = folder / REPORT / "index.html"
    if not page.exists():
        return f"{_NOT}: {page} is missing."
    try:
        store, _ = store_of(folder)
    except TrackingError as error:
        return f"{_NOT}: {error}."
    run = _run_in(folder, store)
    if not run:
        return f"{_NOT}: {store.shown} has nothing of this sweep; `ablate ui` brings it in, with the report."
    try:
        replace_report(store, store.client(), run, page.parent)
    except Exception as error:  # whatever a server, a database or an object store raises
        said = hide_password(" ".join(str(error).split())[:200], store.uri)
        return f"{_NOT} ({store.shown}: {said}); `ablate report` tries again."
    return f"In MLflow: run {folder.name}, Artifacts, {REPORT}/index.html."


def _run_in(folder: Path, store: Store) -> str:
    """The id of the sweep's run, from what its mirror left; empty if that was for another store."""
    path = folder / "tracking.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return str(found["parent"]) if found.get("uri") == store.shown else ""
