"""A small population of real trials, and for every child whether it went on from its parent's weights."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data import default_cache
from ablate.ledger import Event
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.trial import Checkpoint, TrialRun

SWEEP: dict[str, Any] = {
    "name": "population",
    "question": "does a child start from its parent's weights?",
    "base": {
        "data": {"kind": "digits", "train": 300, "test": 100},
        "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
        "head": {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8},
        "optim": {"kind": "sgd", "epochs": 3, "batch": 64, "warmup_epochs": 0.0},
    },
    "space": {
        "optim.lr": {"float": [0.01, 0.5], "log": True},
        "optim.momentum": {"float": [0.5, 0.95]},
        "loss.temperature": {"float": [0.1, 1.0], "log": True},
    },
    "search": {
        "trials": 4,
        "sampler": {"kind": "random"},
        "scheduler": {
            "kind": "pbt", "every": 1, "mutate": ["optim.lr", "optim.momentum", "loss.temperature"],
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class Inheritance:
    """``digest``: of the parent's checkpoint as found on the disk when the child was asked for."""

    child: str
    parent: str
    epoch: int
    digest: str
    same_digest: bool
    same_numbers: bool
    other_parameters: bool
    change: str


def run_population(folder: Path, cache: Path | None = None) -> list[Inheritance]:
    """Run it, and repeat the first epoch of every child from a copy of its parent's checkpoint."""
    cache = cache or default_cache()
    copies: dict[str, Path] = {}
    events: list[Event] = []

    def subscriber(event: Event) -> None:
        events.append(event)
        if event["event"] == "asked" and event["parent"]:
            copies[event["trial"]] = folder / f"parent-of-{event['trial']}.pt"
            shutil.copy(folder / "population" / event["checkpoint"]["path"], copies[event["trial"]])

    with Driver(SweepSpec.model_validate(SWEEP), folder) as driver:
        driver.subscribe(subscriber, past=True)
        run_inline(driver, cache, 1)
        assert driver.finished
    asked = {e["trial"]: e for e in events if e["event"] == "asked"}
    return [_inheritance(asked, events, child, copy, cache) for child, copy in copies.items()]


def _inheritance(
    asked: dict[str, Event], events: list[Event], child: str, copy: Path, cache: Path
) -> Inheritance:
    own = asked[child]
    parent, checkpoint = own["parent"], own["checkpoint"]
    written = [e for e in events if e["event"] == "checkpointed" and e["trial"] == parent]
    [saved] = [e for e in written if e["epoch"] == checkpoint["epoch"]]
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()[:16]
    trial = TrialRun(TrialSpec.model_validate(own["spec"]), cache=cache, threads=1)
    trial.restore(Checkpoint(checkpoint["epoch"], str(copy), digest))
    again = trial.step()
    [reported] = [
        e["metrics"]
        for e in events
        if e["event"] == "reported" and e["trial"] == child and e["epoch"] == again.epoch
    ]
    return Inheritance(
        child=child,
        parent=parent,
        epoch=checkpoint["epoch"],
        digest=digest,
        same_digest=digest == checkpoint["digest"] == saved["digest"],
        same_numbers=all(again.metrics[k] == v for k, v in reported.items() if k != "views_per_second"),
        other_parameters=own["params"] != asked[parent]["params"],
        change=", ".join(f"{k} {asked[parent]['params'][k]:.3g} → {v:.3g}" for k, v in own["params"].items()),
    )
