"""A cluster that has scaled to nothing: nodes come for trials of two workers, and in vain for none.

Ray's own autoscaler runs, with the provider that it has for its tests: nodes are processes on this machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import Cluster

import tests.sweep.fakes
from ablate.sweep.autoscaler import find_autoscaler
from ablate.sweep.capacity import cluster_nodes
from ablate.sweep.desk import SweepError
from ablate.sweep.driver import Driver
from ablate.sweep.ray_backend import run_on_ray
from tests.evidence.harness import Finding, check
from tests.sweep.fakes import FakeTrial, sweep

STORE = 80 * 2**20


@check("autoscaling")
def autoscaling(scratch: Path) -> Finding:
    figures: dict[str, Any] = {}
    with _cluster(scratch) as address:
        found = find_autoscaler()
        figures["node_types"] = [] if found is None else [f"{t.most} {t.name}" for t in found.types or ()]
        figures["cpus_before"] = _cpus()
        figures["refused"] = _refused(scratch, address)
        began = time.monotonic()
        with Driver(sweep("scaled", trials=3, epochs=3, slots=1, workers=2), scratch) as driver:
            run_on_ray(driver, cache=scratch, address=address, make_trial=FakeTrial)
            figures["finished"] = driver.finished
        figures["seconds"] = round(time.monotonic() - began)
        figures["cpus_during"] = _cpus()
    held = figures["finished"] and figures["cpus_before"] == 0 and figures["cpus_during"] >= 2
    held &= "brings at most: 3 worker of 1 CPUs" in figures["refused"] and figures["node_types"] == [
        "3 worker"
    ]
    return Finding(
        "On a cluster whose head has no CPU and whose autoscaler may bring three nodes of one CPU, a sweep "
        "of trials with two workers has the nodes brought and finishes; a trial of two CPUs a worker, which "
        "no node type has, is refused before anything starts.",
        bool(held),
        figures,
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items()),
    )


def _refused(scratch: Path, address: str) -> str:
    with Driver(sweep("impossible", trials=1, workers=1, cpus=2), scratch) as driver:
        try:
            run_on_ray(driver, cache=scratch, address=address, make_trial=FakeTrial)
        except SweepError as error:
            return str(error)
    return "not refused"


def _cpus() -> float:
    return sum(node.get("CPU", 0.0) for node in cluster_nodes())


@contextmanager
def _cluster(scratch: Path) -> Iterator[str]:
    """Its address. It is started without Ray's `AutoscalingCluster`, which stops every other Ray before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    file = scratch / "cluster.yaml"
    file.write_text(json.dumps(_config(address)))
    ray.cloudpickle.register_pickle_by_value(tests.sweep.fakes)
    os.environ |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE,
            "gcs_server_port": port,
            "autoscaling_config": str(file),
            "env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID},
        },
    )
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()
        _end_nodes(cluster.address)


def _end_nodes(address: str) -> None:
    """Those that the autoscaler brought: nobody else ends them."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"--gcs-address={address}" in (process / "cmdline").read_text().split("\0"):
                os.kill(int(process.name), signal.SIGTERM)


def _config(address: str) -> dict[str, Any]:
    provider = {
        "type": "fake_multinode",
        "gcs_address": address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "use_node_id_as_ip": True,
    }
    worker = {"CPU": 1, "object_store_memory": STORE}
    lists = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter")
    return {
        "cluster_name": "scaled-to-nothing",
        "max_workers": 3,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 5,
        "docker": {},
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "provider": provider,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 3},
        },
        **{name: [] for name in (*lists, *starts)},
    }
