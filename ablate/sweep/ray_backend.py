"""The `ray` backend: Ray Tune holds the slots, Ray Train the gangs, and the Driver decides.

The driver process keeps the Driver with its ledger, the desk, which puts the slots' questions to it from a
thread, and Tune, in the main thread. Slots and gangs come and go; all that must last is in the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.exceptions import RayError

from ablate.spec.sweep import Resources
from ablate.sweep.capacity import Leases, cluster_nodes, places
from ablate.sweep.desk import Desk, SweepError
from ablate.sweep.driver import Driver
from ablate.sweep.messages import MakeTrial, SlotPlan
from ablate.sweep.post import Post
from ablate.sweep.slot import DESK
from ablate.sweep.tune_adapter import hold_slots

log = logging.getLogger(__name__)

_TICK = 0.5  # seconds between looks at what only time changes: signals, dead slots, freed placement groups
_OBJECT_STORE = 200 * 2**20  # bytes; only messages pass through it
_SCRATCH = ".ray-"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in specs stay what they are
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the only way to have Tune print nothing
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are never read
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def run_on_ray(
    driver: Driver, *, cache: Path, address: str | None = None, make_trial: MakeTrial | None = None
) -> None:
    """Run what the driver hands out on ``resources.slots`` slots, until it is finished.

    ``address`` is that of a Ray cluster; None starts one on this machine, or uses the one that this process
    is connected to. ``make_trial`` replaces ``ablate.trial.TrialRun``. SIGINT or SIGTERM lets running trials
    save and returns with the driver unfinished; a second SIGINT raises KeyboardInterrupt. Raises SweepError
    if the cluster cannot hold a slot or slots die before they start, and whatever the driver raises.
    """
    if driver.finished:
        return
    os.environ |= {k: os.environ.get(k, v) for k, v in _ENVIRONMENT.items()}
    with _connected(address), _scratch(driver.folder) as scratch:
        resources = driver.sweep.resources
        _check_room(resources, local=address is None)
        desk = Desk(driver, Leases(resources.workers, resources.cpus, resources.gpus))
        run = f"{driver.sweep.name}-{uuid.uuid4().hex[:8]}"
        plan = SlotPlan(
            post=f"post-{run}",
            sweep=driver.sweep.name,
            run=run,
            workers=resources.workers,
            cpus=resources.cpus,
            gpus=resources.gpus,
            checkpoint_every=resources.checkpoint_every,
            cache=cache.absolute(),
            scratch=scratch,
            working_directory=Path.cwd(),
            make_trial=make_trial,
        )
        post = Post.open(plan.post)
        with _served(desk, post), _signals(desk):
            hold_slots(desk, plan, resources.slots)
        post.close()
    if desk.error is not None:
        raise desk.error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    local = {"include_dashboard": True, "object_store_memory": _OBJECT_STORE} if address is None else {}
    ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Where Tune and Train insist on writing; on the sweep's storage, because all nodes must reach it."""
    for left_by_a_killed_driver in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_by_a_killed_driver, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _check_room(resources: Resources, *, local: bool) -> None:
    nodes = cluster_nodes()
    if places(nodes, cpus=resources.cpus, gpus=resources.gpus) >= resources.workers:
        return
    has = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    message = (
        f"a trial needs {resources.workers} worker(s) of {resources.cpus} CPU(s) and {resources.gpus:g} "
        f"GPU(s) each, but the nodes of the cluster have: {has}"
    )
    if local:
        raise SweepError(f"{message}; lower resources.workers, resources.cpus or resources.gpus")
    log.warning("%s; waiting for nodes", message)


@contextlib.contextmanager
def _served(desk: Desk, post: Post) -> Iterator[None]:
    """Answer the slots from a thread, which alone talks to the desk and so to the driver."""
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            replies = []
            for ticket, (caller, request) in post.take(DESK, _TICK):
                replies += desk.receive(ticket, caller, request)
            post.answer(replies + desk.replies())

    def guarded() -> None:
        try:
            serve()
        except Exception as error:  # whatever it is: slots that get no answer would wait for ever
            lost = isinstance(error, RayError)
            reason = SweepError(f"lost the Ray cluster: {error}") if lost else error
            desk.error, desk.done = desk.error or reason, True

    thread = threading.Thread(target=guarded, name="desk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()


@contextlib.contextmanager
def _signals(desk: Desk) -> Iterator[None]:
    """The first SIGINT or SIGTERM drains the desk; the next has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def drain(*_: object) -> None:
        log.warning("stopping: running trials save first; once more to abandon them")
        desk.drain()
        restore()

    for number in before:
        signal.signal(number, drain)
    try:
        yield
    finally:
        restore()
