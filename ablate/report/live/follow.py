"""What a sweep's folder shows while a driver writes: its events so far, and who drives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablate.ledger import Event, Ledger, LedgerError
from ablate.ledger.lock import held_by
from ablate.ledger.log import Position

_LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Seen:
    """``events`` so far; ``driver`` in words, None if none is at work on this machine; ``error`` says why the
    ledger cannot be read, "" if it can. ``records`` counts what was read in all: it never stays when the
    ledger has changed."""

    events: tuple[Event, ...]
    driver: str | None
    error: str
    records: int


class Follower:
    """Reads what is new in the ledger of ``folder``; the ledger need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LEDGER
        self._events: list[Event] = []
        self._end = Position()
        self._read = 0

    def look(self) -> Seen:
        """What there is now."""
        driver = held_by(self._path.with_name(f"{_LEDGER}.lock"))
        error = ""
        try:
            self._follow()
        except LedgerError as found:
            error = str(found)
        except OSError as found:
            error = f"{self._path}: cannot be read: {found.strerror}"
        return Seen(tuple(self._events), driver, error, self._read)

    def _follow(self) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < self._end.offset:  # another ledger under this name
            self._forget()
        if size == self._end.offset:
            return
        try:
            found, end = Ledger.tail(self._path, self._end)
        except LedgerError:
            if not self._end.offset:
                raise
            self._forget()  # perhaps another ledger, which has outgrown the one read before
            found, end = Ledger.tail(self._path)
        self._events += found
        self._end = end
        self._read += len(found)

    def _forget(self) -> None:
        self._events.clear()
        self._end = Position()
        self._read += 1
