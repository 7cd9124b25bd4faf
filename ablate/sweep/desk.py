"""The desk: where slots ask for work and say what became of it. It lives in the driver process.

It puts the questions of many slots to the one Driver, one at a time, and adds what only a backend knows:
which slot holds which trial, that a slot died, that a trial stands still, that a question has to wait. A
slot's word about a trial counts only while that very life of the slot holds that very trial, so that a worker
which was given up for dead can say what it likes. Nothing here knows Ray: see ``ray_backend``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from ablate.sweep.capacity import Leases
from ablate.sweep.driver import Assignment, Driver, Order
from ablate.sweep.messages import (
    AboutTrial,
    Beat,
    Caller,
    Checkpointed,
    Crashed,
    Ended,
    GangGone,
    GangUp,
    Lease,
    Noticed,
    Preempted,
    Reply,
    Reported,
    Request,
    SlotUp,
    Unreadable,
    Verdict,
    WantLease,
    WantWork,
    Work,
    Worn,
)
from ablate.trial.checkpoint import set_aside

log = logging.getLogger(__name__)

TICK = 0.5  # seconds between looks at what only time changes
NOTICE = 180.0  # seconds after which a node that was to be taken away counts as left alone
BARREN = 3  # slots in a row that die before they ask for work, before the sweep is given up


class SweepError(Exception):
    """The sweep cannot go on; the message says why and what to do."""


@dataclass
class _Held:
    """A trial in a slot. Times are those of the desk's clock."""

    assignment: Assignment
    began: float
    moved: float  # the last time it was seen to move
    count: int = 0  # of its last beat
    pausing: bool = False  # it leaves the slot once it is saved

    @property
    def trial(self) -> str:
        return self.assignment.trial


