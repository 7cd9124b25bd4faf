"""The data sets of a sweep on a cluster: built once, brought to every node once, checked on arrival.

A built data set is a folder that is named by its content (see ``data.beton``). The node of the driver builds
it, because it has the source (see ``beton_depot``). A trial on another node first has it brought into the
cache of that node, by one process for all: from the sweep's storage, else from the driver's node, else it is
built there if the very same source can be read. Every file is compared with the manifest while it is written,
and only what has come whole takes the data set's name.

    <storage>/betons/<digest>/<file>-<SHA-256>   each written once, for all sweeps in that storage
    <storage>/betons/<digest>/manifest.json      at last: without it nothing of the rest counts

Each node has the cache of its own: $ABLATE_CACHE there, or ~/.cache/ablate. A cache that was named for the
sweep is at the same place on every node.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import Timeout

from ablate.data import DataError, default_cache
from ablate.data.beton import build_in, data_digest, locked, open_beton, replacing
from ablate.data.manifest import MANIFEST, Manifest, Piece, manifest_of
from ablate.durable import RESERVE, check_free, in_words
from ablate.ledger import Store, StoreError
from ablate.spec.data import DataSpec
from ablate.trial import TrialFailure

if TYPE_CHECKING:  # or every slot would import the driver
    from ablate.sweep.storage import SweepStorage

PAUSES = (5.0, 30.0, 120.0)  # seconds between attempts; then it is for people to see to
ATTEMPTS = 2  # at each place, one after the other: a copy that was cut is often whole the next time
LOOK = 1.0  # seconds between looks at what another process does
_BETONS = "betons"

Moved = Callable[[], None]  # called when something came nearer, so that waiting is not taken for a stall


class NotDelivered(Exception):
    """A data set cannot be brought here; the message says from where, and why not."""


class Origin(Protocol):
    """A place that data sets come from; ``str`` names it. Both methods raise NotDelivered if it has not got
    it or cannot be reached."""

    def manifest(self, digest: str, moved: Moved) -> Manifest: ...
    def blocks(self, digest: str, piece: Piece) -> Iterator[bytes]: ...


class Home(Origin, Protocol):
    """The node of the driver."""

    def is_here(self) -> bool:
        """Whether this process runs there."""

    def named(self, spec: DataSpec, moved: Moved) -> str:
        """The digest of the data set of ``spec``, which is built there now if it was not yet. Raises
        DataError if it cannot be built, NotDelivered if the node cannot be reached."""

    def stored(self, digest: str, moved: Moved) -> str:
        """Wait until the data set is in the storage. Returns why it is not, "" if it is."""


@dataclass(frozen=True)
class Shelf:
    """The data sets in a storage, for all sweeps in it. A value: it pickles, and connects late."""

    store: Store

    @classmethod
    def beside(cls, sweep: SweepStorage) -> Shelf:
        """That of the storage which the sweep is in."""
        return cls(Store(f"{sweep.root}/{_BETONS}"))

    def __str__(self) -> str:
        return f"the storage ({self.store})"

    def publish(self, folder: Path) -> bool:
        """Upload the data set in ``folder``; False: it was there. Raises StoreError, and DataError if the
        folder cannot be read."""
        manifest = manifest_of(folder)
        there = self.store.sizes(manifest.digest)
        if self._complete(manifest.digest, there):
            return False
        for piece in manifest.pieces:
            if there.get(_key(manifest.digest, piece)) != piece.size:
                self.store.put(_key(manifest.digest, piece), folder / piece.name)
        self.store.put(f"{manifest.digest}/{MANIFEST}", manifest.text())
        return True

    def manifest(self, digest: str, moved: Moved) -> Manifest:  # noqa: ARG002
        key = f"{digest}/{MANIFEST}"
        try:
            if not self.store.exists(key):
                raise NotDelivered("it is not there")
            return Manifest.parse(self.store.get(key), f"{self.store}/{key}")
        except (StoreError, DataError) as error:
            raise NotDelivered(str(error)) from error

    def blocks(self, digest: str, piece: Piece) -> Iterator[bytes]:
        try:
            yield from self.store.blocks(_key(digest, piece))
        except StoreError as error:
            raise NotDelivered(str(error)) from error

    def _complete(self, digest: str, there: dict[str, int]) -> bool:
        if f"{digest}/{MANIFEST}" not in there:
            return False
        try:
            listed = Manifest.parse(self.store.get(f"{digest}/{MANIFEST}"), str(self.store))
        except DataError:
            return False
        return all(there.get(_key(digest, piece)) == piece.size for piece in listed.pieces)


def _key(digest: str, piece: Piece) -> str:
    """Two drivers that build the same data set at once may write other bytes: neither spoils the other's."""
    return f"{digest}/{piece.name}-{piece.sha256}"


