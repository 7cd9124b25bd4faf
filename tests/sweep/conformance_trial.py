"""The trial of the conformance suite: no training, but weights, which every epoch and every ancestor marks.

It imports nothing of the tests, so that Ray can send it to its workers by value.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablate.spec.trial import TrialSpec
from ablate.trial import Checkpoint, EpochReport, TrialFailure
from ablate.trial.checkpoint import load_checkpoint, save_checkpoint

METRIC = "probe.h.val"
BREAKS, COLLAPSES, BREAKS_ONCE = 1.0, 2.0, 3.0  # values of optim.head_weight_decay, felt in the second epoch


def trained(weights: float, spec: TrialSpec) -> float:
    """The weights after one more epoch: no two histories lead to the same."""
    return weights / 2 + spec.optim.lr


def score(weights: float) -> float:
    """In (0, 1], best where the weights are 0.6."""
    return math.exp(-((weights - 0.6) ** 2))


class ConformanceTrial:
    """``cache / "mended"`` mends trials that break once, ``cache / "slow"`` has epochs take a while, so that
    an operator's request comes in time; ``seconds`` is for the virtual clock."""

    def __init__(self, spec: TrialSpec, *, cache: Path, through_collapse: bool, **_: Any) -> None:
        self.spec, self.cache, self.through_collapse = spec, cache, through_collapse
        self.epoch, self.weights, self.done = 0, 0.0, False

    @property
    def seconds(self) -> float:
        return 1.0 + self.spec.optim.lr

    def advance(self, pause: Callable[[], bool]) -> EpochReport:  # noqa: ARG002
        return self.step()

    def step(self) -> EpochReport:
        if (self.cache / "slow").exists():
            time.sleep(0.05)
        if self.spec.optim.epochs:
            self.epoch += 1
            self.weights = trained(self.weights, self.spec)
        if self.epoch == 2:
            self._go_wrong(self.spec.optim.head_weight_decay)
        self.done = self.epoch >= self.spec.optim.epochs
        return EpochReport(self.epoch, {METRIC: score(self.weights), "weights": self.weights})

    def _go_wrong(self, fault: float) -> None:
        if fault == BREAKS or (fault == BREAKS_ONCE and not (self.cache / "mended").exists()):
            raise RuntimeError("it broke")
        if fault == COLLAPSES and not self.through_collapse:
            raise TrialFailure("COLLAPSED", "no spread")

    def save(self, folder: Path) -> Checkpoint:
        return save_checkpoint({"weights": self.weights}, self.epoch, folder)

    def restore(self, checkpoint: Checkpoint) -> None:
        self.weights = load_checkpoint(checkpoint, torch.device("cpu"))["weights"]
        self.epoch = checkpoint.epoch

    def finish(self, folder: Path, **_: Any) -> dict[str, float]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.txt").write_text(repr(self.weights))
        return {"probe.h.test": score(self.weights) - 0.01}
