"""The worker: runs the commands of a slot on one trial after another, in one process.

A slot of one worker has it in its own process; of a gang, every rank has one. Whatever a trial raises becomes
its outcome, and the worker is as good as new for the next trial. A thread tells, by the trainer's steps,
whether the trial moves; the desk ends a worker whose trial does not. When nodes will be taken away the trial
is left within its epoch, at the same step on all ranks.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ablate.sweep.deaths import memory_held, oom_kills
from ablate.sweep.logs import TrialLog, log_file
from ablate.sweep.messages import (
    Beat,
    Command,
    Failed,
    Finish,
    Interrupted,
    MakeTrial,
    NoCheckpoint,
    Rest,
    Rested,
    Save,
    SlotPlan,
    Start,
    Step,
    Stepped,
    Work,
)
from ablate.train import World
from ablate.trial import CheckpointError, TrialRun, describe_failure

_BEATS = 8  # looks at the trial in the time after which it counts as stalled
_LONGEST_BEAT = 30.0  # seconds
ASKED = 4  # times that ranks ask whether to stand still, until they exchange what they know


class StandStill:
    """Whether to leave the trial within its epoch, because ``notices`` has some; asked after each step.

    All ranks of ``world`` must ask equally often, and then are answered alike: each ``ASKED`` times they sum
    up how many of them know of a notice. The sum is read when the next is due, so that nobody waits for it.
    """

    def __init__(self, world: World, device: torch.device, notices: Callable[[], Mapping[str, str]]) -> None:
        self._world, self._device, self._notices = world, device, notices
        self._asked = 0
        self._sum: Tensor | None = None

    def __call__(self) -> bool:
        known = bool(self._notices())
        if self._world.size == 1:
            return known
        self._asked += 1
        if self._asked % ASKED:
            return False
        before, self._sum = self._sum, torch.full((1,), float(known), device=self._device)
        self._world.sum_([self._sum])
        return before is not None and bool(before > 0)


class Worker:
    """Holds at most one trial, and keeps what later trials can use again: process, imports, data, JIT.

    ``slot`` and ``node`` are names for logs and answers. ``beat`` is called, from a thread, when the trial
    has moved. ``notices`` gives nodes that will be taken away (node -> why).
    """

    def __init__(
        self,
        plan: SlotPlan,
        world: World,
        slot: str,
        node: str,
        beat: Callable[[Beat], None] | None,
        notices: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._plan, self._world, self._slot, self._node = plan, world, slot, node
        self._notices = notices
        self._make_trial: MakeTrial = plan.make_trial or TrialRun
        self._device = torch.device("cuda", torch.cuda.current_device()) if plan.gpus else torch.device("cpu")
        self._stand_still = StandStill(world, self._device, notices)
        self._trial: Any = None
        self._work: Work | None = None
        self._log: TrialLog | None = None
        self._commands, self._busy = 0, False
        threading.Thread(target=self._watch, args=(beat,), name="beat", daemon=True).start()
        gc.freeze()  # or _drop would walk through every imported module: 0.2 s and more a trial

    def run(self, command: Command) -> Any:
        """The answer that ``messages`` promises for the command, or Failed, after which the trial is gone."""
        self._commands, self._busy = self._commands + 1, True
        try:
            return self._logged(command)
        except Exception as error:
            failure = describe_failure(error)
        finally:
            self._commands, self._busy = self._commands + 1, False
        self._drop()
        return Failed(failure.state, failure.reason)

    def _logged(self, command: Command) -> Any:
        if isinstance(command, Start):
            self._drop()
            self._log = TrialLog(log_file(command.work.folder, self._world.rank), self._title(command.work))
        with self._log.receiving() if self._log else nullcontext():
            try:
                return self._run(command)
            except Exception as error:
                failure = describe_failure(error)
                print(f"{failure.state}: {failure.reason}")
                if failure.state == "FAILED":
                    traceback.print_exception(error)
                raise

    def _run(self, command: Command) -> Any:
        match command:
            case Start(work):
                return self._start(work)
            case Step():
                return self._step()
            case Save(folder):
                return self._trial.save(folder)
            case Finish():
                assert self._work is not None
                work = self._work
                return self._trial.finish(work.folder, arm=work.arm, stage=work.stage, lineage=work.lineage)
            case Rest():
                self._drop()
                return Rested(self._node, self._memory(), oom_kills())
        raise TypeError(f"no command of a trial: {command!r}")

    def _step(self) -> Stepped | Interrupted:
        if self._stand_still():  # also where epochs have too few steps to ask within
            return Interrupted(begun=False, notices=self._notices())
        report = self._trial.advance(self._stand_still)
        if report is None:
            return Interrupted(begun=True, notices=self._notices())
        return Stepped(report.epoch, report.metrics, self._trial.done)

    def _start(self, work: Work) -> bool | NoCheckpoint:
        self._work, self._stand_still = work, StandStill(self._world, self._device, self._notices)
        self._trial = self._make_trial(
            work.spec,
            cache=self._plan.cache,
            world=self._world,
            device=self._device,
            threads=self._plan.cpus,
            through_collapse=work.stage == "confirm",  # a collapsed seed keeps its real score there
            gpus=self._plan.gpus,
        )
        if work.checkpoint is not None:
            try:
                self._trial.restore(work.checkpoint)
            except CheckpointError as error:
                return NoCheckpoint(work.checkpoint.path, str(error))
        done: bool = self._trial.done
        return done

    def _title(self, work: Work) -> str:
        after = f"after {work.checkpoint.position}" if work.checkpoint else "from the beginning"
        return (
            f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} {work.trial} {after}, {self._slot} rank "
            f"{self._world.rank} of {self._world.size}, {socket.gethostname()} process {os.getpid()}, "
            f"fence {work.fence}"
        )

    def _memory(self) -> int:
        gpu = torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else 0
        return memory_held() + gpu

    def _drop(self) -> None:
        """Free the last trial's memory before the next one needs it."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._work is not None:
            self._trial = self._work = None
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _watch(self, beat: Callable[[Beat], None] | None) -> None:
        """Tell of every move, and write where a trial that does not move stands into its log."""
        every = min(_LONGEST_BEAT, self._plan.stall / _BEATS)
        last, since, told = Beat("", 0), time.monotonic(), False
        while True:
            time.sleep(every)
            work, trial = self._work, self._trial
            now = Beat(work.trial if work else "", self._commands + getattr(trial, "progress", 0))
            if now != last:
                last, since, told = now, time.monotonic(), False
                if beat is not None and now.trial:
                    beat(now)
            elif self._busy and not told and time.monotonic() - since > self._plan.stall - 2 * every:
                told = True
                faulthandler.dump_traceback(2)
