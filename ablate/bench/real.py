"""Real trials: how much of the slots' time goes into training, start-up apart.

The trials are those of the sparse-head sweep with a fixed head (so that they take equally long), searched at
random over the learning rate, with its checkpoints, artifacts and ledger. They are as long as it takes for
each to last ``seconds`` on this machine: ``find_epochs`` finds out how many epochs that is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablate.bench.figures import BenchError, Measured
from ablate.data import build, default_cache
from ablate.ledger import Event
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.sweep.ray_backend import run_on_ray
from ablate.trial import EpochReport, TrialRun

_PROBED = 2  # the linear probe is fitted every so many epochs
_SAMPLE = 3  # times as many epochs are timed to find out how long one takes
_MARGIN = 1.1  # epochs more than the sample asks for: no trial is to be shorter than promised
STEP, WHOLE = "bench.step", "bench.whole"  # seconds, in the metrics of an epoch and of a finished trial


class TimedTrial(TrialRun):
    """A trial that says how long its epochs took, and all of it, from being made to its end."""

    def __init__(self, spec: TrialSpec, **seam: Any) -> None:
        self._began = time.perf_counter()
        super().__init__(spec, **seam)

    def advance(self, pause: Callable[[], bool]) -> EpochReport | None:
        began = time.perf_counter()
        report = super().advance(pause)
        if report is None:
            return None
        return EpochReport(report.epoch, {**report.metrics, STEP: time.perf_counter() - began})

    def finish(self, folder: Path | None, **labels: Any) -> dict[str, float]:
        metrics = super().finish(folder, **labels)
        return {**metrics, WHOLE: time.perf_counter() - self._began}


def real_sweep(trials: int, epochs: int, slots: int) -> SweepSpec:
    """A random search of ``trials`` trials, one worker of one CPU each; the same ones for any ``slots``."""
    return SweepSpec.model_validate(
        {
            "name": f"real-{slots}",
            "question": "How much of the slots' time goes into training?",
            "base": {
                "data": {"kind": "scattered-digits"},
                "encoder": {"kind": "tiny-resnet", "width": 24, "blocks": [1, 1]},
                "head": {"kind": "mlp", "depth": 2, "hidden": 128, "out": 64, "norm": "batch"},
                "loss": {"kind": "info-nce", "temperature": 0.2},
                "optim": {"kind": "sgd", "lr": 0.4, "epochs": epochs, "batch": 64, "warmup_epochs": 1},
                "measure": {"every": _PROBED},
            },
            "space": {"optim.lr": {"float": [0.1, 1.0], "log": True}},
            "search": {"trials": trials, "sampler": {"kind": "random"}},
            "resources": {"slots": slots},
        }
    )


def find_epochs(_folder: Path, *, seconds: float) -> Measured:
    """``epochs`` with which a trial that is alone on this machine trains for at least ``seconds``."""
    cache = default_cache()
    base = real_sweep(1, _PROBED * _SAMPLE, 1).base
    build(base.data, cache)
    trial = _alone(base, cache=cache)
    steps = []
    while not trial.done:
        steps.append(trial.step().metrics[STEP])
    # The first few pay for imports and compilation.
    typical = sum(steps[_PROBED:]) / (len(steps) - _PROBED)
    return {"epochs": float(math.ceil(_MARGIN * seconds / typical / _PROBED) * _PROBED)}


_alone = partial(TimedTrial, device=torch.device("cpu"), threads=1)  # as a slot without GPU makes it


def run_alone_in_turn(folder: Path, *, trials: int, epochs: int) -> Measured:
    """The trials one after another in one process, with nothing beside: ``whole``: s of all of them, from
    being made to their artifacts; ``shortest``: s of one."""
    events: list[Event] = []
    with Driver(real_sweep(trials, epochs, 1), folder) as driver:
        driver.subscribe(events.append)
        run_inline(driver, default_cache(), 1, partial(TimedTrial, device=torch.device("cpu")))
    whole = [event["metrics"][WHOLE] for event in _complete(events, trials)]
    return {"whole": sum(whole), "shortest": min(whole)}


def run_in_slots(folder: Path, *, trials: int, epochs: int, slots: int) -> Measured:
    """The same trials on the Ray backend. In seconds, ``steps``: inside the epochs of all trials, training
    and measuring; ``slots``: the slots' time, of each from the start of its first trial until the last of all
    trials has ended, so that start-up is left out and idling at the end is not; ``shortest``: of one trial,
    from being made to its artifacts.
    """
    events: list[Event] = []
    with Driver(real_sweep(trials, epochs, slots), folder) as driver:
        driver.subscribe(events.append)
        run_on_ray(driver, cache=default_cache(), make_trial=TimedTrial)
    complete = _complete(events, trials)
    end = max(event["time"] for event in complete)
    first: dict[str, float] = {}
    for event in events:
        if event["event"] == "started":
            first.setdefault(event["slot"], event["time"])
    if len(first) != slots:
        raise BenchError(f"{len(first)} of {slots} slots took part")
    return {
        "steps": sum(event["metrics"][STEP] for event in events if event["event"] == "reported"),
        "slots": sum(end - started for started in first.values()),
        "shortest": min(event["metrics"][WHOLE] for event in complete),
    }


def _complete(events: list[Event], trials: int) -> list[Event]:
    found = [e for e in events if e["event"] == "finished"]
    complete = [e for e in found if e["state"] == "COMPLETE"]
    if len(complete) != trials:
        reasons = "; ".join(e["reason"] for e in found if e["state"] != "COMPLETE")
        raise BenchError(f"{len(complete)} of {trials} trials completed: {reasons}")
    return complete
