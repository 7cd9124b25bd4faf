"""The post office of a running sweep: one small Ray actor through which slots, driver and ranks talk.

A message goes to an address and waits there until its owner takes it; the sender waits for the answer to that
very message. So an answer cannot reach another question, and nobody needs to be reachable from outside: the
driver process and the ranks of a Ray Train worker group, which no one can call, come and take their messages.
The actor sees only bytes, so it never imports what the messages are made of.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

DESK = "desk"  # the address of the driver process
_WAITING = 100_000  # calls that may wait inside the actor at a time


class Post:
    """The post office as any process of the sweep's Ray job uses it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    @staticmethod
    def open(name: str) -> Post:
        """Start it on this node. It lasts as long as this object, at most as this process."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        office = ray.remote(num_cpus=0, max_concurrency=_WAITING)(_Office)
        return Post(office.options(name=name, scheduling_strategy=here).remote())

    @staticmethod
    def find(name: str) -> Post:
        """The one that another process of the same Ray job has opened."""
        return Post(ray.get_actor(name))

    def ask(self, address: str, message: Any) -> Any:
        """Leave ``message`` at ``address`` and wait for its answer."""
        return self.read(self.send(address, message))

    def send(self, address: str, message: Any) -> Any:
        """Leave ``message`` at ``address``. Returns a Ray reference, which ``read`` takes for the answer."""
        return self._actor.ask.remote(address, cloudpickle.dumps(message))

    def read(self, reference: Any) -> Any:
        """Wait for the answer to a message sent."""
        return cloudpickle.loads(ray.get(reference))

    def tell(self, address: str, message: Any) -> None:
        """Leave ``message`` at ``address``; there is no answer."""
        self._actor.tell.remote(address, cloudpickle.dumps(message))

    def take(self, address: str, timeout: float | None = None) -> list[tuple[int, Any]]:
        """All (ticket, message) left at ``address``; waits ``timeout`` seconds for the first, or for ever.

        What was told has a ticket that nobody waits for.
        """
        found = ray.get(self._actor.take.remote(address, timeout))
        return [(ticket, cloudpickle.loads(message)) for ticket, message in found]

    def answer(self, answers: list[tuple[int, Any]]) -> None:
        """Answer messages by ticket; those whose sender was forgotten are dropped."""
        if answers:
            self._actor.answer.remote([(ticket, cloudpickle.dumps(answer)) for ticket, answer in answers])

    def forget(self, addresses: list[str]) -> None:
        """Close addresses that nobody will empty any more."""
        self._actor.forget.remote(addresses)

    def close(self) -> None:
        """End it, and every wait for an answer with it."""
        ray.kill(self._actor)


class _Office:
    def __init__(self) -> None:
        self._boxes: dict[str, asyncio.Queue[tuple[int, bytes]]] = {}
        self._open: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._tickets = itertools.count()

    def _box(self, address: str) -> asyncio.Queue[tuple[int, bytes]]:
        return self._boxes.setdefault(address, asyncio.Queue())

    async def ask(self, address: str, message: bytes) -> bytes:
        ticket = next(self._tickets)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[ticket] = (address, answer)
        self._box(address).put_nowait((ticket, message))
        return await answer

    async def tell(self, address: str, message: bytes) -> None:
        self._box(address).put_nowait((next(self._tickets), message))

    async def take(self, address: str, timeout: float | None) -> list[tuple[int, bytes]]:
        box = self._box(address)
        try:
            messages = [await asyncio.wait_for(box.get(), timeout)]
        except TimeoutError:
            return []
        while not box.empty():
            messages.append(box.get_nowait())
        return messages

    async def answer(self, answers: list[tuple[int, bytes]]) -> None:
        for ticket, answer in answers:
            _, waiting = self._open.pop(ticket, ("", None))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    async def forget(self, addresses: list[str]) -> None:
        for ticket, (address, waiting) in list(self._open.items()):
            if address in addresses:
                waiting.cancel()
                del self._open[ticket]
        for address in addresses:
            self._boxes.pop(address, None)