@dataclass(frozen=True)
class Betons:
    """How the data sets of a sweep reach other nodes: by way of ``shelf``, or straight from the driver's."""

    shelf: Shelf | None = None

    @classmethod
    def of(cls, storage: SweepStorage | None) -> Betons:
        """By way of the storage that the sweep has, if any."""
        return cls() if storage is None else cls(Shelf.beside(storage))


@dataclass(frozen=True)
class Supply:
    """Brings data sets to the node of the process that asks. It pickles.

    ``cache`` is the driver's; ``everywhere``: that path holds on every node. ``threads`` decode images where
    one has to be built.
    """

    home: Home
    shelf: Shelf | None
    cache: Path
    everywhere: bool
    threads: int = 1
    _digests: dict[str, str] = field(default_factory=dict, compare=False)  # what this process was told

    def cache_here(self) -> Path:
        """The cache of this node."""
        return self.cache if self.everywhere or self.home.is_here() else default_cache()

    def bring(self, spec: DataSpec, moved: Moved = lambda: None) -> str:
        """Have the data set of ``spec`` in the cache of this node, and return its digest.

        Prints what it does if it was not there. Raises NotDelivered if it cannot be had, DataError if it
        cannot be built.
        """
        for pause in PAUSES:
            try:
                return self._bring(spec, moved)
            except NotDelivered as error:
                print(f"{error}; next attempt in {pause:g} s", flush=True)
                time.sleep(pause)
        return self._bring(spec, moved)

    def _bring(self, spec: DataSpec, moved: Moved) -> str:
        key = json.dumps(spec.as_dict(), sort_keys=True)
        if key not in self._digests:
            self._digests[key] = self.home.named(spec, moved)
        folder = self.cache_here() / self._digests[key]
        if _damage(folder) is not None:
            with _held(folder, moved):
                damage = _damage(folder)  # another process of this node may have been first
                if damage is not None:
                    print(f"data set {folder.name}: {damage}", flush=True)
                    print(f"data set {folder.name}: {self._have(spec, folder, moved)}", flush=True)
        return folder.name

    def _have(self, spec: DataSpec, folder: Path, moved: Moved) -> str:
        """Write it, under its lock; what was done, in words."""
        try:
            return fetch(folder, self._origins(folder.name, moved), moved)
        except NotDelivered as error:
            with _at_work(moved):
                built = self._build(spec, folder)
            if not built:
                raise
            return f"{built}, because {error}"

    def _origins(self, digest: str, moved: Moved) -> Iterator[Origin]:
        if self.shelf is not None:
            if why := self.home.stored(digest, moved):
                print(f"data set {digest}: not in the storage: {why}", flush=True)
            yield self.shelf
        if not self.home.is_here():
            yield self.home

    def _build(self, spec: DataSpec, folder: Path) -> str:
        """Build it if the source can be read here; "" if it cannot, or is another one."""
        try:
            if data_digest(spec, folder.parent) != folder.name:
                return ""
            began = time.monotonic()
            build_in(folder, spec, threads=self.threads)
        except DataError:
            return ""
        return f"built from the source in {time.monotonic() - began:.1f} s"


def fetch(folder: Path, origins: Iterator[Origin] | Sequence[Origin], moved: Moved = lambda: None) -> str:
    """Copy the data set that ``folder`` is named after from the first of ``origins`` that gives it whole.

    Its lock is held. Returns what was done, in words. Raises NotDelivered if none gives it, OSError if there
    is no room for it.
    """
    refusals = []
    for origin in origins:
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            try:
                size = _copy(folder, origin, moved)
            except NotDelivered as error:
                refusals.append(f"{origin}: {error}")
            else:
                seconds = time.monotonic() - began
                failed = f" after {'; '.join(dict.fromkeys(refusals))}" if refusals else ""
                return f"fetched from {origin}, {in_words(size)} in {seconds:.1f} s{failed}"
    said = "; ".join(dict.fromkeys(refusals)) or "there is no other place to fetch it from"
    raise NotDelivered(f"data set {folder.name} cannot be brought to {socket.gethostname()}: {said}")


