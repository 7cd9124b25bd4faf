"""The beton depot: a Ray actor on the driver's node that builds data sets and hands them out to other nodes.

It is asked which data set a spec means, builds it in the driver's cache if it is not there, uploads it to the
sweep's storage if there is one, and gives it block by block to nodes that ask. Ray's object store is small:
no more than ``AHEAD`` blocks a node are under way, and ``CALLS`` in all.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ablate.data import DataError, build, default_cache
from ablate.data.manifest import Manifest, Piece, manifest_of
from ablate.ledger import StoreError
from ablate.spec.data import DataSpec
from ablate.sweep.capacity import cluster_nodes
from ablate.sweep.datasets import LOOK, Moved, NotDelivered, Shelf, Supply

BLOCK = 8 * 2**20  # bytes
AHEAD = 2  # blocks on their way to one node
CALLS = 8  # that the depot answers at a time
FIRST_LOOK = 0.05  # seconds until one asks again whether the depot has done it; twice as long each time
REFUSED = 3 * LOOK  # seconds for which a refusal holds
SILENCE = 120.0  # seconds without a block after which the way is taken to be cut


@dataclass(frozen=True)
class BetonDepot:
    """The depot as any process of the sweep's Ray job uses it; ``node`` is the id of its node. It pickles."""

    name: str
    node: str

    def __str__(self) -> str:
        return "the driver's node"

    def is_here(self) -> bool:
        return bool(ray.get_runtime_context().get_node_id() == self.node)

    def named(self, spec: DataSpec, moved: Moved) -> str:
        found = self._done("named", spec, moved)
        if isinstance(found, _Refused):
            raise DataError(found.reason)
        return str(found)

    def stored(self, digest: str, moved: Moved) -> str:
        try:
            found = self._done("stored", digest, moved)
        except NotDelivered as error:
            return str(error)
        return found.reason if isinstance(found, _Refused) else ""

    def manifest(self, digest: str, moved: Moved) -> Manifest:
        found = self._wait(self._find().manifest.remote(digest), moved)
        if isinstance(found, _Refused):
            raise NotDelivered(found.reason)
        assert isinstance(found, Manifest)
        return found

    def blocks(self, digest: str, piece: Piece) -> Iterator[bytes]:
        actor, waiting = self._find(), deque[Any]()
        for offset in range(0, piece.size, BLOCK):
            waiting.append(actor.block.remote(digest, piece.name, offset))
            if len(waiting) == AHEAD:
                yield _taken(waiting.popleft())
        while waiting:
            yield _taken(waiting.popleft())

    def _done(self, method: str, about: Any, moved: Moved) -> Any:
        """What the depot answers once it has done it; it says None while it still works."""
        pause = FIRST_LOOK
        while (found := self._wait(getattr(self._find(), method).remote(about), moved)) is None:
            moved()
            time.sleep(pause)
            pause = min(2 * pause, LOOK)
        return found

    def _find(self) -> Any:
        try:
            return ray.get_actor(self.name)
        except ValueError as error:
            raise NotDelivered("the driver is gone") from error

    def _wait(self, reference: Any, moved: Moved) -> Any:
        while not ray.wait([reference], timeout=LOOK)[0]:
            moved()
        return _taken(reference)


def _taken(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=SILENCE)
    except RayError as error:
        said = str(error).partition("\n")[0]
        raise NotDelivered(f"it does not answer ({type(error).__name__}: {said})") from error


@contextlib.contextmanager
def supply(cache: Path, *, shelf: Shelf | None = None, threads: int, local: bool) -> Iterator[Supply | None]:
    """Within it data sets are brought to the nodes of the connected cluster; None: all is on this machine,
    which ``local`` says that a single node is.

    ``cache`` is the driver's: a node has its own default where this is the driver's default, else the same
    path. ``threads`` decode images.
    """
    if local and len(cluster_nodes()) == 1:
        yield None
        return
    cache, everywhere = cache.absolute(), cache.absolute() != default_cache().absolute()
    with opened(cache, shelf, threads) as depot:
        yield Supply(depot, shelf, cache, everywhere, threads)


@contextlib.contextmanager
def opened(cache: Path, shelf: Shelf | None, threads: int) -> Iterator[BetonDepot]:
    """Within it there is a depot on this node, which builds in ``cache`` and uploads to ``shelf``."""
    name, node = f"betons-{uuid.uuid4().hex[:8]}", ray.get_runtime_context().get_node_id()
    keeper = ray.remote(num_cpus=0, max_concurrency=CALLS, max_restarts=-1)(_Keeper)
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = keeper.options(name=name, scheduling_strategy=here).remote(cache, shelf, threads, Path.cwd())
    try:
        yield BetonDepot(name, node)
    finally:
        with contextlib.suppress(RayError):  # the cluster is lost, and the depot with it
            ray.kill(actor)


@dataclass(frozen=True)
class _Refused:
    """An answer: why there is none. An exception would reach the other side as one of Ray's."""

    reason: str
    at: float = field(default_factory=time.monotonic, compare=False)


def _is_old(found: str | _Refused) -> bool:
    return isinstance(found, _Refused) and time.monotonic() - found.at > REFUSED


class _Keeper:
    """Builds and uploads in threads, one of each, so that it always has an ear for who wants blocks."""

    def __init__(self, cache: Path, shelf: Shelf | None, threads: int, working_directory: Path) -> None:
        os.chdir(working_directory)  # paths in specs are relative to the driver's
        self._cache, self._shelf, self._threads = cache, shelf, threads
        self._mutex = threading.Lock()
        self._work: dict[str, Future[str | _Refused]] = {}
        self._builder, self._uploader = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def named(self, spec: DataSpec) -> str | _Refused | None:
        return self._soon(json.dumps(spec.as_dict(), sort_keys=True), self._builder, self._build, spec)

    def stored(self, digest: str) -> str | _Refused | None:
        return self._soon(digest, self._uploader, self._upload, digest)

    def manifest(self, digest: str) -> Manifest | _Refused:
        try:
            return manifest_of(self._cache / digest)
        except DataError as error:
            return _Refused(str(error))

    def block(self, digest: str, name: str, offset: int) -> bytes:
        with (self._cache / digest / name).open("rb") as file:
            file.seek(offset)
            return file.read(BLOCK)

    def _soon(
        self, key: str, pool: ThreadPoolExecutor, work: Callable[[Any], str | _Refused], about: Any
    ) -> str | _Refused | None:
        """Its result, once it is there: begun at the first call, and again some time after it was refused,
        when all who waited have heard of that."""
        with self._mutex:
            future = self._work.get(key)
            if future is None or (future.done() and _is_old(future.result())):
                future = self._work[key] = pool.submit(work, about)
        return future.result() if future.done() else None

    def _build(self, spec: DataSpec) -> str | _Refused:
        try:
            digest = build(spec, self._cache, threads=self._threads).digest
        except DataError as error:
            return _Refused(str(error))
        except Exception as error:  # of a plugin's source, say: as if the trial itself had built it
            return _Refused(f"{type(error).__name__}: {error}")
        with self._mutex:
            if self._shelf is not None and digest not in self._work:
                self._work[digest] = self._uploader.submit(self._upload, digest)
        return digest

    def _upload(self, digest: str) -> str | _Refused:
        """Empty once it is in the storage."""
        try:
            if self._shelf is not None:
                self._shelf.publish(self._cache / digest)
        except (StoreError, DataError) as error:
            return _Refused(str(error))
        except OSError as error:  # of this node's disk
            return _Refused(f"{type(error).__name__}: {error}")
        return ""