class Desk:
    """One thread calls ``receive`` and ``replies``; any may use the other methods, ``done`` and ``error``.

    ``end`` ends a slot's process by what its SlotUp carried. ``clock`` gives seconds. ``done`` turns true
    when no slot holds a trial and none will be handed out: everything is finished, the desk was drained, or
    there is an ``error``, which the owner of the desk is to raise.
    """

    def __init__(
        self,
        driver: Driver,
        leases: Leases,
        *,
        end: Callable[[Any], None] = lambda process: None,  # noqa: ARG005
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver, self._leases, self._end, self._clock = driver, leases, end, clock
        self._life: dict[str, Caller] = {}  # slot -> its present life
        self._processes: dict[Caller, Any] = {}
        self._kills: dict[str, tuple[str, int]] = {}  # slot -> what ``kills`` gives
        self._dead: set[Caller] = set()
        self._useful: set[Caller] = set()  # have asked for work
        self._held: dict[Caller, _Held] = {}
        self._spent: dict[str, float] = {}  # trial -> seconds it held slots before
        self._waiting: dict[int, tuple[Caller, WantWork | WantLease]] = {}
        self._barren, self._next_tick = 0, 0.0
        self._hand_outs = 0
        self._noticed: dict[str, float] = {}  # node that will be taken away -> until when that is believed
        self._remarks: set[str] = set()
        self._lost: deque[tuple[str, str, bool]] = deque()
        self._draining = Event()
        self.done = False
        self.error: Exception | None = None

    def lost(self, slot: str, reason: str, *, with_node: bool = False) -> None:
        """The process of ``slot`` died; ``with_node``: since its machine did."""
        self._lost.append((slot, reason, with_node))

    def drain(self) -> None:
        """Hand out nothing more; running trials save at their next report, and all slots leave."""
        self._draining.set()

    def kills(self, slot: str) -> tuple[str, int] | None:
        """The node of ``slot``, and how many processes had been killed there for want of memory when it last
        asked for work; None if it never did."""
        return self._kills.get(slot)

    @property
    def working(self) -> int:
        """How many slots hold a trial."""
        return len(self._held)

    @property
    def refused(self) -> int:
        """How many slots wait for a lease."""
        return sum(isinstance(request, WantLease) for _, request in list(self._waiting.values()))

    def receive(self, ticket: int, caller: Caller, request: Request) -> list[tuple[int, Reply]]:
        """Take note of one request. Returns its reply, or nothing if that will be one of ``replies``."""
        if isinstance(request, Beat):
            self._beat(caller, request)
            return []
        if isinstance(request, (WantWork, WantLease)):
            self._waiting[ticket] = (caller, request)
            return []
        self._guarded(self._bury)
        return [(ticket, self._guarded(lambda: self._answer(caller, request)) or Verdict.LEAVE)]

    def replies(self) -> list[tuple[int, Reply]]:
        """Replies to waiting requests, as (ticket, reply), as far as they can be given now.

        To be called at least once a second: it also looks at what only time changes.
        """
        found = []
        self._guarded(self._tick)
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

    # --- what time brings -------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._clock() < self._next_tick:
            return
        self._next_tick = self._clock() + TICK
        self._driver.tick()
        if self._driver.draining:
            self.drain()
        limits, now = self._driver.sweep.resources, self._clock()
        for caller, held in list(self._held.items()):
            spent = self._spent.get(held.trial, 0.0) + now - held.began
            if limits.trial_hours is not None and spent > limits.trial_hours * 3600:
                reason = (
                    f"time-out: after {spent / 3600:.3g} h (resources.trial_hours {limits.trial_hours:g})"
                )
                self._release(caller)
                self._driver.ended(held.trial, "FAILED", reason, {})
                self._end_process(caller, f"{held.trial}: {reason}")
            elif now - held.moved > limits.stall_minutes * 60:  # not one step: a slow node makes some
                stalled = f"stall: no step of training for {limits.stall_minutes:g} minutes"
                self._abandon(caller, stalled)
                self._end_process(caller, f"{held.trial}: {stalled}")

    def _beat(self, caller: Caller, beat: Beat) -> None:
        held = self._held.get(caller)
        if held is not None and held.trial == beat.trial and beat.count != held.count:
            held.count, held.moved = beat.count, self._clock()

    def _end_process(self, caller: Caller, reason: str) -> None:
        """Tune will start the slot again."""
        log.warning("%s is ended: %s", caller.slot, reason)
        self._end_life(caller, reason)
        if caller in self._processes:
            self._end(self._processes[caller])

    # --- who is alive -----------------------------------------------------------------------------------

    def _bury(self) -> None:
        while self._lost:
            slot, reason, with_node = self._lost.popleft()
            caller = self._life.pop(slot, None)
            if caller in self._dead:  # by its own will or by ours: that has been dealt with
                continue
            log.warning("%s is started again: %s", slot, reason)
            waited = any(caller == waiting for waiting, _ in self._waiting.values())
            useful = with_node or waited or caller in self._useful
            self._barren = 0 if useful else self._barren + 1
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

    def _note(self, notices: Mapping[str, str]) -> None:
        """Start nothing on these nodes."""
        before = self._avoided()
        for node, why in notices.items():
            if node not in before:
                log.warning("%s. Nothing new starts there (Ray node %s)", why, node)
            self._noticed[node] = self._clock() + NOTICE

    def _avoided(self) -> tuple[str, ...]:
        return tuple(node for node, until in self._noticed.items() if self._clock() < until)

    def _release(self, caller: Caller) -> str:
        """The slot no longer holds its trial, whose name is returned."""
        held = self._held.pop(caller)
        self._spent[held.trial] = self._spent.get(held.trial, 0.0) + self._clock() - held.began
        return held.trial

    def _abandon(self, caller: Caller, reason: str) -> None:
        trial = self._release(caller)
        log.warning("%s goes back to its last checkpoint: %s", trial, reason)
        self._driver.abandoned(trial, reason)

    def _preempt(self, caller: Caller, why: str) -> None:
        trial = self._release(caller)
        log.warning("%s waits for another place, from its last checkpoint on: %s", trial, why)
        self._driver.abandoned(trial, f"preemption notice: {why}", preempted=True)

    # --- what they ask ----------------------------------------------------------------------------------

    def _offer(self, caller: Caller, request: WantWork | WantLease) -> Reply | None:
        """Work, a lease, LEAVE, or None: not yet."""
        if not self._alive(caller) or self._draining.is_set():
            return Verdict.LEAVE
        if isinstance(request, WantLease):
            if self._driver.finished:
                return Verdict.LEAVE
            avoid = self._avoided()  # or the gang might wait for ever for a place that it must not have
            return Lease(avoid) if self._leases.grant(caller, avoid) else None
        self._useful.add(caller)
        self._kills[caller.slot] = (request.node, request.kills)
        if caller in self._held:
            self._abandon(caller, "its slot asked for other work")
        if request.node in self._avoided():
            return Verdict.LEAVE if self._driver.finished else None
        assignment = self._driver.next(caller.slot)
        if assignment is None:
            return Verdict.LEAVE if self._driver.finished else None
        now = self._clock()
        self._held[caller] = _Held(assignment, began=now, moved=now)
        self._hand_outs += 1
        return _work(assignment, self._hand_outs)

    def _answer(self, caller: Caller, request: Request) -> Verdict:
        if not self._alive(caller):
            return Verdict.LEAVE
        match request:
            case SlotUp(process, remarks):
                self._processes[caller] = process
                for remark in sorted({*remarks} - self._remarks):
                    log.warning("%s", remark)
                self._remarks |= {*remarks}
                return Verdict.GO
            case Noticed(notices):
                self._useful.add(caller)  # it would have asked, but for the notice
                self._note(notices)
                return Verdict.LEAVE if self._draining.is_set() or self._driver.finished else Verdict.GO
            case Worn(reason):
                log.info("%s is started afresh: %s", caller.slot, reason)
                self._end_life(caller, reason)
                return Verdict.GO
            case GangUp(group):
                self._leases.occupy(caller, group)
                return Verdict.GO
            case GangGone():
                self._leases.release(caller)
                return Verdict.GO
            case Reported() | Checkpointed() | Ended() | Crashed() | Preempted() | Unreadable():
                held = self._held.get(caller)
                if held is not None and held.trial == request.trial:
                    held.moved = self._clock()
                    return self._about_trial(caller, held, request)
                log.warning("ignored %s of %s, which holds %s", request, caller, held and held.trial)
        return Verdict.LEAVE

    def _about_trial(self, caller: Caller, held: _Held, request: AboutTrial) -> Verdict:
        match request:
            case Reported(trial, epoch, metrics):
                self._barren = 0
                return self._reported(caller, held, self._driver.reported(trial, epoch, metrics))
            case Checkpointed(trial, fence, checkpoint):
                if fence != held.assignment.fence:
                    log.warning("ignored %s: the fence is %d", request, held.assignment.fence)
                    return Verdict.LEAVE
                order = self._driver.checkpointed(trial, checkpoint)
                if order is Order.STOP or held.pausing:
                    self._release(caller)
                    return Verdict.STOP
            case Ended(trial, state, reason, metrics):
                self._release(caller)
                self._driver.ended(trial, state, reason, metrics)
            case Crashed(_, reason):
                self._abandon(caller, reason)
            case Preempted(trial, notices):
                self._note(notices)
                self._preempt(caller, "; ".join(sorted(set(notices.values()))) or "a notice, withdrawn since")
            case Unreadable(_, path, reason):
                set_aside(Path(path))
                self._abandon(caller, f"checkpoint: {reason}")
        if not self._draining.is_set():
            return Verdict.GO
        # After a drain's SAVE the slot leaves with its trial unfinished: `resume` takes it up from there.
        if caller in self._held:
            self._release(caller)
        return Verdict.LEAVE

    def _reported(self, caller: Caller, held: _Held, order: Order) -> Verdict:
        if order is Order.STOP:
            self._release(caller)
            return Verdict.STOP
        if order is Order.PAUSE:
            held.pausing = True
            return Verdict.PAUSE
        return Verdict.SAVE if self._draining.is_set() else Verdict.GO


def _work(assignment: Assignment, hand_out: int) -> Work:
    return Work(
        trial=assignment.trial,
        spec=assignment.spec,
        stage=assignment.stage,
        arm=assignment.arm,
        folder=assignment.folder,
        checkpoint=assignment.checkpoint,
        fence=assignment.fence,
        lineage=assignment.lineage,
        hand_out=hand_out,
    )
