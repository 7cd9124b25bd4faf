"""The desk: where slots ask for work and say what became of it. It lives in the driver process.

It puts the questions of many slots to the one Driver, one at a time, and adds what only a backend knows:
which slot holds which trial, that a slot died, that a question has to wait. A slot's word about a trial
counts only while that very life of the slot holds that very trial, so that a worker which was given up for
dead can say what it likes. Nothing here knows Ray: see ``ray_backend``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Event

from ablate.sweep.capacity import Leases
from ablate.sweep.driver import Assignment, Driver
from ablate.sweep.messages import (
    Caller,
    Checkpointed,
    Crashed,
    Ended,
    GangGone,
    GangUp,
    Reply,
    Reported,
    Request,
    Verdict,
    WantLease,
    WantWork,
    Work,
)

log = logging.getLogger(__name__)

BARREN = 3  # slots in a row that die before they ask for work, before the sweep is given up


class SweepError(Exception):
    """The sweep cannot go on; the message says why and what to do."""


class Desk:
    """One thread calls ``receive`` and ``replies``; any may use ``lost``, ``drain``, ``done`` and ``error``.

    ``done`` turns true when no slot holds a trial and none will be handed out: everything is finished, the
    desk was drained, or there is an ``error``, which the owner of the desk is to raise.
    """

    def __init__(self, driver: Driver, leases: Leases) -> None:
        self._driver, self._leases = driver, leases
        self._life: dict[str, Caller] = {}  # slot -> its present life
        self._dead: set[Caller] = set()
        self._held: dict[Caller, Assignment] = {}
        self._waiting: dict[int, tuple[Caller, WantWork | WantLease]] = {}
        self._barren = 0
        self._lost: deque[tuple[str, str]] = deque()
        self._draining = Event()
        self.done = False
        self.error: Exception | None = None

    def lost(self, slot: str, reason: str) -> None:
        """The process of ``slot`` died."""
        self._lost.append((slot, reason))

    def drain(self) -> None:
        """Hand out nothing more; running trials save at their next report, and all slots leave."""
        self._draining.set()

    def receive(self, ticket: int, caller: Caller, request: Request) -> list[tuple[int, Reply]]:
        """Take note of one request. Returns its reply, or nothing if that will be one of ``replies``."""
        if isinstance(request, (WantWork, WantLease)):
            self._waiting[ticket] = (caller, request)
            return []
        self._guarded(self._bury)
        return [(ticket, self._guarded(lambda: self._answer(caller, request)) or Verdict.LEAVE)]

    def replies(self) -> list[tuple[int, Reply]]:
        """Replies to waiting requests, as (ticket, reply), as far as they can be given now."""
        found = []
        self._guarded(self._bury)
        for ticket, (caller, request) in list(self._waiting.items()):
            reply = self._guarded(lambda c=caller, r=request: self._offer(c, r))  # type: ignore[misc]
            if self.error is not None:
                reply = Verdict.LEAVE
            if reply is not None:
                del self._waiting[ticket]
                found.append((ticket, reply))
        self._guarded(self._settle)
        return found

    def _guarded(self, action: Callable[[], Reply | None]) -> Reply | None:
        """An error of the driver (a full disk, say) ends the sweep: nothing may be decided any more."""
        if self.error is None:
            try:
                return action()
            except Exception as error:
                self.error, self.done = error, True
        return None

    def _settle(self) -> None:
        self.done = not self._held and (self._draining.is_set() or self._driver.finished)

    # --- who is alive -----------------------------------------------------------------------------------

    def _bury(self) -> None:
        while self._lost:
            slot, reason = self._lost.popleft()
            log.warning("%s is started again: %s", slot, reason)
            caller = self._life.pop(slot, None)
            worked = caller in self._held or any(caller == waiting for waiting, _ in self._waiting.values())
            self._barren = 0 if worked else self._barren + 1
            if caller is not None:
                self._end_life(caller, reason)
            if self._barren >= BARREN:
                raise SweepError(f"slots cannot start; the last, {slot}, died of: {reason}")

    def _end_life(self, caller: Caller, reason: str) -> None:
        self._dead.add(caller)
        self._leases.release(caller)
        if caller in self._held:
            self._abandon(caller, reason)

    def _alive(self, caller: Caller) -> bool:
        if caller in self._dead:
            return False
        known = self._life.setdefault(caller.slot, caller)
        if known != caller:
            self._end_life(known, "its slot was started anew")
            self._life[caller.slot] = caller
        return True

    def _abandon(self, caller: Caller, reason: str) -> None:
        trial = self._held.pop(caller).trial
        log.warning("%s: its workers died: %s", trial, reason)
        self._driver.abandoned(trial, reason)

    # --- what they ask ----------------------------------------------------------------------------------

    def _offer(self, caller: Caller, request: WantWork | WantLease) -> Reply | None:
        """Work, a lease, LEAVE, or None: not yet."""
        if not self._alive(caller) or self._draining.is_set():
            return Verdict.LEAVE
        if isinstance(request, WantLease):
            if self._driver.finished:
                return Verdict.LEAVE
            return Verdict.GO if self._leases.grant(caller) else None
        if caller in self._held:
            self._abandon(caller, "its slot asked for other work")
        assignment = self._driver.next(caller.slot)
        if assignment is None:
            return Verdict.LEAVE if self._driver.finished else None
        self._held[caller] = assignment
        return _work(assignment)

    def _answer(self, caller: Caller, request: Request) -> Verdict:
        if not self._alive(caller):
            return Verdict.LEAVE
        match request:
            case GangUp(group):
                self._leases.occupy(caller, group)
                return Verdict.GO
            case GangGone():
                self._leases.release(caller)
                return Verdict.GO
            case Reported() | Checkpointed() | Ended() | Crashed():
                held = self._held.get(caller)
                if held is not None and held.trial == request.trial:
                    return self._about_trial(caller, held, request)
                log.warning("ignored %s of %s, which holds %s", request, caller, held and held.trial)
        return Verdict.LEAVE

    def _about_trial(
        self, caller: Caller, held: Assignment, request: Reported | Checkpointed | Ended | Crashed
    ) -> Verdict:
        match request:
            case Reported(trial, epoch, metrics):
                self._barren = 0
                if not self._driver.reported(trial, epoch, metrics):
                    del self._held[caller]
                    return Verdict.STOP
                return Verdict.SAVE if self._draining.is_set() else Verdict.GO
            case Checkpointed(trial, fence, checkpoint):
                if fence != held.fence:
                    log.warning("ignored %s: the fence is %d", request, held.fence)
                    return Verdict.LEAVE
                self._driver.checkpointed(trial, checkpoint)
            case Ended(trial, state, reason, metrics):
                del self._held[caller]
                self._driver.ended(trial, state, reason, metrics)
            case Crashed(_, reason):
                self._abandon(caller, reason)
        if not self._draining.is_set():
            return Verdict.GO
        # After a drain's SAVE the slot leaves with its trial unfinished: `resume` takes it up from there.
        self._held.pop(caller, None)
        return Verdict.LEAVE


def _work(assignment: Assignment) -> Work:
    return Work(
        trial=assignment.trial,
        spec=assignment.spec,
        stage=assignment.stage,
        arm=assignment.arm,
        folder=assignment.folder,
        checkpoint=assignment.checkpoint,
        fence=assignment.fence,
    )
