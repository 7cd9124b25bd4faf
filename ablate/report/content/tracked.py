"""Where a sweep's runs are found in MLflow, from the ids that its mirror left in ``tracking.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

LOCAL = "http://127.0.0.1:5000"  # where `ablate ui` shows a store that has no pages of its own
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_PAGES = "workflowType=machine_learning"  # MLflow 3 has other pages too, for language models


@dataclass(frozen=True)
class Tracked:
    """``site`` is a URL without user and password; ``local``: it is there only while `ablate ui` runs.
    ``runs`` maps trials to ids of runs."""

    site: str
    local: bool
    experiment: str
    parent: str
    runs: Mapping[str, str]

    def run(self, trial: str) -> str:
        """The URL of a trial's run; empty if it has none."""
        return self._page(self.runs[trial]) if trial in self.runs else ""

    @property
    def sweep(self) -> str:
        """The URL of the run of the whole sweep."""
        return self._page(self.parent)

    def _page(self, run: str) -> str:
        place = f"experiments/{quote(self.experiment)}/runs/{quote(run)}"
        return f"{self.site}/#/{place}?{_PAGES}"


def tracked_in(folder: Path) -> Tracked | None:
    """What the mirror recorded in a sweep's folder; None if there is nothing, or no page to link to."""
    try:
        found = json.loads((folder / "tracking.json").read_text(encoding="utf-8"))
        runs = {str(trial): str(run) for trial, run in found["runs"].items()}
        site, local = _site(str(found["uri"]))
        ids = str(found["experiment_id"]), str(found["parent"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or another version's
        return None
    return Tracked(site, local, *ids, runs) if site and all(ids) else None


def _site(uri: str) -> tuple[str, bool]:
    """The pages of a store, and whether they are those of `ablate ui`; "" where it has none."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}", False
    return (LOCAL, True) if parts.scheme.split("+")[0] in _DATABASES else ("", False)


def without_user(uri: str) -> str:
    """A tracking URI as it may be shown: without user, password and query."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri.partition("?")[0]
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"
