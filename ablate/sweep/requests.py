"""What an operator asks of a running sweep: files in a folder that the sweep's driver looks into.

    runs/<sweep>/requests/1729000000000000000-4a1c09be.json     {"kind": "cancel", "trial": "t0004", ...}

One file a request, named by the time it was made, so that they are taken in order; written under another name
and renamed, so that it is read whole; deleted when taken. Nothing but a folder is shared, so a request may
come from another machine on the same file system. A request is not yet an event: the driver records what it
does about it.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

REQUESTS = "requests"
Kind = Literal["pause", "stop", "cancel", "retry"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """``pause``: save and leave; ``stop``: ask no more trials and end; ``cancel``, ``retry``: one trial.

    ``confirm``: whether a stopped sweep still runs its confirm stage. Raises ValueError for a kind that does
    not exist, and for a trial missing or out of place.
    """

    kind: Kind
    trial: str | None = None
    confirm: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"no such request: {self.kind!r} (there are: {', '.join(get_args(Kind))})")
        if (self.trial is not None) != (self.kind in ("cancel", "retry")):
            raise ValueError(f"a request to {self.kind} names {'no' if self.trial else 'a'} trial")

    def __str__(self) -> str:
        return f"{self.kind} {self.trial}" if self.trial else self.kind


class Requests:
    """The requests of the sweep in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / REQUESTS

    def open(self, left: Sequence[Path] = ()) -> None:
        """Make the folder, owned by the driver's user; drop ``left``: what ``files`` gave before this driver
        had the sweep's lock, and so was for an earlier one."""
        self._folder.mkdir(exist_ok=True)
        for request in _taken(left):
            _log.warning("ignored a request to %s that was left for an earlier driver", request)

    def put(self, request: Request) -> Path:
        """Leave a request for the driver; returns its file, which is gone once the driver has taken it."""
        self._folder.mkdir(exist_ok=True)
        file = self._folder / f"{time.time_ns():019d}-{secrets.token_hex(4)}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(request)))
        partial.replace(file)
        return file

    def take(self) -> list[Request]:
        """The requests left since the last call, oldest first. One that cannot be understood is logged."""
        return _taken(self.files())

    def waiting(self) -> list[Request]:
        """What would be taken now; it stays."""
        return [request for file in self.files() if (request := _read(file)) is not None]

    def files(self) -> list[Path]:
        """Those of the requests waiting, oldest first."""
        return sorted(self._folder.glob("*.json"))


def _taken(files: Sequence[Path]) -> list[Request]:
    taken = []
    for file in files:
        request = _read(file)
        if _delete(file) and request is not None:
            taken.append(request)
    return taken


def _read(file: Path) -> Request | None:
    """The request of a file; None if it was taken or withdrawn meanwhile, or is none."""
    try:
        return _parsed(json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s: not a request, and is ignored: %s", file, error)
        return None


def _delete(file: Path) -> bool:
    """Whether it was there and is gone: who deletes a request has it."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        _log.warning("%s: cannot be taken: %s", file, error.strerror)
        return False
    return True


def _parsed(fields: Any) -> Request:
    if not isinstance(fields, dict) or not {"kind"} <= set(fields) <= {"kind", "trial", "confirm"}:
        raise ValueError(f"expected kind, trial and confirm, found {fields!r}")
    return Request(**fields)
