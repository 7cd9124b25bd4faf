"""The slot: a Tune trainable that lives as long as the sweep and runs one trial after another.

For Tune, a slot is one trial and a trial of ours is one step of it. That keeps process, imports, data and
gang warm however trials end, and ties every report to the slot that holds the trial (see ``desk``). Tune
places the slots on the cluster and starts a dead one again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray import tune

from ablate.sweep.deaths import oom_kills
from ablate.sweep.gang import Gang, GangDied
from ablate.sweep.messages import (
    Beat,
    Caller,
    Checkpointed,
    Command,
    Crashed,
    Ended,
    Failed,
    Finish,
    GangGone,
    GangUp,
    Interrupted,
    Lease,
    NoCheckpoint,
    Noticed,
    Preempted,
    Reply,
    Reported,
    Request,
    Rest,
    Save,
    SlotPlan,
    SlotUp,
    Start,
    Step,
    Unreadable,
    Verdict,
    WantLease,
    WantWork,
    Work,
    Worn,
)
from ablate.sweep.parcels import shares_folder, within_reach
from ablate.sweep.post import DESK, Post
from ablate.sweep.preemption import EVERY, VARIABLE, Notices

log = logging.getLogger(__name__)

Ask = Callable[[Request], Reply]
Execute = Callable[[str, Command], Any]  # (trial, command) -> its answer; raises TrialFailed


class TrialFailed(Exception):
    """A command ended its trial."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.state}: {failed.reason}")
        self.failed = failed


class SlotWorn(Exception):
    """Raised for Tune, which starts a slot that failed again: in a fresh process."""


class Wear:
    """Counts what a process has been through, to say when a fresh one is due."""

    def __init__(self, plan: SlotPlan) -> None:
        self._plan = plan
        self._trials, self._first = 0, 0

    def after_trial(self, memory: int) -> str:
        """Why a fresh process is due, or nothing; ``memory``: bytes that it holds between two trials."""
        self._trials += 1
        self._first = self._first or memory
        if self._trials >= self._plan.max_trials:
            return f"it has run {self._trials} trials"
        if memory - self._first > self._plan.max_growth:
            return f"it holds {memory / 2**20:.0f} MiB, {self._first / 2**20:.0f} MiB after its first trial"
        return ""


