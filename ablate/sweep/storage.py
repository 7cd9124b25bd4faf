"""A sweep in shared storage: everything that another machine needs to go on with it, or to look at it.

    <storage>/<sweep>/ledger/, lease/          the ledger and who may write it: see ``ablate.ledger.bucket``
    <storage>/<sweep>/trials/...               checkpoints and artifacts, under the names they have here
    <storage>/<sweep>/sweep.json, packing.json, results.parquet, summary.md, report/index.html

Workers put what they write there before it counts: a checkpoint before it is recorded, artifacts before the
trial is COMPLETE. They fetch a checkpoint that is not on their machine, so nodes need no shared file system.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ablate.ledger import BucketLedger, Store, StoreError
from ablate.ledger.bucket import read_segments
from ablate.spec.changes import changed
from ablate.sweep.driver import SWEEP, DriverError
from ablate.trial import Checkpoint, CheckpointError, TrialFailure

_NOTE = "storage.json"
_FOR_READERS = (SWEEP, "packing.json", "results.parquet", "summary.md", "report/index.html")
_FEW = 16  # files to delete without looking whether they are there
_LARGE = ".pt"  # weights and checkpoints: fetched when wanted
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepStorage:
    """The sweep's part of ``store``, and the folder on this machine that has the same names."""

    store: Store
    folder: Path

    @classmethod
    def find(cls, folder: Path, url: str | None) -> SweepStorage | None:
        """The storage at ``url`` of the sweep in ``folder`` (which need not exist yet); without a URL that
        which the sweep was begun in, None if it has none.

        Raises DriverError if the sweep has another, StoreError if the URL cannot be used.
        """
        folder = folder.absolute()
        note = folder / _NOTE
        known = json.loads(note.read_text())["url"] if note.exists() else None
        wanted = url.rstrip("/") if url else known
        if wanted is None:
            return None
        if known is None and (folder / SWEEP).exists():
            raise DriverError(
                f"{folder}: this sweep was begun without storage and goes on without; leave --storage out"
            )
        if known not in (None, wanted):
            raise DriverError(f"{folder}: this sweep is stored in {known}, not in {url}; leave --storage out")
        return cls(Store.at(wanted, folder.name), folder)

    @property
    def root(self) -> str:
        """The URL that was given: other sweeps may be there, too."""
        return self.store.url.removesuffix(f"/{self.folder.name}")

    def open_log(self, path: Path) -> BucketLedger:
        """The sweep's ledger, with ``path`` as its working copy; see ``BucketLedger.open``."""
        ledger = BucketLedger.open(path, store=self.store)
        self._note()  # before anything is recorded
        return ledger

    def write_sweep(self) -> None:
        """Write the sweep's file into its folder, as the ledger has it by now.

        Raises DriverError if there is no such sweep in the storage.
        """
        events = [event for _, events in read_segments(self.store) for event in events]
        if not events:
            raise DriverError(f"{self.store}: there is no sweep of this name in the storage")
        sweep = events[0]["sweep"]
        for event in events:
            sweep = changed(sweep, event.get("changes", {}))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._note()
        (self.folder / SWEEP).write_text(json.dumps(sweep, indent=2) + "\n")

    def upload(self, files: Iterable[Path]) -> None:
        for path in files:
            self.store.put(self._key(path), path)

    def fetch(self, path: Path) -> bool:
        """Bring a file here under its own name; False: the storage does not have it."""
        return self.store.fetch(self._key(path), path)

    def fetch_artifacts(self) -> None:
        """Bring here the artifacts of trials that ran elsewhere, all but weights and checkpoints."""
        for key in self.store.sizes("trials"):
            path = self.folder / key
            if path.suffix != _LARGE and not path.exists():
                self.fetch(path)

    def publish(self) -> None:
        """Put there what people read: the sweep's file and, once they are written, its results."""
        self.upload(path for name in _FOR_READERS if (path := self.folder / name).exists())

    def exists(self, path: Path) -> bool:
        return self.store.exists(self._key(path))

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files of trials; there need be none."""
        keys = [self._key(path) for path in paths]
        if len(keys) > _FEW:  # what a replayed ledger ever let go of: nearly all of it is gone
            there = self.store.sizes("trials")
            keys = [key for key in keys if key in there]
        for key in keys:
            self.store.delete(key)

    def _note(self) -> None:
        """Remember the storage in the sweep's folder, so that it need not be named again."""
        text = json.dumps({"url": self.root})
        (self.folder / _NOTE).write_text(text + "\n")

    def _key(self, path: Path) -> str:
        try:
            return Path(os.path.normpath(path.absolute())).relative_to(self.folder).as_posix()
        except ValueError:  # a name in the storage, or in its ledger, that is none of ours
            raise StoreError(f"{path} leads out of {self.folder}") from None


