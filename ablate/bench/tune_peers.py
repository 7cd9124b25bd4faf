"""Empty trials in Ray Tune as its documentation has them run: two at a time, random search, one report each.

Set up in the peer's favour: no loggers and no output (on by default), a local folder as storage, Ray Train's
controller looking every 0.2 s instead of every 2 s, its metrics and its watcher of preemption switched off.
Each trial has one CPU; where a trial only drives a ``TorchTrainer``, the worker has nearly all of it, so that
two fit on two CPUs. Tune's own record of the experiment, the counterpart of our ledger, is written as often
as Tune chooses (at most every ten seconds, where the ledger is synced three times a trial).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune

from ablate.bench.empty import SLOTS, marginal
from ablate.bench.figures import BenchError, Measured

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
_SPACE = {
    "head.kind": tune.choice(["mlp", "directclr"]),
    "head.depth": tune.randint(1, 4),
    "head.sparsity.shrink": tune.loguniform(0.01, 10),
    "head.sparsity.penalty": tune.choice(["l1", "l21"]),
    "head.subvector": tune.randint(4, 49),
    "loss.margin.angular": tune.uniform(0.0, 0.5),
    "loss.margin.subtractive": tune.uniform(0.0, 0.4),
    "optim.lr": tune.loguniform(0.1, 1.0),
}


class _Ends(tune.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        self.ends.append(time.perf_counter())

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_functions(folder: Path, *, trials: int, reuse: bool = False) -> Measured:
    """Plain function trials; with ``reuse``, in actors that are used again (off by default in Tune)."""
    return _run(tune.with_resources(_report, {"CPU": 1}), folder, trials, reuse=reuse)


def run_trainers(folder: Path, *, trials: int) -> Measured:
    """Trials that each run a ``TorchTrainer`` of one worker, and pass its report on to Tune."""
    trainable = tune.with_parameters(_train, storage=str(folder))
    return _run(tune.with_resources(trainable, {"CPU": 0.01}), folder, trials)


def _report(config: dict[str, Any]) -> None:
    tune.report({"value": config["optim.lr"]})


def _train(config: dict[str, Any], storage: str) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    context = tune.get_context()
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
        run_config=ray.train.RunConfig(
            name=f"train-{context.get_trial_id()}",
            storage_path=storage,
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def _train_loop(config: dict[str, Any]) -> None:
    import ray.train

    ray.train.report({"value": config["optim.lr"]})


def _run(trainable: Callable[..., Any], folder: Path, trials: int, *, reuse: bool = False) -> Measured:
    """``cost``: s a trial once two trials have ended; ``start-up``: s until the first has."""
    watch, began = _Ends(), time.perf_counter()
    with _connected():
        tuner = tune.Tuner(
            trainable,
            param_space=_SPACE,
            tune_config=tune.TuneConfig(
                num_samples=trials,
                max_concurrent_trials=SLOTS,
                reuse_actors=reuse,
                metric="value",
                mode="max",
            ),
            run_config=tune.RunConfig(name="peer", storage_path=str(folder), verbose=0, callbacks=[watch]),
        )
        results = tuner.fit()
    if results.errors:
        raise BenchError(f"{results.num_errors} of Tune's trials failed: {results.errors[0]}")
    if len(watch.ends) != trials:
        raise BenchError(f"{len(watch.ends)} of Tune's {trials} trials ended")
    return {"cost": marginal(watch.ends[SLOTS - 1 :]), "start-up": watch.ends[0] - began}


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Ray on this machine, started as our own backend starts it."""
    os.environ |= _ENVIRONMENT
    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        include_dashboard=True,  # without it Ray Train cannot free the place of a trial that ended
        object_store_memory=200 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()