class Slot(tune.Trainable):  # type: ignore[misc]
    """``config`` is ``{"slot": number}``; ``plan`` comes through ``tune.with_parameters``."""

    def setup(self, config: dict[str, Any], plan: SlotPlan) -> None:
        self._plan = plan
        self._caller = Caller(f"slot-{config['slot']}", uuid.uuid4().hex[:8])
        self._post = Post.find(plan.post)
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        self._notices = Notices.of(self._node)
        self._ask(SlotUp(context.current_actor, tuple(self._remarks())))
        self._gang: Gang | None = None
        self._gangs, self._wear = 0, Wear(plan)
        with contextlib.suppress(FileNotFoundError):  # another machine may not have it
            os.chdir(plan.working_directory)
        if plan.workers == 1:
            from ablate.sweep.worker import Worker
            from ablate.train import World

            self._worker = Worker(
                within_reach(plan),
                World.single(),
                self._caller.slot,
                self._node,
                self._beat,
                self._notices.standing,
            )

    def step(self) -> dict[str, Any]:
        """Run one trial to its end, or leave."""
        return {"done": self._run_one() is Verdict.LEAVE}

    def cleanup(self) -> None:
        if self._gang is not None:
            self._gang.close()

    def _remarks(self) -> Iterator[str]:
        host = socket.gethostname()
        if self._notices.trouble:
            yield f"{host}: whether it will be taken away is unknown: {self._notices.trouble} ({VARIABLE})"
        if self._plan.carry and not shares_folder(self._plan):
            yield f"{host} does not share the sweep's folder: checkpoints and artifacts come here through Ray"

    def _run_one(self) -> Verdict:
        if self._sit_out() is Verdict.LEAVE:
            return Verdict.LEAVE
        if self._plan.workers > 1 and self._renew_gang() is Verdict.LEAVE:
            return Verdict.LEAVE
        work = self._ask(WantWork(self._node, oom_kills()))
        if not isinstance(work, Work):
            return Verdict.LEAVE
        try:
            verdict = carry_out(work, self._execute, self._ask, every=self._plan.checkpoint_every)
        except GangDied as error:
            return _verdict(self._ask(Crashed(work.trial, str(error))))
        if verdict is not Verdict.LEAVE:
            self._rest()
        return verdict

    def _sit_out(self) -> Verdict:
        """While this node is to be taken away, keep the slot's place on it but run nothing: Tune would only
        start it again there. GO on where the notice was withdrawn."""
        while notices := self._notices.standing():
            self._end_gang()
            if self._ask(Noticed(notices)) is Verdict.LEAVE:
                return Verdict.LEAVE
            time.sleep(EVERY)
        return Verdict.GO

    def _rest(self) -> None:
        """Let go of the trial, and of a process that has served long enough."""
        gang = self._gang
        try:
            memory = gang.rest() if gang else self._worker.run(Rest()).memory
        except GangDied:
            return  # nobody's trial: the next gang is made as usual
        if not (worn := self._wear.after_trial(memory)):
            return
        if gang:
            log.info("%s ends its gang for a fresh one: %s", self._caller.slot, worn)
            self._end_gang()
        else:
            self._ask(Worn(worn))
            raise SlotWorn(worn)

    def _ask(self, request: Request) -> Reply:
        reply: Reply = self._post.ask(DESK, (self._caller, request))
        return reply

    def _beat(self, beat: Beat) -> None:
        self._post.tell(DESK, (self._caller, beat))

    def _execute(self, trial: str, command: Command) -> Any:
        gang = self._gang
        answer = self._worker.run(command) if gang is None else gang.run(trial, command)
        if isinstance(answer, Failed):
            raise TrialFailed(answer)
        return answer

    def _renew_gang(self) -> Verdict:
        """Have a living gang, waiting for a lease if need be; LEAVE if there is nothing left to do."""
        if self._gang is not None:
            if self._gang.usable:
                return Verdict.GO
            self._end_gang()
        lease = self._ask(WantLease())
        if not isinstance(lease, Lease):
            return Verdict.LEAVE
        self._gangs, self._wear = self._gangs + 1, Wear(self._plan)
        caller = self._caller
        name = f"{self._plan.run}-{caller.slot}-{caller.life}-{self._gangs}"
        self._gang = Gang(self._plan, name, caller, avoid=lease.avoid, notices=self._notices.standing)
        return _verdict(self._ask(GangUp(self._gang.hello())))

    def _end_gang(self) -> None:
        if self._gang is not None:
            self._gang.close()
            self._gang = None
            self._ask(GangGone())


def carry_out(work: Work, execute: Execute, ask: Ask, *, every: int) -> Verdict:
    """Run one trial, checkpointed each ``every`` epochs, and tell the desk. GO on with another, or LEAVE."""
    trial, unsaved = work.trial, False
    try:
        done = execute(trial, Start(work))
        if isinstance(done, NoCheckpoint):
            return _verdict(ask(Unreadable(trial, done.path, done.reason)))
        while not done:
            stepped = execute(trial, Step())
            if isinstance(stepped, Interrupted):
                return _leave(work, stepped.notices, execute, ask, save=unsaved or stepped.begun)
            done, unsaved = stepped.done, True
            verdict = ask(Reported(trial, stepped.epoch, stepped.metrics))
            save = verdict in (Verdict.SAVE, Verdict.PAUSE) or stepped.epoch % every == 0
            if verdict not in (Verdict.STOP, Verdict.LEAVE) and save and not done:
                checkpoint = execute(trial, Save(work.checkpoints))
                verdict, unsaved = ask(Checkpointed(trial, work.fence, checkpoint)), False
            if verdict in (Verdict.STOP, Verdict.LEAVE):
                return Verdict.GO if verdict is Verdict.STOP else Verdict.LEAVE
        metrics = execute(trial, Finish())
    except TrialFailed as error:
        return _verdict(ask(Ended(trial, error.failed.state, error.failed.reason, {})))
    return _verdict(ask(Ended(trial, "COMPLETE", "", metrics)))


def _leave(work: Work, notices: Mapping[str, str], execute: Execute, ask: Ask, *, save: bool) -> Verdict:
    """Give the trial back, because of ``notices``, saved as it stands."""
    if save:
        checkpoint = execute(work.trial, Save(work.checkpoints))
        verdict = ask(Checkpointed(work.trial, work.fence, checkpoint))
        if verdict in (Verdict.STOP, Verdict.LEAVE):
            return Verdict.GO if verdict is Verdict.STOP else Verdict.LEAVE
    return _verdict(ask(Preempted(work.trial, notices)))


def _verdict(reply: Reply) -> Verdict:
    assert isinstance(reply, Verdict)
    return reply
