"""The ledger file: JSON lines, appended in batches with one fsync each, read while another process writes.

A record counts once its newline is there. What follows the last newline was being written when the writer
died (or is being written now): readers ignore it, the next writer cuts it off. Anything else that is not the
next record in sequence is damage, and an error: nothing is skipped.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablate.ledger import lock
from ablate.ledger.events import Event
from ablate.ledger.record import FORMAT, RESERVED, LedgerError, decode, encode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """How far a reader has come: bytes and records before this place."""

    offset: int = 0
    sequence: int = 0


class Ledger:
    """The writer of one ledger; holds the lock until closed. Not thread-safe: its driver is."""

    def __init__(self, path: Path, descriptor: int, lock_descriptor: int, end: Position) -> None:
        self.path = path
        self._file, self._lock, self._end = descriptor, lock_descriptor, end

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open for appending, creating the file and its folder if missing; a torn last record is cut off.

        Raises LedgerBusy if another driver holds it, LedgerError if it is damaged or of another format.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(path.with_name(f"{path.name}.lock"))
        try:
            _, end = cls.tail(path) if path.exists() else ([], Position())
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            _cut(descriptor, end, path)
            _sync_folder(path.parent)
        except BaseException:
            lock.release(held)
            raise
        return cls(path, descriptor, held, end)

    def append(self, event: Event) -> int:
        """Record one event durably; returns its sequence number."""
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def extend(self, events: Iterable[Event]) -> list[Event]:
        """Record several events with one write and one fsync; returns them with sequence and time.

        Raises LedgerError if they cannot be written (say, the disk is full); the file is then as it was.
        """
        now = time.time()
        records = [self._stamp(event, i, now) for i, event in enumerate(events)]
        data = b"".join(map(encode, records))
        try:
            _write(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._end.offset)
            raise LedgerError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._end = Position(self._end.offset + len(data), self._end.sequence + len(records))
        return records

    def _stamp(self, event: Event, place: int, now: float) -> Event:
        if taken := [key for key in RESERVED if key in event]:
            raise LedgerError(f"an event may not carry {taken[0]!r}: the ledger writes it")
        sequence = self._end.sequence + place
        first = {"version": FORMAT} if sequence == 0 else {}
        return {"sequence": sequence, "time": now, **first, **event}

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
        events = [_parse(line, path, start.sequence + i) for i, line in enumerate(lines)]
        return events, Position(start.offset + len(whole) + len(newline), start.sequence + len(events))


def _parse(line: bytes, path: Path, sequence: int) -> Event:
    where = f"{path}, line {sequence + 1}"
    try:
        event = decode(line)
    except ValueError as error:
        raise LedgerError(f"{where}: not a record of a ledger: {error}") from None
    if event["sequence"] != sequence:
        raise LedgerError(f"{where}: record {event['sequence']} where record {sequence} belongs")
    if sequence == 0 and event.get("version") != FORMAT:
        found = event.get("version")
        raise LedgerError(f"{where}: format version {found}; this version of ablate reads {FORMAT}")
    return event


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


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
