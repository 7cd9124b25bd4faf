"""The post office of a running sweep: one small Ray actor through which slots, driver and ranks talk.

A message goes to an address and waits there until its owner takes it; the sender waits for the answer to that
very message. So an answer cannot reach another question, and nobody needs to be reachable from outside: the
driver process and the ranks of a Ray Train worker group, which no one can call, come and take their messages.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import ray

_WAITING = 100_000  # calls that may wait inside the actor at a time


class _Post:
    def __init__(self) -> None:
        self._boxes: dict[str, asyncio.Queue[tuple[int, Any]]] = {}
        self._open: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._tickets = itertools.count()

    def _box(self, address: str) -> asyncio.Queue[tuple[int, Any]]:
        return self._boxes.setdefault(address, asyncio.Queue())

    async def ask(self, address: str, message: Any) -> Any:
        """Leave ``message`` at ``address`` and wait for its answer."""
        ticket = next(self._tickets)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[ticket] = (address, answer)
        self._box(address).put_nowait((ticket, message))
        return await answer

    async def take(self, address: str, timeout: float | None = None) -> list[tuple[int, Any]]:
        """All (ticket, message) left at ``address``; waits ``timeout`` seconds for the first, or for ever."""
        box = self._box(address)
        try:
            messages = [await asyncio.wait_for(box.get(), timeout)]
        except TimeoutError:
            return []
        while not box.empty():
            messages.append(box.get_nowait())
        return messages

    async def answer(self, answers: list[tuple[int, Any]]) -> None:
        """Answer messages by ticket; those whose sender was forgotten are dropped."""
        for ticket, answer in answers:
            _, waiting = self._open.pop(ticket, ("", None))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def forget(self, addresses: list[str]) -> None:
        """Close addresses that nobody will empty any more."""
        for ticket, (address, waiting) in list(self._open.items()):
            if address in addresses:
                waiting.cancel()
                del self._open[ticket]
        for address in addresses:
            self._boxes.pop(address, None)


def open_post(name: str) -> Any:
    """Start the actor; it ends with the driver process."""
    return ray.remote(num_cpus=0, max_concurrency=_WAITING)(_Post).options(name=name).remote()


def find_post(name: str) -> Any:
    """The actor, seen from another process of the same Ray job."""
    return ray.get_actor(name)
