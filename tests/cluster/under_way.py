"""A sweep on Ray, here, that waits in its second epoch: `python -m tests.cluster.under_way FOLDER`.

It writes FOLDER/waiting (the address of Ray's GCS) and waits for FOLDER/go. One gang of two workers, the
MLflow mirror at work beside them; the runs are in FOLDER/runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch

from ablate.spec.trial import TrialSpec
from ablate.sweep import run
from ablate.train import World
from ablate.trial import Checkpoint, EpochReport
from ablate.trial.checkpoint import save_checkpoint

WAITING, GO = "waiting", "go"


class WaitingTrial:
    """Has the seam of ``ablate.trial.TrialRun``; its workers talk to each other, as real ones do."""

    def __init__(self, spec: TrialSpec, *, cache: Path, world: World | None = None, **_: Any) -> None:
        self.spec, self.folder, self.world = spec, cache, world or World.single()
        self.epoch = self.progress = 0

    @property
    def done(self) -> bool:
        return self.epoch >= self.spec.optim.epochs

    def advance(self, pause: Callable[[], bool]) -> EpochReport:  # noqa: ARG002
        self.epoch += 1
        total = float(self.world.sum(torch.ones(1)))
        if self.epoch == 2 and self.world.rank == 0:
            self._wait()
        return EpochReport(self.epoch, {"probe.h.val": total + self.epoch})

    def _wait(self) -> None:
        part = self.folder / ".waiting"
        part.write_text(ray.get_runtime_context().gcs_address)
        part.replace(self.folder / WAITING)
        while not (self.folder / GO).exists():
            self.progress += 1
            time.sleep(0.05)

    def save(self, folder: Path) -> Checkpoint | None:
        return save_checkpoint({}, self.epoch, folder) if self.world.rank == 0 else None

    def restore(self, checkpoint: Checkpoint) -> None:
        self.epoch = checkpoint.epoch

    def finish(self, folder: Path, **_: Any) -> dict[str, float]:
        if self.world.rank != 0:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps({"of": self.spec.optim.lr}))
        return {"probe.h.test": self.spec.optim.lr}


def main(folder: Path) -> None:
    from tests.cluster import under_way  # by this name, not as __main__, workers are to know the trial
    from tests.search.synthetic import sweep

    ray.cloudpickle.register_pickle_by_value(under_way)
    setattr(run, "build", lambda *_, **__: None)  # noqa: B010
    setattr(run, "TrialRun", under_way.WaitingTrial)  # noqa: B010
    spec = sweep(trials=1, epochs=3, name="under-way", resources={"slots": 1, "workers": 2})
    run.run_sweep(spec, runs=folder / "runs", cache=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
