"""Two signals to end a sweep: the first lets running trials save, the second abandons them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

log = logging.getLogger(__name__)


@contextlib.contextmanager
def two_stages(drain: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call ``drain`` at the first SIGINT or SIGTERM; the next has its usual effect.

    ``drain`` runs between any two steps of the main thread, so it must do no more than set a flag. In another
    thread than the main one this does nothing.

    Yields what a loop may call to raise KeyboardInterrupt if a second SIGINT came: the one raised by the
    signal itself is lost where Python can only print it, as in a destructor or a callback from C.
    """
    abandoned = False

    def insist() -> None:
        if abandoned:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield insist
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(*_: object) -> None:
        restore()  # first: a second signal in here must not call ``drain`` while it runs
        signal.signal(signal.SIGINT, second)
        drain()
        log.warning("stopping: running trials save first; once more to abandon them")

    def second(number: int, frame: FrameType | None) -> None:
        nonlocal abandoned
        restore()
        usual = before[signal.SIGINT]
        if callable(usual):  # not, say, where SIGINT is ignored
            abandoned = True
            usual(number, frame)

    for number in before:
        signal.signal(number, first)
    try:
        yield insist
    finally:
        restore()
