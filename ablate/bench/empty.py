"""Empty trials: what a trial costs when there is nothing to train. Ours, through the slots of a sweep.

An empty trial goes the whole way of a real one through driver, desk, post and slot. It is asked of the
sampler and written to the ledger with its resolved spec (fsync); started in a slot's process, where it is
made from the spec; it reports one epoch with one metric (fsync); it finishes with its test metrics, and its
outcome is told to the sampler and written (fsync). The live view follows all of it. It makes no checkpoint,
because a trial of one epoch makes none, and no artifacts. The space is that of the sparse-head sweep: eight
keys, some of them conditional.

Slots come up one by one. So that start-up can be left out, the first trial of each waits for the other slots.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from ablate.bench.figures import BenchError, Measured
from ablate.ledger import Event
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.live import LiveView
from ablate.sweep.ray_backend import run_on_ray
from ablate.tracking import Mirror
from ablate.trial import Checkpoint, EpochReport

SLOTS = 2
FIRST = 100  # trials with which later ones are compared
_METRIC = "probe.h.val"
_PATIENCE = 300.0  # seconds that the first slot waits for the others
_SPACE: dict[str, Any] = {
    "head.kind": {"choice": ["mlp", "directclr"]},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.sparsity.shrink": {"float": [0.01, 10], "log": True, "when": {"head.kind": "mlp"}},
    "head.sparsity.penalty": {"choice": ["l1", "l21"], "when": {"head.kind": "mlp"}},
    "head.subvector": {"int": [4, 48], "when": {"head.kind": "directclr"}},
    "loss.margin.angular": {"float": [0.0, 0.5]},
    "loss.margin.subtractive": {"float": [0.0, 0.4]},
    "optim.lr": {"float": [0.1, 1.0], "log": True},
}


class EmptyTrial:
    """Has the seam of ``ablate.trial.TrialRun``, and nothing behind it."""

    def __init__(self, spec: TrialSpec, *, cache: Path, **_: Any) -> None:
        self.spec, self.epoch = spec, 0
        _wait_for_all_slots(cache)

    @property
    def done(self) -> bool:
        return self.epoch >= self.spec.optim.epochs

    def advance(self, _pause: Callable[[], bool]) -> EpochReport:
        self.epoch += 1
        return EpochReport(self.epoch, {_METRIC: self.spec.optim.lr})

    def save(self, _folder: Path) -> Checkpoint | None:
        raise AssertionError("a trial of one epoch is done before it could be saved")

    def restore(self, _checkpoint: Checkpoint) -> None:
        raise AssertionError("nothing was saved")

    def finish(self, _folder: Path, **_: Any) -> dict[str, float]:
        return {"probe.h.test": self.spec.optim.lr}


@lru_cache  # once in each process
def _wait_for_all_slots(meeting: Path) -> None:
    meeting.mkdir(exist_ok=True)
    (meeting / str(os.getpid())).touch()
    deadline = time.monotonic() + _PATIENCE
    while len(list(meeting.iterdir())) < SLOTS:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only one slot came up within {_PATIENCE:g} s")
        time.sleep(0.02)


def empty_sweep(trials: int, sampler: str) -> SweepSpec:
    """A search of ``trials`` empty trials without early stopping or confirmation, on two slots."""
    return SweepSpec.model_validate(
        {
            "name": f"empty-{sampler}",
            "question": "What does a trial cost that does nothing?",
            "base": {
                "data": {"kind": "scattered-digits"},
                "encoder": {"kind": "tiny-resnet", "width": 24, "blocks": [1, 1]},
                "head": {"kind": "mlp", "depth": 2, "hidden": 128, "out": 64, "norm": "batch"},
                "optim": {"kind": "sgd", "lr": 0.4, "epochs": 1, "batch": 64, "warmup_epochs": 0.0},
            },
            "space": _SPACE,
            "search": {"trials": trials, "sampler": {"kind": sampler}},
            "resources": {"slots": SLOTS},
        }
    )


@dataclass
class Stopwatch:
    """Notes when each trial ended, by the ledger's clock, and when all slots had ended one."""

    began: float = field(default_factory=time.time)
    ends: list[float] = field(default_factory=list)
    warm: int | None = None  # trials that had ended when every slot had ended one
    lost: list[str] = field(default_factory=list)  # why trials did not complete
    _slots: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def __call__(self, event: Event) -> None:
        if event["event"] == "started":
            self._slots[event["trial"]] = event["slot"]
        elif event["event"] == "finished":
            self.ends.append(event["time"])
            self._seen.add(self._slots[event["trial"]])
            if event["state"] != "COMPLETE":
                self.lost.append(event["reason"])
            if self.warm is None and len(self._seen) == SLOTS:
                self.warm = len(self.ends)

    def measured(self) -> Measured:
        """In seconds a trial, once every slot has ended one: ``cost`` of all from there on, ``first`` of the
        first hundred of them, ``rest`` of those after these, ``last`` of the last hundred; ``typical first``
        and so on are medians instead of means, which a machine that halts for a second leaves as they are.
        In seconds, ``start-up``: until the first trial ended.

        Raises BenchError if a trial did not complete, a slot ended none, or too few were left when all had.
        """
        if self.lost:
            raise BenchError(f"{len(self.lost)} trials did not complete: {self.lost[0]}")
        if self.warm is None or len(self.ends) - self.warm < 4:
            raise BenchError(f"not every slot took part: {len(self.ends)} trials, warm after {self.warm}")
        ends = self.ends[self.warm - 1 :]
        first = min(FIRST, len(ends) // 2)
        return {
            "cost": marginal(ends),
            "first": marginal(ends[: first + 1]),
            "rest": marginal(ends[first:]),
            "last": marginal(ends[-first - 1 :]),
            "typical first": typical(ends[: first + 1]),
            "typical rest": typical(ends[first:]),
            "start-up": self.ends[0] - self.began,
        }


def marginal(ends: Sequence[float]) -> float:
    """Seconds a trial, from the end of the first of ``ends`` to that of the last."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def typical(ends: Sequence[float]) -> float:
    """Seconds a trial: the median over every two that follow one another, for two slots end two at a time."""
    return median(later - earlier for earlier, later in zip(ends, ends[2:], strict=False)) / 2


def run_empty(folder: Path, *, trials: int, sampler: str = "random", mirrored: bool = False) -> Measured:
    """Run empty trials through two slots of the Ray backend, ledger and live view on.

    ``mirrored``: with the MLflow mirror (SQLite) at work beside them. Then also ``mirror``: s a trial from
    warm slots until MLflow holds everything.
    """
    stopwatch = Stopwatch()
    with Driver(empty_sweep(trials, sampler), folder) as driver:
        mirror = Mirror(driver.folder) if mirrored else None
        with LiveView(Console(file=io.StringIO())) as view:
            driver.subscribe(view, past=True)
            driver.subscribe(stopwatch)
            run_on_ray(driver, cache=folder / "cache", make_trial=EmptyTrial)
        if not driver.finished:
            raise BenchError("the sweep was stopped before its end")
        if mirror is None:
            return stopwatch.measured()
        if not mirror.close(timeout=3600.0):
            raise BenchError("MLflow could not be written to")
        return stopwatch.measured() | {"mirror": _since_warm(stopwatch)}


def _since_warm(stopwatch: Stopwatch) -> float:
    warm = stopwatch.warm or 1
    return (time.time() - stopwatch.ends[warm - 1]) / (len(stopwatch.ends) - warm)
