"""What a driver needs of a ledger (``Log``), and the one on a file (``Ledger``).

The file: JSON lines, appended in batches with one fsync each, read while another process writes.

A record counts once its newline is there. What follows the last newline was being written when the writer
died (or is being written now): readers ignore it, the next writer cuts it off. Anything else that is not the
next record in sequence is damage, and an error: nothing is skipped.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ablate.durable import make_folder, sync
from ablate.ledger import lock
from ablate.ledger.events import Event
from ablate.ledger.record import FORMAT, LedgerError, decode, encode, stamped

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_log = logging.getLogger(__name__)


class Log(Protocol):
    """The record of one sweep, held by its only writer until closed. Need not be thread-safe."""

    def extend(self, events: Iterable[Event]) -> list[Event]:
        """Record several events at once, all or none, durably; returns them with sequence and time.

        Raises LedgerError if they cannot be recorded; nothing may be acted upon then.
        """

    def append(self, event: Event) -> int:
        """Record one event; returns its sequence number."""

    def events(self) -> list[Event]:
        """Everything recorded so far, in order."""

    def close(self) -> None:
        """Let another writer in."""


@dataclass(frozen=True)
class Position:
    """How far a reader has come: bytes and records before this place."""

    offset: int = 0
    sequence: int = 0


class Ledger:
    """The writer of one ledger; holds the lock until closed. Not thread-safe: its driver is."""

    def __init__(
        self, path: Path, descriptor: int, lock_descriptor: int, end: Position, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self.end = end
        self._file, self._lock, self._clock = descriptor, lock_descriptor, clock

    @classmethod
    def open(cls, path: Path, clock: Callable[[], float] = time.time) -> Ledger:
        """Open for appending, creating the file and its folder if missing; a torn last record is cut off.

        ``clock`` gives the records' time, in Unix seconds.

        Raises LedgerBusy if another driver holds it, LedgerError if it is damaged or of another format.
        """
        try:
            make_folder(path.parent)
            held = lock.acquire(path.with_name(f"{path.name}.lock"))
            try:
                _, end = cls.tail(path) if path.exists() else ([], Position())
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                _cut(descriptor, end, path)
                sync(path.parent)
            except BaseException:
                lock.release(held)
                raise
        except OSError as error:
            raise LedgerError(f"{path}: cannot be opened for writing: {error.strerror}") from error
        return cls(path, descriptor, held, end, clock)

    def append(self, event: Event) -> int:
        """Record one event durably; returns its sequence number."""
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def extend(self, events: Iterable[Event]) -> list[Event]:
        """Record several events with one write and one fsync; returns them with sequence and time.

        Raises LedgerError if they cannot be written (say, the disk is full); the file is then as it was.
        """
        records = stamped(events, self.end.sequence, self._clock())
        self.write(b"".join(map(encode, records)), len(records))
        return records

    def write(self, lines: bytes, count: int) -> None:
        """Append ``count`` records that were encoded elsewhere, durably. Raises as ``extend`` does."""
        try:
            _write(self._file, lines)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self.end.offset)
            raise LedgerError(_cannot_write(self.path, len(lines), error)) from error
        self.end = Position(self.end.offset + len(lines), self.end.sequence + count)

    def events(self) -> list[Event]:
        """Everything recorded so far, in order."""
        return Ledger.read(self.path)

    def close(self) -> None:
        """Close the file and give the lock back."""
        os.close(self._file)
        lock.release(self._lock)

    @staticmethod
    def read(path: Path) -> list[Event]:
        """All records; safe while another process writes. Raises LedgerError naming file and line."""
        return Ledger.tail(path)[0]

    @staticmethod
    def tail(path: Path, start: Position | None = None) -> tuple[list[Event], Position]:
        """The records after ``start`` (None: all) and the position after them, to follow a live sweep."""
        start = start or Position()
        with path.open("rb") as file:
            file.seek(start.offset)
            whole, newline, _torn = file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        events = [parse(line, str(path), start.sequence + i) for i, line in enumerate(lines)]
        return events, Position(start.offset + len(whole) + len(newline), start.sequence + len(events))


def parse(line: bytes, path: str, sequence: int) -> Event:
    """Record ``sequence``, which stands in ``line`` of ``path``. Raises LedgerError if it does not."""
    where = f"{path}, line {sequence + 1}"
    try:
        event = decode(line)
    except ValueError as error:
        raise LedgerError(f"{where}: not a record of a ledger: {error}") from None
    if event["sequence"] != sequence:
        raise LedgerError(f"{where}: record {event['sequence']} where record {sequence} belongs")
    if not _NAME.fullmatch(str(trial := event.get("trial", "t"))):
        raise LedgerError(f"{where}: {trial!r} is no name of a trial, and so of a folder")
    if sequence == 0 and event.get("version") != FORMAT:
        found = event.get("version")
        raise LedgerError(f"{where}: format version {found}; this version of ablate reads {FORMAT}")
    return event


def _cannot_write(path: Path, size: int, error: OSError) -> str:
    free = shutil.disk_usage(path.parent).free
    advice = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = (
            f" ({size:,} bytes are needed, {free:,} are free). Nothing recorded is lost: free some space, "
            "then `ablate resume` the sweep"
        )
    return f"{path}: cannot be written: {error.strerror}{advice}"


def _cut(descriptor: int, end: Position, path: Path) -> None:
    torn = os.fstat(descriptor).st_size - end.offset
    if torn:
        _log.warning("%s: dropped a half-written last record (%d bytes)", path, torn)
        os.ftruncate(descriptor, end.offset)
        os.fsync(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
