"""A cluster of several nodes, of which one comes and one is lost while a sweep runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import tests.sweep.fakes
from ablate.ledger import Ledger
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.ray_backend import run_on_ray
from tests.sweep.fakes import FakeTrial, arm, sweep, value

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Its head has no CPU, so that no slot runs there."""
    ray.cloudpickle.register_pickle_by_value(tests.sweep.fakes)
    cluster = Cluster(
        initialize_head=True, head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False}
    )
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.timeout(900)
def test_slots_follow_nodes_and_trials_outlive_them(cluster: Cluster, tmp_path: Path) -> None:
    """The only node's trial stands still; a second node comes and does the rest; the first is lost."""
    cache = tmp_path / "cache"
    cache.mkdir()
    arm(cache, "sleep-rank-0")
    first = cluster.add_node(**SMALL)
    saved, moved_on = threading.Event(), threading.Event()
    finished: list[str] = []

    def seen(event: dict[str, Any]) -> None:
        if event["event"] == "checkpointed":
            saved.set()
        if event["event"] == "finished":
            finished.append(event["trial"])
            if len(finished) == 3:
                moved_on.set()

    with Driver(sweep("nodes", trials=6, slots=2), tmp_path) as driver:
        driver.subscribe(seen)
        run = threading.Thread(
            target=run_on_ray, args=(driver,), kwargs={"cache": cache, "make_trial": FakeTrial}
        )
        run.start()  # Ray adds and removes nodes in the main thread only
        assert saved.wait(240)
        cluster.add_node(**SMALL)
        assert moved_on.wait(240)
        cluster.remove_node(first, allow_graceful=False)
        run.join(240)
        assert driver.finished
    recorded = Ledger.read(driver.path)
    specs = {e["trial"]: TrialSpec.model_validate(e["spec"]) for e in recorded if e["event"] == "asked"}
    for event in recorded:
        if event["event"] == "reported":
            assert event["metrics"]["probe.h.val"] == value(specs[event["trial"]], event["epoch"])
    assert sorted(e["trial"] for e in recorded if e["event"] == "finished") == sorted(specs)
    [lost] = [e for e in recorded if e["event"] == "abandoned"]
    assert (lost["trial"], lost["epoch"]) == ("t0000", 1)
    assert lost["reason"] == "lost node: the machine it ran on is gone or cannot be reached"
    [start, again] = [e for e in recorded if e["event"] == "started" and e["trial"] == "t0000"]
    assert start["slot"] != again["slot"]
