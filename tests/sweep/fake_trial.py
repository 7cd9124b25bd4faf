"""A trial without training: a curve that follows from the spec, with a state that must be restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ablate.spec.trial import TrialSpec
from ablate.trial import Checkpoint, EpochReport, TrialFailure
from tests.search.synthetic import METRIC, quality


class FakeTrial:
    """Each epoch moves ``value`` half-way towards the quality: a lost or foreign state shows in the numbers.

    Above lr 0.9 it raises, between 0.8 and 0.9 it collapses, both in its second epoch.
    """

    def __init__(self, spec: TrialSpec, *, through_collapse: bool, **_: Any) -> None:
        self.spec, self.through_collapse = spec, through_collapse
        self.epoch, self.value, self.done = 0, 0.1, False

    def step(self) -> EpochReport:
        if self.spec.optim.epochs:
            self.epoch += 1
            self.value += (quality(self.spec) - self.value) / 2
        if self.epoch == 2 and self.spec.optim.lr > 0.9:
            raise RuntimeError("the GPU fell\noff the bus")
        if self.epoch == 2 and self.spec.optim.lr > 0.8 and not self.through_collapse:
            raise TrialFailure("COLLAPSED", "no spread left")
        self.done = self.epoch >= self.spec.optim.epochs
        return EpochReport(self.epoch, {METRIC: self.value, "loss": 1 / self.value})

    def save(self, folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"epoch-{self.epoch}.json"
        path.write_text(json.dumps([self.spec.optim.lr, self.epoch, self.value]))
        return Checkpoint(self.epoch, str(path), "0")

    def restore(self, checkpoint: Checkpoint) -> None:
        lr, self.epoch, self.value = json.loads(Path(checkpoint.path).read_text())
        assert (lr, self.epoch) == (self.spec.optim.lr, checkpoint.epoch)

    def finish(self, _folder: Path, **_: str) -> dict[str, float]:
        return {"probe.h.test": self.value - 0.01}
