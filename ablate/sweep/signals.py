"""Two signals to end a sweep: the first lets running trials save, the second abandons them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)


@contextlib.contextmanager
def two_stages(drain: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call ``drain`` at the first SIGINT or SIGTERM; the next has its usual effect.

    ``drain`` runs between any two steps of the main thread, so it must do no more than set a flag. In another
    thread than the main one this does nothing.

    Yields what a loop may call to raise once more what the second signal raised, usually KeyboardInterrupt:
    it is lost where Python can only print it, as in a destructor or a callback from C.
    """
    raised: BaseException | None = None

    def insist() -> None:
        if raised is not None:
            raise raised

    if threading.current_thread() is not threading.main_thread():
        yield insist
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def install(handlers: dict[signal.Signals, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def first(*_: object) -> None:
        install(dict.fromkeys(before, second))  # first: the next signal must not call ``drain`` while it runs
        drain()
        log.warning("stopping: running trials save first; once more to abandon them")

    def second(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        install(before)
        usual = before[signal.Signals(number)]
        if not callable(usual):  # the system's own: it ends the process, or ignores the signal
            signal.raise_signal(number)
            return
        try:
            usual(number, frame)
        except BaseException as error:
            raised = error
            raise

    install(dict.fromkeys(before, first))
    try:
        yield insist
    finally:
        install(before)
