"""A trial whose best schedule of learning rates is known: the expectation of SGD on a noisy quadratic.

With ``x' = x - lr (x + noise)`` and noise of variance ``s``, the expected square ``v`` of ``x`` follows

    v' = (1 - lr)^2 v + lr^2 s

which is least for ``lr = v / (v + s)``; then ``1 / v' = 1 / v + 1 / s``. So after ``T`` steps the best
schedule reaches ``v = 1 / (1 / v0 + T / s)``, with rates that fall as ``1 / t``, and no constant rate comes
near it (the setting of Schaul et al., "No More Pesky Learning Rates", arXiv 1206.1106).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ablate.ledger.memory import MemoryLedger
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.trial import Checkpoint, EpochReport

START, NOISE = 100.0, 1.0
RATES = (0.001, 1.0)


def after(v: float, lr: float) -> float:
    return (1 - lr) ** 2 * v + lr**2 * NOISE


def best_schedule(steps: int) -> float:
    """The least expected square after ``steps``."""
    return 1 / (1 / START + steps / NOISE)


def best_constant(steps: int) -> float:
    """The same under one learning rate, to a grid of 10,000."""
    low, high = map(math.log, RATES)

    def run(lr: float) -> float:
        v = START
        for _ in range(steps):
            v = after(v, lr)
        return v

    return min(run(math.exp(low + (high - low) * i / 9_999)) for i in range(10_000))


class NoisyQuadratic:
    """One epoch is one step; the loss is the expected square."""

    def __init__(self, spec: TrialSpec, **_: Any) -> None:
        self.spec, self.epoch, self.v = spec, 0, START

    @property
    def done(self) -> bool:
        return self.epoch >= self.spec.optim.epochs

    def step(self) -> EpochReport:
        self.epoch += 1
        self.v = after(self.v, self.spec.optim.lr)
        return EpochReport(self.epoch, {"loss": self.v})

    def save(self, folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"epoch-{self.epoch}.json"
        path.write_text(json.dumps(self.v))
        return Checkpoint(self.epoch, str(path), "")

    def restore(self, checkpoint: Checkpoint) -> None:
        self.epoch, self.v = checkpoint.epoch, json.loads(Path(checkpoint.path).read_text())

    def finish(self, _folder: Path, **_: Any) -> dict[str, float]:
        return {}


def searched(
    runs: Path, scheduler: dict[str, Any], *, trials: int, epochs: int, seed: int
) -> tuple[float, int]:
    """The best loss that a random search over the rate finds, and the epochs it took."""
    sweep = SweepSpec.model_validate(
        {
            "name": f"{scheduler['kind']}-{seed}",
            "question": "does the population find the schedule?",
            "base": {
                "data": {"kind": "digits"},
                "head": {"kind": "mlp"},
                "optim": {"kind": "sgd", "epochs": epochs},
            },
            "space": {"optim.lr": {"float": list(RATES), "log": True}},
            "search": {
                "trials": trials,
                "sampler": {"kind": "random"},
                "scheduler": scheduler,
                "objective": {"metric": "loss", "mode": "min"},
                "seed": seed,
            },
            "resources": {"checkpoint_every": epochs, "keep": []},
        }
    )
    log = MemoryLedger()
    with Driver(sweep, runs, open_log=lambda _: log) as driver:
        run_inline(driver, None, 1, NoisyQuadratic)
    events = log.events()
    [chosen] = [e for e in events if e["event"] == "chosen"]
    return chosen["value"], sum(e["event"] == "reported" for e in events)
