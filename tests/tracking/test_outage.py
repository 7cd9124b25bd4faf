"""Five hundred runs while the server is away, and again away in the middle of catching up."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger
from ablate.spec.sweep import SweepSpec
from ablate.sweep.curves import played
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock, run_simulated
from ablate.tracking import Mirror, catch_up, find_store
from tests.tracking.large import BEGAN, curve, large_spec
from tests.tracking.servers import free_port, serving_ui

_DEADLINE = 120.0  # seconds


@pytest.mark.timeout(900)
def test_the_sweep_ends_without_it_and_all_is_there_once_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("os.fsync", lambda _: None)
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    spec = SweepSpec.model_validate({**large_spec().as_dict(), "tracking": {"uri": uri}})

    folder = run_without_server(spec, tmp_path / "runs")
    assert not (folder / "tracking.json").exists()

    served = tmp_path / "served"
    find_store(served, f"sqlite:///{served / 'mlflow.db'}").client().search_experiments()  # makes the store
    with serving_ui(served, port):
        interrupted = Mirror(folder, uri, machine=False)
        wait_for(
            folder / "tracking.json"
        )  # a part has arrived; the server goes away in the middle of the rest
    assert not interrupted.close()
    assert 0 < count(served)["runs"] < 501

    with serving_ui(served, port):
        assert catch_up(folder)
    before = count(served)
    assert before == expected(Ledger.read(folder / "ledger.jsonl"))

    (folder / "tracking.json").unlink()
    with serving_ui(served, port):
        assert catch_up(folder)
    assert count(served) == before, "written again, it is the same"


def run_without_server(spec: SweepSpec, runs: Path) -> Path:
    """The whole sweep, mirrored to where nobody is; a mirror that blocked would not let it end."""
    clock = VirtualClock(BEGAN)
    with Driver(spec, runs, clock=clock, open_log=lambda path: Ledger.open(path, clock=clock)) as driver:
        mirror = Mirror(driver.folder, spec.tracking.uri, machine=False)
        run_simulated(driver, played(curve), clock)
        assert driver.finished
    assert not mirror.close()
    return driver.folder


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)


def count(served: Path) -> dict[str, int]:
    """What a store holds, read from a copy of its database."""
    copy = served / "copy.db"
    shutil.copy(served / "mlflow.db", copy)
    rows = {
        "runs": "SELECT count(*) FROM runs",
        "finished": "SELECT count(*) FROM runs WHERE status = 'FINISHED'",
        "points": "SELECT count(*) FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
        "WHERE t.key = 'ablate.trial' AND m.key != 'epoch'",
        "epochs": "SELECT count(*) FROM metrics WHERE key = 'epoch'",
        "pruned": "SELECT count(*) FROM tags WHERE key = 'state' AND value = 'PRUNED'",
        "parents": "SELECT count(DISTINCT value) FROM tags WHERE key = 'mlflow.parentRunId'",
        "learning rates": "SELECT count(*) FROM params WHERE key = 'optim.lr'",
    }
    with sqlite3.connect(copy) as database:
        found = {name: database.execute(query).fetchone()[0] for name, query in rows.items()}
    os.unlink(copy)
    return found


def expected(events: list[dict[str, Any]]) -> dict[str, int]:
    """What the ledger says that must be there."""
    kinds = Counter(event["event"] for event in events)
    reports = [event for event in events if event["event"] == "reported"]
    finished = [event for event in events if event["event"] == "finished"]
    last = {event["trial"]: event["metrics"] for event in reports}
    final = sum(len(event["metrics"].keys() - last[event["trial"]].keys()) for event in finished)
    drawn = sum("optim.lr" in json.dumps(e["params"]) for e in events if e["event"] == "asked")
    assert kinds["finished"] == 500
    return {
        "runs": 501,
        "finished": 501,
        "points": sum(len(event["metrics"]) for event in reports) + final,
        "epochs": len(reports),
        "pruned": sum(event["state"] == "PRUNED" for event in finished),
        "parents": 1,
        "learning rates": drawn,
    }
