"""One line of the ledger: a JSON object with its sequence number, its time and a check sum.

Numbers survive exactly (``repr`` of a float round-trips); those that JSON lacks are written as
``{"$float": "nan" | "inf" | "-inf"}``, so every JSON reader can read the file and nothing is ambiguous.
The check sum (CRC-32 of the line without it) turns any later edit into an error instead of another history.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable
from typing import Any

from ablate.ledger.events import DECISIONS, EXTERNAL, Event

FORMAT = 3
RESERVED = ("sequence", "time", "version")
_CRC_LENGTH = len(',"crc":"00000000"}')


class LedgerError(Exception):
    """The ledger cannot be read or written; the message names the file, the line and what was found."""


def stamped(events: Iterable[Event], sequence: int, time: float) -> list[Event]:
    """The events as the records from ``sequence`` on, written at ``time`` (Unix seconds).

    Raises LedgerError if one carries a key that the ledger itself writes.
    """
    return [_stamp(event, sequence + i, time) for i, event in enumerate(events)]


def _stamp(event: Event, sequence: int, time: float) -> Event:
    if taken := [key for key in RESERVED if key in event]:
        raise LedgerError(f"an event may not carry {taken[0]!r}: the ledger writes it")
    first = {"version": FORMAT} if sequence == 0 else {}
    return {"sequence": sequence, "time": time, **first, **event}


def encode(event: Event) -> bytes:
    """One line, newline included. Raises LedgerError for an unknown event or a value JSON cannot hold."""
    if event.get("event") not in EXTERNAL | DECISIONS:
        raise LedgerError(f"unknown event {event.get('event')!r}")
    body = _dump(event).encode("ascii")
    return b'%s,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def decode(line: bytes) -> Event:
    """The event of a line without its newline. Raises ValueError saying what is wrong with the line."""
    body, crc = line[:-_CRC_LENGTH] + b"}", line[-_CRC_LENGTH:]
    if crc != b',"crc":"%08x"}' % zlib.crc32(body):
        raise ValueError("its check sum does not match: it was edited or damaged")
    event: Event = json.loads(body, object_hook=_restore)
    return event


def canonical(event: Event) -> str:
    """Equal for equal events, NaN included, whatever the order of keys and whenever they were written."""
    return _dump({k: v for k, v in event.items() if k not in RESERVED}, sort_keys=True)


def plain(event: Event) -> Event:
    """The event as it will be read back: lists for tuples, strings for keys."""
    result: Event = json.loads(_dump(event), object_hook=_restore)
    return result


def _dump(value: Any, *, sort_keys: bool = False) -> str:
    try:
        return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False, sort_keys=sort_keys)
    except TypeError as error:
        raise LedgerError(f"cannot be recorded: {error}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def _restore(tree: dict[str, Any]) -> Any:
    return float(tree["$float"]) if tree.keys() == {"$float"} else tree
