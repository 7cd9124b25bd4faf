"""The `ray` backend: Ray Tune holds the slots, Ray Train the gangs, and the Driver decides.

The driver process keeps the Driver with its ledger, the desk, which puts the slots' questions to it from a
thread, and Tune, in the main thread. Slots and gangs come and go; all that must last is in the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayError

from ablate.spec.sweep import Resources
from ablate.sweep.autoscaler import Autoscaler, find_autoscaler
from ablate.sweep.beton_depot import supply
from ablate.sweep.capacity import (
    Leases,
    Nodes,
    RoomWatch,
    cluster_nodes,
    groups,
    places,
    remove_group,
    want_group,
)
from ablate.sweep.datasets import Betons, supplied
from ablate.sweep.deaths import why
from ablate.sweep.desk import TICK, Desk, SweepError
from ablate.sweep.driver import Driver
from ablate.sweep.messages import MakeTrial, SlotPlan
from ablate.sweep.parcels import folder_served
from ablate.sweep.post import DESK, Post
from ablate.sweep.signals import two_stages
from ablate.sweep.tune_adapter import hold_slots
from ablate.trial import TrialRun

log = logging.getLogger(__name__)

_OBJECT_STORE = 200 * 2**20  # bytes, where there is room for them; only messages pass through it
_LEAST_OBJECT_STORE = 80 * 2**20  # bytes; Ray refuses less than 75 MB
_WORKER_MEMORY = 600 * 2**20  # bytes that a worker holds before its first trial: interpreter, torch, Ray
JOINING = 15.0  # seconds in which nodes of a cluster that is just starting may still join it
LINGER = 3.0  # seconds that slots have to leave by themselves at the end of a sweep
MAX_TRIALS = 10_000  # that a process runs before it is started afresh
MAX_GROWTH = 2**30  # bytes that it may hold more than after its first trial
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
    driver: Driver,
    *,
    cache: Path,
    address: str | None = None,
    make_trial: MakeTrial | None = None,
    betons: Betons | None = None,
) -> None:
    """Run what the driver hands out on ``resources.slots`` slots, until it is finished.

    ``address`` is that of a Ray cluster; None starts one on this machine, or uses the one that this process
    is connected to. ``make_trial`` replaces ``ablate.trial.TrialRun``. With ``betons``, trials on other nodes
    have their data sets brought there, and ``cache`` need not be there. SIGINT or SIGTERM lets running trials
    save and returns with the driver unfinished; a second SIGINT raises KeyboardInterrupt. Raises SweepError
    if the cluster cannot hold a slot or slots die before they start, and whatever the driver raises.
    """
    if driver.finished:
        return
    with (
        connected(address),
        _scratch(driver.folder) as scratch,
        _brought(driver, betons, cache, local=address is None, make_trial=make_trial) as make_trial,
    ):
        resources = driver.sweep.resources
        _check_room(resources, local=address is None)
        _check_memory(resources, local=address is None)
        want = None if address is None or find_autoscaler() is None else want_group
        leases = Leases(resources.workers, resources.cpus, resources.gpu_share, want=want)
        desk = Desk(driver, leases, end=lambda process: ray.kill(process))
        run = f"{driver.sweep.name}-{uuid.uuid4().hex[:8]}"
        plan = SlotPlan(
            post=f"post-{run}",
            sweep=driver.sweep.name,
            run=run,
            workers=resources.workers,
            cpus=resources.cpus,
            gpus=resources.gpu_share,
            checkpoint_every=resources.checkpoint_every,
            stall=resources.stall_minutes * 60,
            max_trials=MAX_TRIALS,
            max_growth=MAX_GROWTH,
            cache=cache.absolute(),
            scratch=scratch,
            working_directory=Path.cwd(),
            make_trial=make_trial,
            carry=not driver.stored,
        )
        post = Post.open(plan.post)
        room = RoomWatch(_lease(resources))
        with folder_served(plan, post), _served(desk, post, room), two_stages(desk.drain):
            hold_slots(desk, plan, resources.slots)
        post.close()
    if desk.error is not None:
        raise desk.error


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Within it this process is part of the Ray cluster at ``address``, or of one that is started for it on
    this machine; one that it is part of already is used and stays. Raises SweepError."""
    os.environ |= {k: os.environ.get(k, v) for k, v in _ENVIRONMENT.items()}
    if ray.is_initialized():
        yield
        return
    local: dict[str, Any] = {}
    if address is None:
        local = {"include_dashboard": True, "object_store_memory": _object_store()}
    try:
        with _on_loopback():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, RuntimeError, ValueError, RayError) as error:  # a ConnectionError is an OSError
        raise SweepError(_no_ray(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Within it Ray starts where nobody else can knock, all of its sockets on 127.0.0.1, and finds what was
    started so; its token, which it writes for everybody to read, is in a folder of this user's alone."""
    with contextlib.suppress(OSError):  # Ray will say so, if it needs the folder
        token = Path.home() / ".ray"
        token.mkdir(mode=0o700, exist_ok=True)
        token.chmod(0o700)
    # Elsewhere than on Windows and macOS Ray puts the address of the network in place of 127.0.0.1.
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _no_ray(address: str | None, error: Exception) -> str:
    said = " ".join(str(error).split())[:300]
    if address is not None:
        known = "" if "token" in said else ". If it is up, it may want its token: see docs/security.md"
        return f"cannot use the Ray cluster at {address}: {said}{known}"
    if isinstance(error, PermissionError):
        return f"cannot start Ray: {said}. If another user owns that folder, set RAY_TMPDIR to one of yours"
    return f"cannot start Ray on this machine: {said}"


def _object_store() -> int:
    """Bytes of shared memory for Ray: little, and no more than half of what is free."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return _LEAST_OBJECT_STORE
    return max(_LEAST_OBJECT_STORE, min(_OBJECT_STORE, free // 2))


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
    """Refuse a trial that has no place anywhere, and say how many at a time have one."""
    fit = _fit(resources, cluster_nodes())
    deadline = time.monotonic() + (0 if local else JOINING)
    while not fit and time.monotonic() < deadline and find_autoscaler() is None:
        time.sleep(TICK)
        fit = _fit(resources, cluster_nodes())
    if not fit:
        has = _in_words(cluster_nodes())
        message = f"a trial needs {_needs(resources)}, but the nodes of the cluster have: {has}"
        autoscaler = None if local else find_autoscaler()
        if (why := _hopeless(resources, autoscaler)) is not None:
            lower = "lower resources.workers, resources.cpus or resources.gpus"
            raise SweepError(f"{message}{why}; {lower}" + ("" if local else ", or add nodes"))
        log.warning("%s; waiting for nodes", message)
    elif fit < resources.slots:
        log.warning(
            "resources.slots is %d, but the nodes now hold %d trial(s) at a time of %s each: %s. The other "
            "slots wait until there is room",
            resources.slots,
            fit,
            _needs(resources),
            _in_words(cluster_nodes()),
        )


def _hopeless(resources: Resources, autoscaler: Autoscaler | None) -> str | None:
    """Why no node that may come can change that a trial has no place; None: one may."""
    if autoscaler is None:
        return ""
    if autoscaler.types is None or _fit(resources, [*cluster_nodes(), *autoscaler.bring()]):
        return None
    types = "; ".join(f"{t.most} {t.name} of {_in_words([t.resources])}" for t in autoscaler.types)
    return f", and the autoscaler brings at most: {types or 'none'}"


def _fit(resources: Resources, nodes: Nodes) -> int:
    """How many trials at a time the nodes hold."""
    return places(nodes, cpus=resources.cpus, gpus=resources.gpu_share) // resources.workers


def _needs(resources: Resources) -> str:
    return f"{resources.workers} worker(s) of {resources.cpus} CPU(s) and {resources.gpu_share:g} GPU(s) each"


def _in_words(nodes: Nodes) -> str:
    """What nodes have, those that are alike together."""
    alike = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    return "; ".join(words if count == 1 else f"{count} times {words}" for words, count in alike.items())


def _lease(resources: Resources) -> dict[str, float]:
    """What one gang takes of the cluster."""
    gpus = {"GPU": resources.workers * resources.gpu_share} if resources.gpu_share else {}
    return {"CPU": float(resources.workers * resources.cpus), **gpus}


def _check_memory(resources: Resources, *, local: bool) -> None:
    fit = places(cluster_nodes(), cpus=resources.cpus, gpus=resources.gpu_share)
    workers = min(resources.slots * resources.workers, fit)
    free = ray.available_resources().get("memory", 0.0)
    if local and workers * _WORKER_MEMORY > free:
        log.warning(
            "%d worker(s) hold about %d MiB before their first trial, but this machine has %d MiB to give; "
            "if trials end as out of memory, lower resources.slots",
            workers,
            workers * _WORKER_MEMORY / 2**20,
            free / 2**20,
        )


@contextlib.contextmanager
def _brought(
    driver: Driver, betons: Betons | None, cache: Path, *, local: bool, make_trial: MakeTrial | None
) -> Iterator[MakeTrial | None]:
    """``make_trial`` with its data brought to where it runs, if that may be another machine."""
    if betons is None:
        yield make_trial
        return
    threads = driver.sweep.resources.cpus
    with supply(cache, shelf=betons.shelf, threads=threads, local=local) as found:
        yield make_trial if found is None else supplied(make_trial or TrialRun, found)


@contextlib.contextmanager
def _served(desk: Desk, post: Post, room: RoomWatch) -> Iterator[None]:
    """Answer the slots from a thread, which alone talks to the desk and so to the driver."""
    closing = threading.Event()

    def serve() -> None:
        deadline = None
        while not closing.is_set():
            replies = []
            for ticket, (caller, request) in post.take(DESK, TICK):
                replies += desk.receive(ticket, caller, request)
            post.answer(replies + desk.replies())
            if not desk.done:
                room.tick(working=desk.working, refused=desk.refused)
            elif deadline is None:
                deadline = time.monotonic() + LINGER
            elif time.monotonic() > deadline:
                # Slots that still start, or wait for their gang's room, cannot hear that all is over.
                for group in groups():
                    remove_group(group)
                deadline = float("inf")

    def guarded() -> None:
        try:
            serve()
        except Exception as error:  # whatever it is: slots that get no answer would wait for ever
            if isinstance(error, RayError):
                reason = why(str(error), killed_by_kernel=False)
                error = SweepError(
                    f"lost the Ray cluster ({reason}); nothing finished is lost: resume the sweep"
                )
            desk.error, desk.done = desk.error or error, True

    thread = threading.Thread(target=guarded, name="desk", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()
