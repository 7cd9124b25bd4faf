"""The append-only record of a sweep: what happened and what was decided, in order, durable, never rewritten.

``events`` names every event and its fields, ``record`` is one line of the file, ``lock`` keeps a second
driver out, ``log`` is the file itself. For shared storage: ``store`` reaches it, ``bucket`` is the ledger
there, ``lease`` keeps drivers on other machines out.
"""

from ablate.ledger.bucket import BucketLedger
from ablate.ledger.events import DECISIONS, EXTERNAL, LEFT_ITS_SLOT, Event
from ablate.ledger.lock import LedgerBusy
from ablate.ledger.log import Ledger, Log, Position
from ablate.ledger.record import FORMAT, LedgerError, canonical, plain, stamped
from ablate.ledger.store import Store, StoreError

__all__ = [
    "DECISIONS",
    "EXTERNAL",
    "FORMAT",
    "LEFT_ITS_SLOT",
    "BucketLedger",
    "Event",
    "Ledger",
    "LedgerBusy",
    "LedgerError",
    "Log",
    "Position",
    "Store",
    "StoreError",
    "canonical",
    "plain",
    "stamped",
]
