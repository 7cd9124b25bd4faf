"""A sweep of hundreds of trials that nobody trained: driver, decisions and ledger are real, the clock is not.

Three arms search with early stopping, what they chose is confirmed on fresh seeds beside two controls. Every
trial reports what a real one does, twenty metrics an epoch.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger import Ledger
from ablate.spec import load_sweep, spec_hash
from ablate.spec.objective import METRICS, TEST_METRICS
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.curves import Curve, End, Lap, played
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock, run_simulated

BEGAN = 1.79e9  # Unix seconds
REPORTED = tuple(name for name in METRICS if not name.endswith(".lidar"))
SPARSEHEAD = Path(__file__).parents[2] / "search_spaces" / "sparsehead.yaml"


def large_spec(name: str = "large", trials: int = 140, seeds: int = 16) -> SweepSpec:
    """Of three arms with ``trials`` each, and two controls: 3 * trials + 5 * seeds runs (500 as given)."""
    values: dict[str, Any] = {
        **load_sweep(SPARSEHEAD).as_dict(),
        "name": name,
        "resources": {"slots": 8},
    }
    scheduler = {"kind": "asha", "rungs": [2, 4], "reduction": 2}
    sampler = {"kind": "random"}
    values["search"] = {**values["search"], "trials": trials, "sampler": sampler, "scheduler": scheduler}
    values["confirm"] = {**values["confirm"], "seeds": seeds, "looks": [seeds]}
    return SweepSpec.model_validate(values)


def large_sweep(runs: Path, spec: SweepSpec, artifacts: int = 0) -> Path:
    """The folder of the sweep, played from its beginning to its end; the first so many complete trials of
    each stage have artifacts. Patch ``os.fsync`` away before: the ledger is a file."""
    clock = VirtualClock(BEGAN)
    with Driver(spec, runs, clock=clock, open_log=partial(Ledger.open, clock=clock)) as driver:
        run_simulated(driver, played(curve), clock)
        assert driver.finished
    finished = [e for e in Ledger.read(driver.folder / "ledger.jsonl") if e["event"] == "finished"]
    complete = sorted(e["trial"] for e in finished if e["state"] == "COMPLETE")
    for stage in ("t", "c"):
        for trial in [name for name in complete if name.startswith(stage)][:artifacts]:
            write_artifacts(driver.folder / "trials" / trial, trial)
    return driver.folder


def curve(spec: TrialSpec) -> Curve:
    """Nearer to its quality with every epoch; an untrained encoder has epoch 0 only."""
    best, epochs = quality(spec), range(1, spec.optim.epochs + 1) if spec.optim.epochs else (0,)
    laps = {epoch: Lap(20.0, reported(best * (1 - 0.5 ** (epoch + 1)), epoch)) for epoch in epochs}
    last = best * (1 - 0.5 ** (max(epochs) + 1))
    return Curve(laps, End("COMPLETE", metrics=dict.fromkeys(TEST_METRICS, last), seconds=5.0))


def quality(spec: TrialSpec) -> float:
    """In (0, 1): best at a learning rate of 0.3, a little better with a subvector, and some luck."""
    off = (math.log10(spec.optim.lr) + 0.5) ** 2
    luck = 0.02 * math.sin(int(spec_hash(spec), 16) % 1000)
    return 0.6 * math.exp(-off) + (0.03 if spec.head.kind == "directclr" else 0.0) + luck


def reported(score: float, epoch: int) -> dict[str, float]:
    others = {name: 10 * score + index for index, name in enumerate(REPORTED)}
    probes = {name: score for name in REPORTED if name.endswith(".val")}
    return {**others, **probes, "loss": 5.0 / (epoch + 1)}


def write_artifacts(folder: Path, trial: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity.json").write_text(json.dumps({"data": "0123456789abcdef", "code": "1"}))
    (folder / "encoder.pt").write_bytes(b"weights of " + trial.encode())
    np.savez(folder / "spectrum.npz", h=np.geomspace(10, 1e-3, 64), z=np.geomspace(1, 1e-6, 64))
    np.savez(folder / "correct.npz", **{"probe.h": np.arange(300) % 3 == 0})
