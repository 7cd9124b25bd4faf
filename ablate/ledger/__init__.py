"""The append-only record of a sweep: what happened and what was decided, in order, durable, never rewritten.

``events`` names every event and its fields, ``record`` is one line of the file, ``lock`` keeps a second
driver out, ``log`` is the file itself.
"""

from ablate.ledger.events import DECISIONS, EXTERNAL, Event
from ablate.ledger.lock import LedgerBusy
from ablate.ledger.log import Ledger, Position
from ablate.ledger.record import FORMAT, LedgerError, canonical, plain

__all__ = [
    "DECISIONS",
    "EXTERNAL",
    "FORMAT",
    "Event",
    "Ledger",
    "LedgerBusy",
    "LedgerError",
    "Position",
    "canonical",
    "plain",
]
