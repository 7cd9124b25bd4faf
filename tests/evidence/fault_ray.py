"""Faults on real Ray clusters of two CPUs, in a process of their own: `python -m tests.evidence.fault_ray`.

Its argument is a folder, SCRATCH. Each cell runs a sweep in ``SCRATCH/<cell>/`` and leaves its ledger there;
``SCRATCH/ray.json`` says of each what there is to tell, or why it broke off.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from ablate.ledger import Event, Ledger
from ablate.spec.sweep import SweepSpec
from ablate.sweep import ray_backend
from ablate.sweep.capacity import Leases, remove_group
from ablate.sweep.driver import LEDGER, Driver
from ablate.sweep.ray_backend import run_on_ray
from tests.evidence import struck
from tests.evidence.fault_sweeps import GANGS, PLAIN, TWO_SLOTS, keep
from tests.evidence.harness import ROOT
from tests.sweep.other_job import cpus_held

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
PATIENCE = 240.0  # seconds
CLEANING = 5.0  # seconds that the removal of a placement group is put off
OLD_WORKERS = 30.0  # seconds that they may take from the end of the resumed sweep


def begin(spec: SweepSpec, runs: Path, cache: Path, **options: Any) -> list[Event]:
    with Driver(spec, runs, **options) as driver:
        run_on_ray(driver, cache=cache, make_trial=struck.struck)
        if not driver.finished:
            raise RuntimeError("the sweep has not come to its end")
    return Ledger.read(driver.path)


def killed(spec: SweepSpec, rank: int, runs: Path, cache: Path) -> str:
    (cache / f"kill-rank-{rank}").touch()
    events = begin(spec, runs, cache)
    return "; ".join(f"{e['trial']}: {e['reason']}" for e in events if e["event"] == "abandoned")


def undisturbed(runs: Path, cache: Path) -> str:
    begin(GANGS, runs, cache)
    return ""


def cleaned_slowly(runs: Path, cache: Path) -> str:
    """Also a gang that was killed, so that there is something to clean before the next can start."""

    asked: set[str] = set()

    def late(group: str) -> None:
        if group not in asked:
            asked.add(group)
            threading.Timer(CLEANING, remove_group, [group]).start()

    ray_backend.Leases = partial(Leases, remove=late)  # type: ignore[assignment, misc]
    try:
        return killed(GANGS, 0, runs, cache)
    finally:
        ray_backend.Leases = Leases  # type: ignore[misc]


def crowded(runs: Path, cache: Path) -> str:
    with cpus_held(ray.get_runtime_context().gcs_address) as heard:
        begin(PLAIN, runs, cache)
    if not heard or "CPU needed, 0 of 2 free, 2 CPU of them held by other Ray jobs" not in heard[0]:
        raise RuntimeError(f"the missing resource was not named: {heard!r}")
    return heard[0].split(". ")[0]


def orphaned(runs: Path, cache: Path) -> str:
    """SIGKILL of the driver, and `resume` at once, while its trials are still written by others."""
    address = ray.get_runtime_context().gcs_address
    program = [sys.executable, "-m", "tests.evidence.fault_ray", "--die", address, str(runs), str(cache)]
    with (runs / "killed.txt").open("w") as log:
        code = subprocess.run(program, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if code != -signal.SIGKILL:
        raise RuntimeError(f"the driver ended with {code}: {(runs / 'killed.txt').read_text()[-300:]}")
    keep(runs / PLAIN.name / LEDGER, runs)
    begin(PLAIN, runs, cache, resuming=True)
    until = time.monotonic() + OLD_WORKERS
    while (told := _old_workers(cache))[0] < told[1] and time.monotonic() < until:
        time.sleep(0.2)
    ended, began, written = told
    if ended < began or not written:
        raise RuntimeError(f"of {began} old workers {ended} came to write ({written} checkpoints)")
    return f"{began} old workers wrote {written} checkpoints and the artifacts after the resume"


def _old_workers(cache: Path) -> tuple[int, int, int]:
    """How many have ended, how many began, and how many checkpoints they wrote."""
    ended = [int(path.read_text() or 0) for path in cache.glob("old-*.txt")]
    return len(ended), len(list(cache.glob("old-*.log"))), sum(ended)


def die(address: str, runs: Path, cache: Path) -> None:
    """The driver that is killed when its third checkpoint is recorded."""
    saved: list[Event] = []

    def seen(event: Event) -> None:
        saved.extend([event] if event["event"] == "checkpointed" else [])
        if len(saved) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    ray.cloudpickle.register_pickle_by_value(struck)
    with Driver(PLAIN, runs) as driver:
        driver.subscribe(seen)
        run_on_ray(driver, cache=cache, address=address, make_trial=struck.outliving)


def node_lost(cluster: Cluster, runs: Path, cache: Path) -> str:
    """The only node's trial stands still; a second node comes and does the rest; the first is lost."""
    (cache / "sleep-rank-0").touch()
    first = cluster.add_node(**SMALL)
    saved, moved_on, finished = threading.Event(), threading.Event(), []

    def seen(event: Event) -> None:
        if event["event"] == "checkpointed":
            saved.set()
        finished.extend([event["trial"]] if event["event"] == "finished" else [])
        if len(finished) == 3:
            moved_on.set()

    with Driver(TWO_SLOTS, runs) as driver:
        driver.subscribe(seen)
        run = threading.Thread(
            target=run_on_ray, args=(driver,), kwargs={"cache": cache, "make_trial": struck.struck}
        )
        run.start()  # Ray adds and removes nodes in the main thread only
        for step in (saved, moved_on):
            if not step.wait(PATIENCE):
                raise RuntimeError("no trial came as far as it was to")
            if step is saved:
                cluster.add_node(**SMALL)
        cluster.remove_node(first, allow_graceful=False)
        run.join(PATIENCE)
        if not driver.finished:
            raise RuntimeError("the sweep has not come to its end")
    abandoned = [e for e in Ledger.read(driver.path) if e["event"] == "abandoned"]
    return "; ".join(f"{e['trial']}: {e['reason']}" for e in abandoned)


