"""Finds and deletes what nothing needs any more. What may still be needed stays, and so does all doubt.

Of a sweep: checkpoints that neither ``resume``, ``retry`` nor ``resources.keep`` asks for; files that no
record of the ledger names, written under a fence that has passed; half-written files; the scratch of killed
drivers. While a driver runs the sweep only what was left under earlier fences goes: nobody will ever read it.
Otherwise the sweep's lock is held meanwhile, so that none can begin.

Of the cache: data sets that no trial has opened for some time, and what killed builders left.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ablate.data import default_cache
from ablate.ledger import Event, Ledger, LedgerBusy, LedgerError, lock
from ablate.search import ReplayMismatch, refold
from ablate.sweep.status import LEDGER, LOCK

_HALF_WRITTEN = re.compile(r"\.(partial|part)$")
_FENCE = re.compile(r"(\d+)(-\d+)?")  # names of folders with checkpoints: see ``driver``
_SCRATCH = ".ray-*"
_DAY = 86400.0


@dataclass(frozen=True)
class Item:
    """A file, or a folder with all that is in it; ``size`` in bytes."""

    path: Path
    what: str
    size: int


@dataclass(frozen=True)
class Garbage:
    """What was found in one place, largest first. ``left`` says what was not looked into, and why."""

    where: str
    items: tuple[Item, ...]
    left: str = ""

    def by_kind(self) -> dict[str, list[Item]]:
        """The items by what they are."""
        kinds: dict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            kinds[item.what].append(item)
        return kinds


def collect(folder: Path, *, delete: bool) -> Garbage:
    """The garbage of the sweep in ``folder``, deleted if ``delete``.

    With a damaged ledger, or one that this version of ablate cannot read, nothing is known to be garbage.
    """
    if not (folder / LEDGER).exists():
        return Garbage(folder.name, ())
    with _kept_still(folder, delete) as driver:
        try:
            events = Ledger.read(folder / LEDGER)
            found = list(_old_checkpoints(folder, events, running=driver is not None))
        except (LedgerError, ReplayMismatch, ValueError) as error:
            why = " ".join(str(error).split())
            return Garbage(folder.name, (), f"left alone, because its ledger cannot be read: {why}")
        if driver is None:
            found += [_item(path, "half-written") for path in _half_written(folder)]
            scratch = (path for path in folder.glob(_SCRATCH) if _inside(path, folder))
            found += [_item(path, "scratch of a killed driver") for path in scratch]
        if delete:
            for item in found:
                _delete(item.path)
    left = f"running ({driver}), so only what earlier drivers left was looked at" if driver else ""
    return Garbage(folder.name, _largest_first(found), left)


def in_cache(cache: Path | None, runs: Path, *, days: int, delete: bool) -> Garbage:
    """Data sets in ``cache`` that no trial has opened for ``days``, and what killed builders left.

    While a driver runs a sweep in ``runs``, none.
    """
    cache = cache or default_cache()
    running = [path.parent.name for path in runs.glob(f"*/{LOCK}") if lock.held_by(path)]
    if running:
        return Garbage(str(cache), (), f"{', '.join(running)} is running, so all data sets stay")
    found, before = [], time.time() - days * _DAY
    for folder in sorted(path for path in cache.glob("*") if path.is_dir()):
        if folder.suffix == ".unfinished":
            found += _unless_locked(cache, folder.stem, _item(folder, "half-built data set"), delete)
        elif (meta := folder / "meta.json").is_file() and meta.stat().st_mtime < before:
            item = _item(folder, f"data set unused for {days} days")
            found += _unless_locked(cache, folder.name, item, delete)
    return Garbage(str(cache), _largest_first(found))


@contextmanager
def _kept_still(folder: Path, delete: bool) -> Iterator[str | None]:
    """Who runs the sweep, in words. If nobody does, and something is to be deleted, nobody can begin to."""
    driver = lock.held_by(folder / LOCK)
    if driver is not None or not delete:
        yield driver
        return
    try:
        held = lock.acquire(folder / LOCK)
    except LedgerBusy:
        yield lock.held_by(folder / LOCK) or "it has just begun"
        return
    try:
        yield None
    finally:
        lock.release(held)


def _old_checkpoints(folder: Path, events: list[Event], *, running: bool) -> Iterator[Item]:
    """Files in the folders of fences, ``trials/<trial>/<fence>[-<n>]/``, that nothing needs."""
    fence = max(e["fence"] for e in events if e["event"] in ("opened", "resumed"))
    recorded = {folder / e["path"] for e in events if e["event"] == "checkpointed"}
    needed = {folder / path for path in _needed(events)}
    for path in sorted(folder.glob("trials/*/*/*")):
        written_under = _FENCE.fullmatch(path.parent.name)
        if written_under is None or not path.is_file() or path in needed or not _inside(path, folder):
            continue
        if path in recorded:
            if not running:
                yield _item(path, "checkpoint no longer needed")
        elif int(written_under[1]) < fence or not running:
            half = _HALF_WRITTEN.search(path.name)
            yield _item(path, "half-written" if half else "checkpoint of a killed driver, never recorded")


def _needed(events: list[Event]) -> set[str]:
    """Paths of recorded checkpoints that somebody may still go on from, or that are to be kept."""
    state, _ = refold(events)
    return {c["path"] for trial in state.trials.values() for c in trial.checkpoints}


def _half_written(folder: Path) -> Iterator[Path]:
    for pattern in ("*", "requests/*", "trials/*/*"):
        found = (p for p in folder.glob(pattern) if p.is_file() and _HALF_WRITTEN.search(p.name))
        yield from (path for path in found if _inside(path, folder))


def _inside(path: Path, folder: Path) -> bool:
    """False where a link leads elsewhere: a folder may have been made by somebody else."""
    return path.resolve().is_relative_to(folder.resolve())


def _unless_locked(cache: Path, digest: str, item: Item, delete: bool) -> list[Item]:
    """The item, gone if ``delete``; nothing if somebody is building that data set."""
    try:
        with FileLock(cache / "locks" / f"{digest}.lock", timeout=0):
            if delete:
                # Renamed first: a data set is there whole or not at all.
                unfinished = cache / f"{digest}.unfinished"
                if item.path != unfinished:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    item.path.rename(unfinished)
                _delete(unfinished)
    except Timeout:
        return []
    return [item]


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        return
    path.unlink(missing_ok=True)
    if _FENCE.fullmatch(path.parent.name) and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _item(path: Path, what: str) -> Item:
    files = path.rglob("*") if path.is_dir() else [path]
    return Item(path, what, sum(f.lstat().st_size for f in files if f.is_file()))


def _largest_first(items: list[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: (-item.size, item.path)))
