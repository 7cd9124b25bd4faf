"""Two signals to end a sweep: the first lets running trials save, the second abandons them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

log = logging.getLogger(__name__)
_USUAL: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextlib.contextmanager
def two_stages(drain: Callable[[], None]) -> Iterator[None]:
    """Call ``drain`` at the first SIGINT or SIGTERM; the next has its usual effect.

    Both count where the signal was ignored too, as shells have SIGINT for what they run in the background.

    ``drain`` runs between any two steps of the main thread, so it must do no more than set a flag. In another
    thread than the main one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def first(*_: object) -> None:
        for number, handler in before.items():  # first: a second one must not call ``drain`` while it runs
            signal.signal(number, _USUAL[number] if handler is signal.SIG_IGN else handler)
        drain()
        log.warning("stopping: running trials save first; once more to abandon them")

    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