def noticed(spec: SweepSpec, rank: int, cluster: Cluster, runs: Path, cache: Path) -> str:
    """The nodes that there are, as many as a trial needs, can be noticed; that of this rank is. Then another
    comes, which cannot."""
    (cache / f"notice-rank-{rank}").touch()
    for number in range(spec.resources.workers):
        cluster.add_node(**SMALL, env_vars={"ABLATE_PREEMPTION": f"file:{cache}/notice-{number}"})
    left = threading.Event()

    def seen(event: Event) -> None:
        if event["event"] == "abandoned":
            left.set()

    with Driver(spec, runs) as driver:
        driver.subscribe(seen)
        run = threading.Thread(
            target=run_on_ray, args=(driver,), kwargs={"cache": cache, "make_trial": struck.struck}
        )
        run.start()  # Ray adds nodes in the main thread only
        if not left.wait(PATIENCE):
            raise RuntimeError("no trial left a noticed node")
        cluster.add_node(**SMALL)
        run.join(PATIENCE)
        if not driver.finished:
            raise RuntimeError("the sweep has not come to its end")
    events = Ledger.read(driver.path)
    left_early = [e for e in events if e["event"] == "abandoned"]
    if not all(e.get("preempted") for e in left_early):
        raise RuntimeError(f"a slot died: {left_early}")
    within = [f"epoch {e['epoch']} and {e['step']} steps" for e in events if e.get("step")]
    return f"{len(left_early)} left a noticed node; saved within an epoch: {', '.join(within) or 'none'}"


Cell = Callable[[Path, Path], str]  # takes the folder of runs and that of data and armed faults
ON_ONE_NODE: dict[str, Cell] = {
    "worker": partial(killed, PLAIN, 0),
    "orphaned": orphaned,
    "crowded": crowded,
    "undisturbed-gangs": undisturbed,
    "rank-1": partial(killed, GANGS, 1),
    "cleaning": cleaned_slowly,
}
ON_NODES: dict[str, Callable[[Cluster, Path, Path], str]] = {
    "node": node_lost,
    "noticed": partial(noticed, TWO_SLOTS, 0),
    "noticed-rank": partial(noticed, GANGS, 1),
}


@contextmanager
def one_node() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, include_dashboard=True, object_store_memory=100 * 2**20,
        log_to_driver=False,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def nodes() -> Iterator[Cluster]:
    """A head without a CPU, so that no slot runs there."""
    head = {**SMALL, "num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def tell(cell: Cell, scratch: Path, name: str) -> None:
    """Run one cell; whatever goes wrong is told of it alone."""
    runs, cache, began = scratch / name, scratch / f"{name}-cache", time.monotonic()
    for folder in (runs, cache):
        folder.mkdir(parents=True)
    found = {"note": "", "error": ""}
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(int(PATIENCE))
    try:
        found["note"] = cell(runs, cache)
    except Exception as error:
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.alarm(0)
    path = scratch / "ray.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: found}))
    print(f"{name}: {time.monotonic() - began:.0f} s {found}", flush=True)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no end after {PATIENCE:.0f} s")


def main(scratch: Path, chosen: list[str]) -> None:
    ray.cloudpickle.register_pickle_by_value(struck)
    here = {name: cell for name, cell in ON_ONE_NODE.items() if not chosen or name in chosen}
    if here:
        with one_node():
            for name, cell in here.items():
                tell(cell, scratch, name)
    for name, on_cluster in ON_NODES.items():
        if not chosen or name in chosen:
            with nodes() as cluster:
                tell(partial(on_cluster, cluster), scratch, name)


if __name__ == "__main__":
    if sys.argv[1] == "--die":
        die(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
