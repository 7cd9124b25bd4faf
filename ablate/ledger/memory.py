"""A ledger in memory: for sweeps that are simulated or tested, where nothing has to outlive the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ablate.ledger.events import DECISIONS, EXTERNAL, Event
from ablate.ledger.record import LedgerError, stamped


class MemoryLedger:
    """A ``Log`` that costs no file and no fsync. ``clock`` gives the records' time, in Unix seconds.

    ``records`` are those of an earlier ledger to go on from, such as ``Ledger.read(path)`` or the ``events``
    of another one. What is nested in a record is shared with whoever appended it, not copied.
    """

    def __init__(self, clock: Callable[[], float] = time.time, records: Iterable[Event] = ()) -> None:
        self._clock, self._records, self._open = clock, list(records), True

    def extend(self, events: Iterable[Event]) -> list[Event]:
        """Record several events at once, all or none; returns them with sequence and time.

        Raises LedgerError for an unknown event, and once the ledger is closed.
        """
        if not self._open:
            raise LedgerError("this ledger was closed: go on with another one, made from its events")
        records = stamped(events, len(self._records), self._clock())
        for record in records:
            if record.get("event") not in EXTERNAL | DECISIONS:
                raise LedgerError(f"unknown event {record.get('event')!r}")
        self._records += records
        return records

    def append(self, event: Event) -> int:
        """Record one event; returns its sequence number."""
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def events(self) -> list[Event]:
        """Everything recorded so far, in order."""
        return list(self._records)

    def close(self) -> None:
        """Nothing can be recorded any more; what was recorded can still be read."""
        self._open = False
