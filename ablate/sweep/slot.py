"""The slot: a Tune trainable that lives as long as the sweep and runs one trial after another.

For Tune, a slot is one trial and a trial of ours is one step of it. That keeps process, imports, data and
gang warm however trials end, and ties every report to the slot that holds the trial (see ``desk``). Tune
places the slots on the cluster and starts a dead one again.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from typing import Any

from ray import tune

from ablate.sweep.gang import Gang, GangDied
from ablate.sweep.messages import (
    Caller,
    Checkpointed,
    Command,
    Crashed,
    Ended,
    Failed,
    Finish,
    GangGone,
    GangUp,
    Reply,
    Reported,
    Request,
    Save,
    SlotPlan,
    Start,
    Step,
    Verdict,
    WantLease,
    WantWork,
    Work,
)
from ablate.sweep.post import Post

DESK = "desk"

Ask = Callable[[Request], Reply]
Execute = Callable[[str, Command], Any]  # (trial, command) -> its answer; raises TrialFailed


class TrialFailed(Exception):
    """A command ended its trial."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.state}: {failed.reason}")
        self.failed = failed


class Slot(tune.Trainable):  # type: ignore[misc]
    """``config`` is ``{"slot": number}``; ``plan`` comes through ``tune.with_parameters``."""

    def setup(self, config: dict[str, Any], plan: SlotPlan) -> None:
        self._plan = plan
        self._caller = Caller(f"slot-{config['slot']}", uuid.uuid4().hex[:8])
        self._post = Post.find(plan.post)
        self._gang: Gang | None = None
        self._gangs = 0
        with contextlib.suppress(FileNotFoundError):  # another machine may not have it
            os.chdir(plan.working_directory)
        if plan.workers == 1:
            from ablate.sweep.worker import Worker
            from ablate.train import World

            self._worker = Worker(plan, World.single())

    def step(self) -> dict[str, Any]:
        """Run one trial to its end, or leave."""
        return {"done": self._run_one() is Verdict.LEAVE}

    def cleanup(self) -> None:
        if self._gang is not None:
            self._gang.close()

    def _run_one(self) -> Verdict:
        if self._plan.workers > 1 and self._renew_gang() is Verdict.LEAVE:
            return Verdict.LEAVE
        work = self._ask(WantWork())
        if not isinstance(work, Work):
            return Verdict.LEAVE
        try:
            return carry_out(work, self._execute, self._ask, every=self._plan.checkpoint_every)
        except GangDied as error:
            return _verdict(self._ask(Crashed(work.trial, str(error))))

    def _ask(self, request: Request) -> Reply:
        reply: Reply = self._post.ask(DESK, (self._caller, request))
        return reply

    def _execute(self, trial: str, command: Command) -> Any:
        gang = self._gang
        answer = self._worker.run(command) if gang is None else gang.run(trial, command)
        if isinstance(answer, Failed):
            raise TrialFailed(answer)
        return answer

    def _renew_gang(self) -> Verdict:
        """Have a living gang, waiting for a lease if need be; LEAVE if there is nothing left to do."""
        if self._gang is not None:
            if self._gang.alive:
                return Verdict.GO
            self._gang.close()
            self._gang = None
            self._ask(GangGone())
        if self._ask(WantLease()) is Verdict.LEAVE:
            return Verdict.LEAVE
        self._gangs += 1
        caller = self._caller
        self._gang = Gang(self._plan, f"{self._plan.run}-{caller.slot}-{caller.life}-{self._gangs}")
        return _verdict(self._ask(GangUp(self._gang.hello())))


def carry_out(work: Work, execute: Execute, ask: Ask, *, every: int) -> Verdict:
    """Run one trial, checkpointed each ``every`` epochs, and tell the desk. GO on with another, or LEAVE."""
    trial = work.trial
    try:
        done = execute(trial, Start(work))
        while not done:
            stepped = execute(trial, Step())
            done = stepped.done
            verdict = ask(Reported(trial, stepped.epoch, stepped.metrics))
            if verdict is Verdict.STOP:
                return Verdict.GO
            if verdict is Verdict.LEAVE:
                return Verdict.LEAVE
            if not done and (verdict is Verdict.SAVE or stepped.epoch % every == 0):
                checkpoint = execute(trial, Save(work.folder / str(work.fence)))
                if ask(Checkpointed(trial, work.fence, checkpoint)) is Verdict.LEAVE:
                    return Verdict.LEAVE
        metrics = execute(trial, Finish())
    except TrialFailed as error:
        return _verdict(ask(Ended(trial, error.failed.state, error.failed.reason, {})))
    return _verdict(ask(Ended(trial, "COMPLETE", "", metrics)))


def _verdict(reply: Reply) -> Verdict:
    assert isinstance(reply, Verdict)
    return reply
