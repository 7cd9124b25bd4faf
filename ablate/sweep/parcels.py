"""The sweep's folder for nodes that do not have it: through Ray, to and from the driver's machine.

The driver leaves a file in the folder, by which each process sees whether its machine shares it. Where it
does not, a checkpoint is carried to the driver's machine before it counts, and from there to where the trial
goes on; artifacts are carried before their trial is COMPLETE. It is what a storage does (``sweep.storage``),
but that also outlives the driver's machine, and its nodes do not all write through one.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ray.exceptions import RayError

from ablate.durable import make_folder, sync, write_durably
from ablate.ledger import StoreError
from ablate.sweep.messages import SlotPlan
from ablate.sweep.post import Post

log = logging.getLogger(__name__)

PARCELS = "parcels"  # the address at the post office
_MARK = "driver"  # a file in the driver's scratch folder
_LARGE = ".pt"  # weights and checkpoints: of no use where they were written
PAUSES = (1.0, 5.0, 30.0)  # seconds after an attempt, when Ray does not reach the driver's machine
_TICK = 0.5  # seconds between looks at whether all is over


@dataclass(frozen=True)
class Order:
    """What a node wants: ``key`` is the path within the sweep's folder."""

    what: Literal["put", "get", "delete"]
    key: str
    data: bytes = b""


@dataclass(frozen=True)
class Done:
    """``problem``: why it cannot be done, or nothing; ``data``: what was got, None where there is no file."""

    problem: str = ""
    data: bytes | None = None


@contextmanager
def folder_served(plan: SlotPlan, post: Post) -> Iterator[None]:
    """Mark the sweep's folder as this machine's, and serve it to others, from a thread."""
    (plan.scratch / _MARK).write_text(plan.run)
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            try:
                for ticket, order in post.take(PARCELS, _TICK):
                    _answer(post, ticket, plan.folder, order)
            except RayError as error:  # the desk says what that means
                log.debug("no parcels: %s", error)
                closing.wait(_TICK)
            except Exception as error:  # what came cannot be read; who sent it will be found stalled
                log.warning("a parcel is lost: %s: %s", type(error).__name__, error)
                closing.wait(_TICK)

    thread = threading.Thread(target=serve, name="parcels", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()


def _answer(post: Post, ticket: int, folder: Path, order: Order) -> None:
    done = carry_out(folder, order)
    try:
        post.answer([(ticket, done)])
    except Exception as error:  # it is too large to be sent, say
        post.answer([(ticket, Done(f"{order.key} cannot be sent: {type(error).__name__}: {error}"))])


def carry_out(folder: Path, order: Order) -> Done:
    """Read, write or delete a file of ``folder``; a file that is written is whole and durable."""
    path = folder / order.key
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return Done(f"{order.key} leads out of {folder}")
        match order.what:
            case "put":
                make_folder(path.parent)
                write_durably(path, order.data)
                sync(path.parent)
            case "get":
                return Done(data=path.read_bytes() if path.exists() else None)
            case "delete":
                path.unlink(missing_ok=True)
    except (OSError, RuntimeError, MemoryError) as error:  # a loop of links; a file larger than the memory
        return Done(f"{path}, on the driver's machine: {error or type(error).__name__}")
    return Done()


def shares_folder(plan: SlotPlan) -> bool:
    """Whether this machine has the very folder that the driver has."""
    try:
        return (plan.scratch / _MARK).read_text() == plan.run
    except OSError:
        return False


def within_reach(plan: SlotPlan) -> SlotPlan:
    """The plan as it is to be followed on this machine: if need be, files of trials are carried."""
    if not plan.carry or shares_folder(plan):
        return plan
    try:
        make_folder(plan.folder / "trials")
    except OSError as error:
        raise OSError(
            f"{socket.gethostname()}: {plan.folder} cannot be made here ({error.strerror}), where trials "
            "write before it is carried to the driver; give --runs a folder that can be made on all nodes"
        ) from error
    from ablate.sweep.storage import storing  # brings the driver along, which no other slot needs
    from ablate.trial import TrialRun

    return replace(plan, make_trial=storing(plan.make_trial or TrialRun, Parcels(plan.post, plan.folder)))


@dataclass(frozen=True)
class Parcels:
    """Files of the sweep in ``folder``, by the names that they have on this machine too; ``post``: the name
    of the post office.

    Methods raise StoreError if the driver's machine cannot write or read them, or is out of
    reach for half a minute.
    """

    post: str
    folder: Path

    def upload(self, files: Iterable[Path]) -> None:
        for path in files:
            self._ask("put", path, path.read_bytes())
            if path.suffix == _LARGE:
                path.unlink()

    def fetch(self, path: Path) -> bool:
        """Bring a file here; False: the driver's machine does not have it."""
        found = self._ask("get", path)
        if found is None:
            return False
        make_folder(path.parent)
        write_durably(path, found)
        return True

    def delete(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self._ask("delete", path)

    def _ask(self, what: Literal["put", "get", "delete"], path: Path, data: bytes = b"") -> bytes | None:
        key = path.absolute().relative_to(self.folder).as_posix()
        done = self._carried(Order(what, key, data))
        if done.problem:
            raise StoreError(done.problem)
        return done.data

    def _carried(self, order: Order) -> Done:
        """An order may be carried out twice, which makes no difference."""
        for pause in (*PAUSES, None):
            try:
                return Post.find(self.post).ask(PARCELS, order)  # type: ignore[no-any-return]
            except RayError as error:
                problem = f"{order.key} cannot be carried: {type(error).__name__}: {error}"
                if pause is None:
                    raise StoreError(problem) from error
                print(f"{problem}; next attempt in {pause:g} s", flush=True)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")
