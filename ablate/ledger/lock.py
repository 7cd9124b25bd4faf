"""An exclusive lock beside the ledger, so that two drivers never decide for one sweep.

It is an advisory ``flock``: the kernel releases it when the holder dies, however it dies, so a crash leaves
nothing to clean up. The lock file says who holds it and stays in place (removing it would open a race).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import datetime
from pathlib import Path

from ablate.ledger.record import LedgerError


class LedgerBusy(LedgerError):
    """Another driver holds this ledger."""


def acquire(path: Path) -> int:
    """Lock ``path`` (made if missing) and return its descriptor. Raises LedgerBusy naming the holder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _describe(os.read(descriptor, 4096))
        os.close(descriptor)
        raise LedgerBusy(
            f"{path.parent}: another driver is running this sweep: {found}. Wait until it ends or stop it."
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise LedgerError(
            f"{path}: this file system does not lock files ({error.strerror}), so a second driver could not "
            "be kept out. Put the runs folder elsewhere."
        ) from None
    since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
    except OSError:  # the disk is full: nobody is to be kept out by a driver that cannot start
        os.close(descriptor)
        raise
    return descriptor


def release(descriptor: int) -> None:
    """Give the lock back."""
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


def held_by(path: Path) -> str | None:
    """Who holds the lock at ``path``, in words; None: nobody does. Only looks: makes and changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # Nothing is written there once it was given back; then do not touch it, not even for this moment,
        # in which a driver that starts would be refused.
        if text := os.read(descriptor, 4096):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _describe(text)
    finally:
        os.close(descriptor)
    return None


def _describe(text: bytes) -> str:
    try:
        holder = json.loads(text)
    except ValueError:
        return "it has only just started"
    return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