def begin_here(folder: Path, url: str) -> None:
    """Have the file of the sweep that is stored at ``url`` in its folder on this machine. Raises as
    ``SweepStorage.find`` and ``write_sweep`` do."""
    storage = SweepStorage.find(folder, url)
    if storage is not None and not (folder / SWEEP).exists():
        storage.write_sweep()


def has_begun(folder: Path, url: str | None) -> bool:
    """Whether there is a sweep to go on with, on this machine or in the storage at ``url``; if so, its file
    is in ``folder`` now. Raises as ``SweepStorage.find`` does, and StoreError."""
    storage = SweepStorage.find(folder, url)
    if (folder / SWEEP).exists():
        return True
    if storage is None or not storage.store.sizes("ledger"):
        return False
    storage.write_sweep()
    return True


class Remote(Protocol):
    """Where files of the sweep's folder are kept for other machines. Methods raise StoreError."""

    def upload(self, files: Iterable[Path]) -> None: ...
    def fetch(self, path: Path) -> bool: ...
    def delete(self, paths: Iterable[Path]) -> None: ...


class StoredTrial:
    """A trial whose checkpoints and artifacts go to the storage too; otherwise the trial that it holds.

    What the storage refuses halts the sweep: it is none of the trial's doing.
    """

    def __init__(self, trial: Any, storage: Remote) -> None:
        self._trial, self._storage = trial, storage

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__, when it is unpickled
            raise AttributeError(name)
        return getattr(self._trial, name)

    def save(self, folder: Path) -> Checkpoint | None:
        checkpoint: Checkpoint | None = self._trial.save(folder)
        if checkpoint is not None:
            self._upload([Path(checkpoint.path)])
        return checkpoint

    def restore(self, checkpoint: Checkpoint, *more: Any, **named: Any) -> None:
        path = Path(checkpoint.path)
        if path.exists():
            try:
                self._trial.restore(checkpoint, *more, **named)
                return
            except CheckpointError as error:  # damaged here, or of a driver elsewhere
                _log.warning("%s; it is fetched from the storage", error)
        self._fetch(path)
        try:
            self._trial.restore(checkpoint, *more, **named)
        except CheckpointError:  # damaged there too: while it is there, the trial would be sent back to it
            self._delete(path)
            raise

    def finish(self, folder: Path, **words: Any) -> dict[str, float]:
        metrics: dict[str, float] = self._trial.finish(folder, **words)
        if metrics:  # rank 0, which alone writes
            self._upload(path for path in sorted(folder.iterdir()) if path.is_file())
        return metrics

    def _upload(self, files: Iterable[Path]) -> None:
        try:
            self._storage.upload(files)
        except StoreError as error:
            raise TrialFailure("HALTED", str(error)) from error

    def _fetch(self, path: Path) -> None:
        try:
            self._storage.fetch(path)
        except StoreError as error:
            raise TrialFailure("HALTED", str(error)) from error

    def _delete(self, path: Path) -> None:
        try:
            self._storage.delete([path])
        except StoreError as error:
            raise TrialFailure("HALTED", str(error)) from error


def storing(make_trial: Any, storage: Remote) -> Any:
    """``make_trial`` (``ablate.trial.TrialRun``, say) with its trials kept in the storage. It pickles."""
    return partial(_make, make_trial, storage)


def _make(make_trial: Any, storage: Remote, *args: Any, **named: Any) -> StoredTrial:
    return StoredTrial(make_trial(*args, **named), storage)
