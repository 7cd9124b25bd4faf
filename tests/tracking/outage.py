"""A sweep while its MLflow server is away, and away again in the middle of catching up."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from ablate.ledger import Ledger
from ablate.spec.sweep import SweepSpec
from ablate.sweep.curves import played
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock, run_simulated
from ablate.tracking import Mirror, catch_up, find_store
from tests.tracking.large import BEGAN, curve
from tests.tracking.servers import free_port, serving_ui

_DEADLINE = 120.0  # seconds

Counts = dict[str, int]


class Outage(NamedTuple):
    """What must be in the store, and what was: after the server was away a second time, once it was back,
    and when all was written once more."""

    expected: Counts
    part: Counts
    back: Counts
    again: Counts


def outage(spec: SweepSpec, scratch: Path) -> Outage:
    """Run the sweep with nobody at its server. Patch ``os.fsync`` away and set no retries before."""
    port = free_port()
    uri, served = f"http://127.0.0.1:{port}", scratch / "served"
    folder = run_without_server(
        SweepSpec.model_validate({**spec.as_dict(), "tracking": {"uri": uri}}), scratch / "runs"
    )
    assert not (folder / "tracking.json").exists()
    find_store(served, f"sqlite:///{served / 'mlflow.db'}").client().search_experiments()  # makes the store
    with serving_ui(served, port):
        interrupted = Mirror(folder, uri, machine=False)
        wait_for(folder / "tracking.json")  # a part has arrived, and the server goes away
    assert not interrupted.close()
    part = count(served)
    with serving_ui(served, port):
        assert catch_up(folder)
    back = count(served)
    (folder / "tracking.json").unlink()
    with serving_ui(served, port):
        assert catch_up(folder)
    return Outage(expected(Ledger.read(folder / "ledger.jsonl")), part, back, count(served))


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


def count(served: Path) -> Counts:
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


def expected(events: list[dict[str, Any]]) -> Counts:
    """What the ledger says that must be there."""
    kinds = Counter(event["event"] for event in events)
    reports = [event for event in events if event["event"] == "reported"]
    finished = [event for event in events if event["event"] == "finished"]
    last = {event["trial"]: event["metrics"] for event in reports}
    final = sum(len(event["metrics"].keys() - last[event["trial"]].keys()) for event in finished)
    drawn = sum("optim.lr" in json.dumps(e["params"]) for e in events if e["event"] == "asked")
    return {
        "runs": kinds["finished"] + 1,
        "finished": kinds["finished"] + 1,
        "points": sum(len(event["metrics"]) for event in reports) + final,
        "epochs": len(reports),
        "pruned": sum(event["state"] == "PRUNED" for event in finished),
        "parents": 1,
        "learning rates": drawn,
    }
