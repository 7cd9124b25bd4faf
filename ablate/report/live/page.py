"""The page as it is now: made anew only when the ledger grew, and never more often than it can afford."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ablate.report.document.blocks import Document
from ablate.report.live.document import ReportOf, document_of, failed
from ablate.report.live.follow import Follower, Seen

PAUSE = 3.0  # seconds between two pages, at least
_SHARE = 5.0  # and so many times as long as the last took to make: a sixth of one core at most

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A page and its ETag, which differs where the page does."""

    body: bytes
    etag: str


class LivePage:
    """The page of the sweep in ``folder``. Thread-safe.

    ``report_of`` makes the report from folder and events, ``write`` the page from that; ``clock`` gives
    seconds.
    """

    def __init__(
        self,
        folder: Path,
        report_of: ReportOf,
        write: Callable[[Document], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._report_of, self._write, self._clock = folder, report_of, write, clock
        self._follower = Follower(folder)
        self._mutex = threading.Lock()
        self._made: Made | None = None
        self._shown: tuple[int, str | None, str] | None = None
        self._next = 0.0

    def now(self) -> Made:
        """The page. While another thread makes a new one, the one before."""
        made = self._made
        if not self._mutex.acquire(blocking=made is None):
            assert made is not None
            return made
        try:
            if self._made is None or self._clock() >= self._next:
                self._look()
            assert self._made is not None
            return self._made
        finally:
            self._mutex.release()

    def _look(self) -> None:
        began = self._clock()
        seen = self._follower.look()
        key = (seen.records, seen.driver, seen.error)
        if key != self._shown:
            body = self._page(seen).encode()
            self._made = Made(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
            self._shown = key
        took = self._clock() - began
        self._next = self._clock() + max(PAUSE, _SHARE * took)

    def _page(self, seen: Seen) -> str:
        """What goes wrong here is told on the page, and logged; watching goes on."""
        try:
            return self._write(document_of(self._folder, seen, self._report_of))
        except Exception as error:
            _log.exception("the report could not be made")
            return self._write(failed(self._folder, error))
