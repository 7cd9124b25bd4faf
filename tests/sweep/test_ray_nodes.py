"""A cluster of several nodes, of which one comes and one is lost while a sweep runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
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
from tests.sweep.fakes import FakeTrial, LingeringTrial, arm, sweep, value

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
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


Add = Callable[..., Any]


@pytest.fixture
def add_node(cluster: Cluster) -> Iterator[Add]:
    """Nodes of one CPU, which go with the test."""
    added = []

    def add(**more: Any) -> Any:
        added.append(cluster.add_node(**SMALL, **more))
        return added[-1]

    yield add
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.mark.timeout(900)
def test_slots_follow_nodes_and_trials_outlive_them(cluster: Cluster, add_node: Add, tmp_path: Path) -> None:
    """The only node's trial stands still; a second node comes and does the rest; the first is lost."""
    cache = tmp_path / "cache"
    cache.mkdir()
    arm(cache, "sleep-rank-0")
    first = add_node()
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
        add_node()
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


@pytest.mark.timeout(900)
def test_a_noticed_node_saves_its_trial_within_the_epoch_and_starts_nothing_more(
    add_node: Add, tmp_path: Path
) -> None:
    """The only node learns, from a file, that it will be taken away. Another comes and does all the rest; the
    first is never taken away in fact."""
    cache, notice = tmp_path / "cache", tmp_path / "notice"
    cache.mkdir()
    arm(cache, "linger")
    add_node(env_vars={"ABLATE_PREEMPTION": f"file:{notice}"})
    left, moved_on = threading.Event(), threading.Event()

    def seen(event: dict[str, Any]) -> None:
        if event["event"] == "abandoned":
            left.set()
        if left.is_set() and event["event"] == "started":
            moved_on.set()

    with Driver(sweep("noticed", trials=3, slots=2), tmp_path) as driver:
        driver.subscribe(seen)
        run = threading.Thread(
            target=run_on_ray, args=(driver,), kwargs={"cache": cache, "make_trial": LingeringTrial}
        )
        run.start()
        deadline = time.monotonic() + 240
        while not (cache / "lingers").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        notice.write_text("the cloud wants it back")
        assert left.wait(240)
        assert not moved_on.is_set(), "nowhere to go on yet"
        add_node()
        run.join(240)
        assert driver.finished
    recorded = Ledger.read(driver.path)
    [saved] = [e for e in recorded if e["event"] == "checkpointed" and e.get("step")]
    [abandoned] = [e for e in recorded if e["event"] == "abandoned"]
    assert (saved["epoch"], abandoned["epoch"], abandoned["preempted"]) == (1, 1, True)
    host = socket.gethostname()
    assert abandoned["reason"] == f"preemption notice: {host}: the cloud wants it back"
    first, *others = [e["slot"] for e in recorded if e["event"] == "started"]
    assert {first, *others} == {"slot-0", "slot-1"}
    assert first not in others, "nothing more starts on a node that was noticed"
    again = [e for e in recorded if e["event"] == "reported" and e["trial"] == abandoned["trial"]]
    assert [e["epoch"] for e in again[:2]] == [1, 2]
    assert again[1]["metrics"]["restored"] == 1
