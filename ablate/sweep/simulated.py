"""The `simulated` backend: any number of slots under a virtual clock, in one process and without training.

Everything but the trials is real: driver, decisions, ledger. What takes time in a trial (an epoch, its end)
is put on an agenda and happens when the clock comes to it; between two things that happen no time passes in
this world. Equal sweeps give equal ledgers, times included. For example, a sweep of 100 slots for which an
hour is a second or so::

    clock = VirtualClock()
    with Driver(sweep, runs, clock=clock, open_log=lambda _: MemoryLedger(clock)) as driver:
        usage = run_simulated(driver, played(recordings(Ledger.read(earlier))), clock, slots=100)
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from ablate.sweep.curves import TimedTrial
from ablate.sweep.driver import Assignment, Driver
from ablate.sweep.inline import MakeTrial, Watch, carry_out

_TICK = 1.0  # virtual seconds between two looks of the driver at its clock


class VirtualClock:
    """Seconds since ``start`` (Unix time of the imagined beginning), as far as the simulation has come."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def __call__(self) -> float:
        return self._now

    def advance(self, to: float) -> None:
        """Raises ValueError where that is in the past."""
        if to < self._now:
            raise ValueError(f"the clock stands at {self._now} and cannot go back to {to}")
        self._now = to


@dataclass(frozen=True)
class Fault:
    """The slot dies at a virtual time, with what it runs; ``back`` seconds later another takes its place."""

    at: float
    slot: str
    back: float = 0.0


@dataclass(frozen=True)
class Usage:
    """Virtual seconds from the first to the last thing that happened, and those that slots held a trial."""

    slots: int
    seconds: float
    busy: float

    @property
    def efficiency(self) -> float:
        """1 would be trials without a gap in every slot from the beginning to the end."""
        return self.busy / (self.slots * self.seconds) if self.seconds else 1.0


def run_simulated(
    driver: Driver,
    make_trial: MakeTrial[TimedTrial],
    clock: VirtualClock,
    *,
    slots: int | None = None,
    faults: Iterable[Fault] = (),
) -> Usage:
    """Run what the driver hands out, on ``slots`` slots (None: ``resources.slots``), until it is finished.

    ``clock`` must be the one that the driver and its ledger have. The slots are named slot-0, slot-1, ..., as
    those of the ray backend; a gang of several workers is one slot here. Raises Unrecorded (see ``curves``),
    ValueError for a fault of a slot that there is not, and whatever the driver raises.
    """
    count = driver.sweep.resources.slots if slots is None else slots
    return _Simulation(driver, make_trial, clock, count, faults).run()


@dataclass(frozen=True)
class _Run:
    """A trial in a slot. ``due`` names the entry of the agenda that carries it on."""

    assignment: Assignment
    parts: Generator[TimedTrial, None, None]
    since: float
    due: int


class _Simulation:
    def __init__(
        self,
        driver: Driver,
        make_trial: MakeTrial[TimedTrial],
        clock: VirtualClock,
        slots: int,
        faults: Iterable[Fault],
    ) -> None:
        self._driver, self._make_trial, self._clock = driver, make_trial, clock
        self._slots, self._watch = slots, Watch(clock)
        self._idle = deque(f"slot-{i}" for i in range(slots))
        self._runs: dict[str, _Run] = {}
        self._away: dict[str, int] = {}  # died, and not replaced yet: the entry that brings it back
        self._agenda: list[tuple[float, int, str | Fault]] = []  # time, number, the slot or what befalls it
        self._entries = 0
        self._busy = 0.0
        for fault in faults:
            if fault.slot not in self._idle:
                raise ValueError(f"there is no {fault.slot}; there are slot-0 to slot-{slots - 1}")
            self._enter(fault.at, fault)

    def run(self) -> Usage:
        began = self._clock()
        self._hand_out()
        while self._runs or self._away:
            time, number, what = heapq.heappop(self._agenda)
            self._wait_until(time)
            if isinstance(what, Fault):
                self._die(what)
            elif self._away.get(what) == number:
                del self._away[what]
                self._idle.append(what)
            elif what in self._runs and self._runs[what].due == number:
                run = self._runs.pop(what)
                self._go_on(what, run.assignment, run.parts, run.since)
            self._hand_out()
        return Usage(self._slots, self._clock() - began, self._busy)

    def _wait_until(self, time: float) -> None:
        while self._clock() + _TICK < time:
            self._clock.advance(self._clock() + _TICK)
            self._driver.tick()
        self._clock.advance(max(time, self._clock()))
        self._driver.tick()

    def _hand_out(self) -> None:
        """Idle slots ask in turn; once one gets nothing, neither would the others."""
        while self._idle and not self._driver.draining:
            assignment = self._driver.next(self._idle[0])
            if assignment is None:
                return
            parts = carry_out(self._driver, assignment, None, 1, self._make_trial, self._watch)
            self._go_on(self._idle.popleft(), assignment, parts, self._clock())

    def _go_on(
        self, slot: str, assignment: Assignment, parts: Generator[TimedTrial, None, None], since: float
    ) -> None:
        """To the next part that takes time, or until the trial has left the slot."""
        trial = next(parts, None)
        if trial is None:
            self._busy += self._clock() - since
            self._idle.append(slot)
        else:
            due = self._enter(self._clock() + trial.seconds, slot)
            self._runs[slot] = _Run(assignment, parts, since, due)

    def _die(self, fault: Fault) -> None:
        run = self._runs.pop(fault.slot, None)
        if run is not None:
            run.parts.close()
            self._busy += self._clock() - run.since
            self._driver.abandoned(run.assignment.trial, "its slot died")
        elif fault.slot in self._idle:
            self._idle.remove(fault.slot)
        else:
            return
        self._away[fault.slot] = self._enter(self._clock() + fault.back, fault.slot)

    def _enter(self, time: float, what: str | Fault) -> int:
        self._entries += 1
        heapq.heappush(self._agenda, (time, self._entries, what))
        return self._entries
