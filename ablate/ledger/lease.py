"""The lease on a sweep in shared storage: which driver, on whatever machine, may write its ledger now.

Leases are numbered objects, ``lease/000001.json`` and on. The newest counts; its owner writes it anew while
it lives. Who finds it given back, or not renewed for its term by the store's own clock, may create the next
number: only one can. Losing a lease unawares (a machine that slept) does no harm: two drivers would write the
same segment of the ledger, and there too only one can.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from ablate.ledger.lock import LedgerBusy
from ablate.ledger.record import LedgerError
from ablate.ledger.store import Store, StoreError

SECONDS = 60.0  # the term; longer than a store is usually out of reach, short enough to wait for
_log = logging.getLogger(__name__)


class Lease:
    """Held by one driver and renewed from a thread until released or lost."""

    def __init__(self, store: Store, number: int, owner: str, seconds: float) -> None:
        self.store, self.number, self.owner = store, number, owner
        since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        self._text = {
            "owner": owner,
            "holder": f"process {os.getpid()} on {socket.gethostname()}, since {since}",
            "seconds": seconds,
        }
        self._lost: str | None = None
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._keep, args=(seconds / 4,), name="lease", daemon=True)

    @classmethod
    def take(cls, store: Store, stub: Path, seconds: float = SECONDS) -> Lease:
        """Take the lease. The file ``stub`` keeps the owner's name, under a lock that the caller holds: a
        lease of that name was this machine's, and whoever held it is dead.

        Raises LedgerBusy if another driver holds it.
        """
        number = max(_numbers(store), default=0)
        if number:
            _check_free(store, number, stub.read_text() if stub.exists() else "")
        lease = cls(store, number + 1, uuid.uuid4().hex, seconds)
        stub.write_text(lease.owner)
        if not store.create(_key(lease.number), lease._body(given_back=False)):
            raise LedgerBusy(f"{store}: another driver has taken this sweep at this very moment")
        lease._renewer.start()
        return lease

    def check(self) -> None:
        """Raises LedgerError once the lease is known to be lost."""
        if self._lost is not None:
            raise LedgerError(self._lost)

    def lost(self) -> str:
        """Say in words that another driver has taken over, and which."""
        newest = max(_numbers(self.store), default=0)
        by = _read(self.store, newest)["holder"] if newest > self.number else "whose lease is gone already"
        return (
            f"{self.store}: another driver has taken this sweep over: {by}. This one was not heard of for "
            "longer than its lease; it stops here, and what it did since counts for nothing."
        )

    def release(self) -> None:
        """Give the lease back, if it is still held and the store can be reached."""
        self._over.set()
        if self._renewer.is_alive():
            self._renewer.join()
        if self._lost is None:
            try:
                self.store.put(_key(self.number), self._body(given_back=True))
            except StoreError as error:
                _log.warning("the lease could not be given back, and will run out: %s", error)

    def _keep(self, interval: float) -> None:
        while self._lost is None and not self._over.wait(interval):
            try:
                self.renew()
            except StoreError as error:
                _log.warning("the lease could not be renewed; trying again: %s", error)

    def renew(self) -> None:
        """Say that this driver lives, or learn that it was replaced."""
        if self.store.exists(_key(self.number + 1)):
            self._lost = self.lost()
            _log.error("%s", self._lost)
        else:
            self.store.put(_key(self.number), self._body(given_back=False))

    def _body(self, *, given_back: bool) -> bytes:
        return json.dumps({**self._text, "given_back": given_back}).encode()


def _check_free(store: Store, number: int, mine: str) -> None:
    newest = _read(store, number)
    if newest["given_back"] or newest["owner"] == mine:
        return
    left = newest["seconds"] - store.age(_key(number))
    if left > 0:
        raise LedgerBusy(
            f"{store}: another driver is running this sweep: {newest['holder']}. Wait until it ends or stop "
            f"it; if it is dead, try again in {left:.0f} seconds."
        )


def _key(number: int) -> str:
    return f"lease/{number:06d}.json"


def _numbers(store: Store) -> list[int]:
    names = (key.removeprefix("lease/").removesuffix(".json") for key in store.sizes("lease"))
    return [int(name) for name in names if name.isdigit()]


def _read(store: Store, number: int) -> dict[str, Any]:
    text = store.get(_key(number))
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        raise LedgerError(f"{store}: {_key(number)} is not a lease; delete it if no driver runs") from None
    return found
