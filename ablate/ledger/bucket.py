"""A ledger in shared storage: numbered segments, each written once and never again, and a lease.

    ledger/000000000000.jsonl     one append: a header, then its records, as in the file
    ledger/000000000003.jsonl     ... named by the sequence number of its first record
    lease/000001.json             see ``lease``

The name of the next segment is known from what has been read, so two drivers that both believe they may write
would write the same one, and the second is told that it exists: however wrong clocks and leases are, the
history cannot fork. The ledger file on this machine is a working copy, one append behind at most. An append
counts when its segment is in the store; if that cannot be known (no answer came), it may turn out to count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ablate.ledger import lease
from ablate.ledger.events import Event
from ablate.ledger.lease import Lease
from ablate.ledger.log import Ledger, parse
from ablate.ledger.record import LedgerError, encode, stamped
from ablate.ledger.store import Store

_AT_ONCE = 16  # requests, when reading


class BucketLedger:
    """The writer of one ledger in a store; holds its lease and the working copy's lock until closed."""

    def __init__(self, store: Store, copy: Ledger, held: Lease, clock: Callable[[], float]) -> None:
        self.store = store
        self._copy, self._lease, self._clock = copy, held, clock

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Callable[[], float] = time.time,
        *,
        store: Store,
        seconds: float = lease.SECONDS,
    ) -> BucketLedger:
        """Take the lease (of ``seconds``) and bring the working copy at ``path`` up to date.

        Raises LedgerBusy if another driver holds either, LedgerError if segments are missing or damaged or
        the copy is of another history.
        """
        copy = Ledger.open(path, clock)
        try:
            held = Lease.take(store, path.with_name(f"{path.name}.lease"), seconds)
            try:
                _catch_up(copy, store)
            except BaseException:
                held.release()
                raise
        except BaseException:
            copy.close()
            raise
        return cls(store, copy, held, clock)

    def append(self, event: Event) -> int:
        """Record one event; returns its sequence number."""
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def extend(self, events: Iterable[Event]) -> list[Event]:
        """Record several events as one segment; returns them with sequence and time.

        Raises LedgerError if the store or the working copy cannot be written, or another driver took over.
        """
        self._lease.check()
        first = self._copy.end.sequence
        records = stamped(events, first, self._clock())
        if not records:  # a segment of none would take the name of the next
            return []
        lines = b"".join(map(encode, records))
        header = {"segment": first, "records": len(records), "lease": self._lease.number}
        data = json.dumps({**header, "owner": self._lease.owner}).encode() + b"\n" + lines
        if not self.store.create(_key(first), data):
            raise LedgerError(self._lease.lost())
        self._copy.write(lines, len(records))
        return records

    def events(self) -> list[Event]:
        """Everything recorded so far, in order."""
        return self._copy.events()

    def close(self) -> None:
        """Give the lease and the lock back."""
        self._lease.release()
        self._copy.close()


def read_segments(store: Store, start: int = 0) -> list[tuple[int, list[Event]]]:
    """(first sequence number, records) of every segment that holds records from ``start`` on, in order.

    Raises LedgerError naming the segment that is missing or damaged.
    """
    firsts = [_first(key, store) for key in store.sizes("ledger")]
    if firsts and firsts[0]:
        raise LedgerError(f"{store}: segment {_key(0)} is missing")
    wanted = [first for i, first in enumerate(firsts) if i + 1 == len(firsts) or firsts[i + 1] > start]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        texts = list(pool.map(lambda first: store.get(_key(first)), wanted))
    segments = [(first, _parse(text, store, first)) for first, text in zip(wanted, texts, strict=True)]
    for (first, records), following in zip(segments, wanted[1:], strict=False):
        if first + len(records) != following:
            raise LedgerError(
                f"{store}: {_key(first)} ends with record {first + len(records) - 1} and the next segment is "
                f"{_key(following)}: one is missing"
            )
    return segments


def _catch_up(copy: Ledger, store: Store) -> None:
    """Append to the working copy what it lacks, after making sure that what it has is the same history."""
    known, have = copy.events(), copy.end.sequence
    # From the last record it has, so that this one is compared: records carry the time of writing.
    segments = read_segments(store, max(have - 1, 0))
    end = segments[-1][0] + len(segments[-1][1]) if segments else 0
    if end < have:
        raise LedgerError(
            f"{copy.path}: has {have} records but {store} has {end}. The sweep did not begin in this "
            "storage, or segments were deleted there."
        )
    for first, records in segments:
        shared = max(0, have - first)
        lines = [encode(record) for record in records]  # these compare exactly, NaN included
        if lines[:shared] != [encode(record) for record in known[first : first + shared]]:
            raise LedgerError(f"{copy.path} and {store} hold different sweeps of the same name")
        copy.write(b"".join(lines[shared:]), len(lines) - shared)


def _parse(text: bytes, store: Store, first: int) -> list[Event]:
    where = f"{store}/{_key(first)}"
    head, *lines = text.split(b"\n")
    try:
        header = json.loads(head)
        promised = header["records"] if header["segment"] == first else None
    except (ValueError, TypeError, KeyError):
        raise LedgerError(f"{where}: not a segment of a ledger") from None
    if lines[-1:] != [b""] or promised != len(lines) - 1:
        raise LedgerError(f"{where}: damaged: it should hold {promised} records and a last newline")
    return [parse(line, where, first + i) for i, line in enumerate(lines[:-1])]


def _key(first: int) -> str:
    return f"ledger/{first:012d}.jsonl"


def _first(key: str, store: Store) -> int:
    name = key.removeprefix("ledger/").removesuffix(".jsonl")
    if _key(int(name) if name.isdigit() else -1) != key:
        raise LedgerError(f"{store}: {key} does not belong there")
    return int(name)
