"""The worker: runs the commands of a slot on one trial after another, in one process.

A slot of one worker has it in its own process; of a gang, every rank has one. Whatever a trial raises becomes
its outcome, and the worker is as good as new for the next trial.
"""

from __future__ import annotations

import gc
from typing import Any

import torch

from ablate.sweep.messages import Command, Failed, Finish, MakeTrial, Save, SlotPlan, Start, Step, Stepped
from ablate.train import World
from ablate.trial import TrialRun, describe_failure


class Worker:
    """Holds at most one trial, and keeps what later trials can use again: process, imports, data, JIT."""

    def __init__(self, plan: SlotPlan, world: World) -> None:
        self._plan, self._world = plan, world
        self._make_trial: MakeTrial = plan.make_trial or TrialRun
        self._device = torch.device("cuda", torch.cuda.current_device()) if plan.gpus else torch.device("cpu")
        self._trial: Any = None
        self._work: Any = None
        gc.freeze()  # or _drop would walk through every imported module: 0.2 s and more a trial

    def run(self, command: Command) -> Any:
        """The answer that ``messages`` promises for the command, or Failed, after which the trial is gone."""
        try:
            return self._run(command)
        except Exception as error:
            failure = describe_failure(error)
        self._drop()
        return Failed(failure.state, failure.reason)

    def _run(self, command: Command) -> Any:
        match command:
            case Start(work):
                self._drop()
                self._work = work
                self._trial = self._make_trial(
                    work.spec,
                    cache=self._plan.cache,
                    world=self._world,
                    device=self._device,
                    threads=self._plan.cpus,
                    through_collapse=work.stage == "confirm",  # a collapsed seed keeps its real score there
                )
                if work.checkpoint is not None:
                    self._trial.restore(work.checkpoint)
                return self._trial.done
            case Step():
                report = self._trial.step()
                return Stepped(report.epoch, report.metrics, self._trial.done)
            case Save(folder):
                return self._trial.save(folder)
            case Finish():
                work = self._work
                metrics = self._trial.finish(work.folder, arm=work.arm, stage=work.stage)
                self._drop()
                return metrics
        raise TypeError(f"no command of a trial: {command!r}")

    def _drop(self) -> None:
        """Free the last trial's memory before the next one needs it."""
        if self._trial is not None:
            self._trial = self._work = None
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