def _copy(folder: Path, origin: Origin, moved: Moved) -> int:
    manifest = origin.manifest(folder.name, moved)
    if manifest.digest != folder.name:
        raise NotDelivered(f"its manifest is that of {manifest.digest}")
    check_free(folder.parent, manifest.size + RESERVE, f"data set {folder.name}")
    with replacing(folder) as unfinished:
        for piece in manifest.pieces:
            _receive(origin.blocks(folder.name, piece), piece, unfinished / piece.name, moved)
        (unfinished / MANIFEST).write_bytes(manifest.text())
        try:
            open_beton(unfinished)
        except DataError as error:
            raise NotDelivered(f"what came is no data set: {error}") from error
    return manifest.size


def _receive(blocks: Iterator[bytes], piece: Piece, path: Path, moved: Moved) -> None:
    found, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for block in blocks:
            size += len(block)
            if size > piece.size:
                break
            file.write(block)
            found.update(block)
            moved()
    if size != piece.size:
        than = "less" if size < piece.size else "more"
        raise NotDelivered(f"{piece.name} came with {than} than its {piece.size} bytes")
    if found.hexdigest() != piece.sha256:
        raise NotDelivered(f"{piece.name} came damaged: its SHA-256 is not that of the manifest")


def _damage(folder: Path) -> str | None:
    """Why the data set has to be brought; None: it is here, each file of its size."""
    if not folder.is_dir():
        return "not in the cache of this node"
    try:
        open_beton(folder)
    except DataError as error:
        return f"damaged here ({error})"
    return None


@contextmanager
def _held(folder: Path, moved: Moved) -> Iterator[None]:
    """Hold its lock. Whoever has it meanwhile is alive, and is waited for however long it takes."""
    lock = locked(folder)
    while True:
        try:
            lock.acquire(timeout=LOOK)
            break
        except Timeout:
            moved()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _at_work(moved: Moved) -> Iterator[None]:
    """Within it something is done that cannot say how far it is; it is never taken for a stall."""
    over = threading.Event()

    def move() -> None:
        while not over.wait(LOOK):
            moved()

    thread = threading.Thread(target=move, name="at work", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class SuppliedTrial:
    """A trial that is made when it is first asked for anything, once its data set is here.

    ``progress`` answers meanwhile, so that a node to which much has to be brought does not seem to stand
    still. That nothing can be brought is none of the trial's doing: the sweep ends, to be resumed.
    """

    def __init__(self, make: Callable[..., Any], spec: DataSpec, supply: Supply) -> None:
        self._make, self._spec, self._supply = make, spec, supply
        self._trial: Any = None
        self._moves = 0

    @property
    def progress(self) -> int:
        trial = self._trial
        return self._moves + (0 if trial is None else int(trial.progress))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__, when it is unpickled
            raise AttributeError(name)
        if self._trial is None:
            self._trial = self._made()
        return getattr(self._trial, name)

    def _made(self) -> Any:
        try:
            digest = self._supply.bring(self._spec, self._move)
        except (NotDelivered, OSError) as error:
            raise TrialFailure("HALTED", f"{socket.gethostname()}: {error}") from error
        return self._make(cache=self._supply.cache_here(), beton=digest)

    def _move(self) -> None:
        self._moves += 1


def supplied(make_trial: Callable[..., Any], supply: Supply) -> Any:
    """``make_trial`` (``ablate.trial.TrialRun``, say) with its data brought to the node. It pickles."""
    return partial(_supplied, make_trial, supply)


def _supplied(make_trial: Any, supply: Supply, spec: Any, *, cache: Path, **named: Any) -> SuppliedTrial:  # noqa: ARG001
    """``cache`` is the driver's, at a path that may be another here."""
    return SuppliedTrial(partial(make_trial, spec, **named), spec.data, supply)
