"""A trial without training: every number it gives names the configuration it belongs to.

Faults are armed by files in the cache folder (which all processes of a test share) and strike once.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.train import World
from ablate.trial import Checkpoint, EpochReport, TrialFailure, TrialRun
from ablate.trial.checkpoint import load_checkpoint, save_checkpoint


def fingerprint(spec: TrialSpec) -> float:
    """Differs between any two search trials of ``sweep``: its learning rate."""
    return spec.optim.lr


def value(spec: TrialSpec, epoch: int) -> float:
    """The objective: better with the learning rate and with every epoch."""
    return fingerprint(spec) + 0.01 * epoch


def arm(cache: Path, fault: str) -> None:
    """The next trial after its first epoch is struck: its rank 0 or 1 is killed (``fault`` kill-rank-N),
    stopped by a signal (stop-rank-N), or sleeps for ever (sleep-rank-N)."""
    (cache / fault).touch()


class FakeTrial:
    """Has the seam of ``ablate.trial.TrialRun``. In its second epoch it raises where
    ``optim.head_weight_decay`` is 1, collapses (2), asks for more memory than there is (3), or reports a
    number that is none (4)."""

    def __init__(
        self,
        spec: TrialSpec,
        *,
        cache: Path | None,
        world: World | None = None,
        device: torch.device | None = None,
        threads: int,
        through_collapse: bool,
        gpus: float = 0,
    ) -> None:
        assert (threads, gpus) == (1, 0)
        assert cache is not None
        assert device in (None, torch.device("cpu"))
        self.spec, self.cache, self.world = spec, cache, world or World.single()
        self.through_collapse = through_collapse
        self.epoch = self.progress = 0
        self.restored = 0

    @property
    def done(self) -> bool:
        return self.epoch >= self.spec.optim.epochs

    def advance(self, pause: Callable[[], bool]) -> EpochReport | None:  # noqa: ARG002
        return self.step()

    def step(self) -> EpochReport:
        self._maybe_be_struck()
        self.epoch += 1
        self.progress += 1
        print(f"{fingerprint(self.spec)} reaches epoch {self.epoch} on rank {self.world.rank}")
        fault = self.spec.optim.head_weight_decay
        if self.epoch == 2 and fault == 1:
            raise RuntimeError("it broke")
        if self.epoch == 2 and fault == 2 and not self.through_collapse:
            raise TrialFailure("COLLAPSED", "no spread")
        if self.epoch == 2 and fault == 3:
            torch.empty(2**50)
        metrics = {
            "probe.h.val": math.nan if fault == 4 and self.epoch == 2 else value(self.spec, self.epoch),
            "fingerprint": fingerprint(self.spec),
            "ranks_disagree": self._disagreement(),
            "pid": float(os.getpid()),
            "restored": float(self.restored),
        }
        return EpochReport(self.epoch, metrics)

    def _maybe_be_struck(self) -> None:
        for kind, number in (("kill", signal.SIGKILL), ("stop", signal.SIGSTOP), ("sleep", None)):
            fault = self.cache / f"{kind}-rank-{self.world.rank}"
            if self.epoch == 1 and fault.exists():
                fault.unlink()
                if number is None:
                    time.sleep(3600)
                else:
                    os.kill(os.getpid(), number)

    def _disagreement(self) -> float:
        """How far apart the ranks' configurations and epochs are: 0, or else they are out of step."""
        mine = torch.tensor([[fingerprint(self.spec), float(self.epoch)]], dtype=torch.float64)
        everyones = self.world.gather(mine)
        return float((everyones - everyones[0]).abs().max())

    def save(self, folder: Path) -> Checkpoint | None:
        if self.world.rank != 0:
            return None
        return save_checkpoint({"of": fingerprint(self.spec)}, self.epoch, folder)

    def restore(self, checkpoint: Checkpoint) -> None:
        assert load_checkpoint(checkpoint, torch.device("cpu"))["of"] == fingerprint(self.spec)
        self.epoch = self.restored = checkpoint.epoch

    def finish(self, folder: Path, **_: Any) -> dict[str, float]:
        if self.world.rank != 0:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({"of": fingerprint(self.spec)}))
        return {"probe.h.test": fingerprint(self.spec)}


class LingeringTrial(FakeTrial):
    """The first one after its first epoch, if the file ``linger`` is there, takes step after step until it is
    to stand still; the file ``lingers`` says that it does."""

    def __init__(self, spec: TrialSpec, **seam: Any) -> None:
        super().__init__(spec, **seam)
        self.steps = 0

    def advance(self, pause: Callable[[], bool]) -> EpochReport | None:
        armed = self.cache / "linger"
        if self.epoch != 1 or not armed.exists():
            self.steps = 0
            return super().advance(pause)
        armed.rename(self.cache / "lingers")
        while not pause():
            self.steps += 1
            self.progress += 1
            time.sleep(0.02)
        return None

    def save(self, folder: Path) -> Checkpoint | None:
        if self.world.rank != 0:
            return None
        return save_checkpoint({"of": fingerprint(self.spec)}, self.epoch, folder, step=self.steps)


class StuckTrial(FakeTrial):
    """Rank 1 breaks where rank 0 waits for it in a collective."""

    def step(self) -> EpochReport:
        if self.world.rank == 1:
            raise RuntimeError("rank 1 broke")
        self._disagreement()
        raise AssertionError("rank 1 took part")


def real_or_stuck(spec: TrialSpec, **seam: Any) -> TrialRun | StuckTrial:
    """A real trial, or a stuck one where ``optim.head_weight_decay`` is 1."""
    return StuckTrial(spec, **seam) if spec.optim.head_weight_decay == 1 else TrialRun(spec, **seam)


def sweep(
    name: str,
    *,
    trials: int,
    epochs: int = 4,
    faults: tuple[float, ...] = (0.0,),
    first: float | None = None,
    **resources: Any,
) -> SweepSpec:
    """A random search over the learning rate and ``faults``, of which the first trial has ``first``, with
    ASHA's rungs at 1 and 2, and two confirmation seeds."""
    return SweepSpec.model_validate(
        {
            "name": name,
            "question": "Does every result belong to its configuration?",
            "base": {
                "data": {"kind": "digits"},
                "head": {"kind": "mlp"},
                "optim": {"kind": "sgd", "epochs": epochs, "warmup_epochs": 0.0, "lr": 0.5},
            },
            "space": {
                "optim.lr": {"float": [0.01, 1.0]},
                "optim.head_weight_decay": {"choice": list(faults)},
            },
            "search": {
                "trials": trials,
                "sampler": {"kind": "random"},
                "scheduler": {"kind": "asha", "rungs": [1, 2], "reduction": 2},
                "points": [] if first is None else [{"optim.head_weight_decay": first}],
            },
            "confirm": {"seeds": 2, "controls": []},
            "resources": resources,
        }
    )
