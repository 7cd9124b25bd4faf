"""One trial from spec to numbers, an epoch at a time: the trainer joined with the measures.

Every slot, gang and backend runs trials through this; it knows neither Ray nor MLflow.
"""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablate.data import default_cache, load
from ablate.durable import make_folder, sync, write_durably
from ablate.machine import cpu_model
from ablate.spec.identity import digest, run_identity
from ablate.spec.trial import TrialSpec
from ablate.train import Trainer, World
from ablate.trial.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ablate.trial.diagnoses import DIAGNOSES
from ablate.trial.measures import Probed, fit_probes, spectra, split_metrics, validation_metrics
from ablate.trial.outcome import TrialFailure, describe_failure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochReport:
    """Metrics after ``epoch`` epochs; an untrained encoder reports epoch 0."""

    epoch: int
    metrics: dict[str, float]


class TrialRun:
    """One trial on one worker of ``world``. Rank 0 measures and writes; the others only train.

    ``threads`` is the number of CPU threads the process uses from here on: on CPU it is part of what makes
    numbers equal bit for bit. ``through_collapse`` carries a collapsed trial to its end instead of raising,
    so that a confirmation seed keeps its real score. ``gpus`` is the share of a GPU that the process has;
    None: one, or none on a CPU. It bounds the memory that ``compute.images: auto`` counts on, and no number
    depends on it but ``views_per_second``. ``beton``: see ``data.load``.
    """

    def __init__(
        self,
        spec: TrialSpec,
        *,
        cache: Path | None = None,
        world: World | None = None,
        device: torch.device | None = None,
        threads: int = 1,
        through_collapse: bool = False,
        gpus: float | None = None,
        beton: str | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.spec, self.threads, self.through_collapse = spec, threads, through_collapse
        self.world = world or World.single()
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.gpus = float(self.device.type != "cpu") if gpus is None else gpus
        self.data = load(
            spec.data,
            seed=spec.seed,
            cache=cache or default_cache(),
            device=self.device,
            threads=threads,
            images=spec.compute.images,
            share=min(self.gpus, 1.0) if self.gpus else 1.0,
            beton=beton,
        )
        self.machines = self._machines()
        self.trainer = Trainer(spec, self.data, self.world, self.device)
        self._reported_untrained = False
        self._latest: Probed | None = None

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.trainer.epoch

    @property
    def progress(self) -> int:
        """Grows with every step of training: a trial in which it does not stands still."""
        return self.trainer.progress

    @property
    def done(self) -> bool:
        if self.spec.optim.epochs == 0:
            return self._reported_untrained
        return self.epoch >= self.spec.optim.epochs

    def step(self) -> EpochReport:
        """Train one epoch, or what is left of it, and measure it.

        Whatever goes wrong, collapse included, is a TrialFailure.
        """
        report = self.advance(lambda: False)
        assert report is not None
        return report

    def advance(self, pause: Callable[[], bool]) -> EpochReport | None:
        """The same, but stop before, with None, where ``pause`` says so: it is asked after every step within
        the epoch and must answer alike on all workers. What ``save`` then writes goes on from there, exactly.
        """
        try:
            return self._advance(pause)
        except Exception as error:
            raise describe_failure(error) from error

    def _advance(self, pause: Callable[[], bool]) -> EpochReport | None:
        metrics: dict[str, float] = {}
        if self.spec.optim.epochs == 0:
            self._reported_untrained = True
        else:
            self._latest = None
            report = self.trainer.advance(pause)
            if report is None:
                return None
            metrics = {"loss": report.loss, "views_per_second": report.views_per_second}
        if self.world.rank == 0 and (self.done or self.spec.measure.at(self.epoch)):
            metrics |= validation_metrics(self.trainer.model, self.data, self.spec, self._probed())
            self._check(metrics)
        return EpochReport(self.epoch, metrics)

    def _probed(self) -> Probed:
        """The probes of the present state; those of the last report serve ``finish`` too."""
        if self._latest is None:
            self._latest = fit_probes(self.trainer.model, self.data, self.spec)
        return self._latest

    def _check(self, metrics: dict[str, float]) -> None:
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if broken:
            raise TrialFailure("FAILED", f"nan: {', '.join(broken)} not finite in epoch {self.epoch}")
        if metrics["spread.z"] < self.spec.measure.collapse and not self.through_collapse:
            raise TrialFailure(
                "COLLAPSED",
                f"spread of z {metrics['spread.z']:.2g} below {self.spec.measure.collapse:g} "
                f"after epoch {self.epoch}",
            )

    def save(self, folder: Path) -> Checkpoint | None:
        """Write a checkpoint of the present state, within an epoch too (rank 0; other ranks return None)."""
        if self.world.rank != 0:
            return None
        return save_checkpoint(self.trainer.state_dict(), self.epoch, folder, step=self.trainer.step)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, exactly. Raises CheckpointError if the file is not the one written."""
        self.trainer.load_state_dict(load_checkpoint(checkpoint, self.device))
        self._latest = None

    def finish(
        self,
        folder: Path | None,
        *,
        arm: str = "trial",
        stage: str = "train",
        lineage: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, float]:
        """Read the test split, once, and write the trial's artifacts (rank 0; other ranks return {}).

        What ``measure.diagnose`` names is looked into as well.

        ``lineage`` names the trials from whose weights this one went on, the oldest first.

        Into ``folder``, if given: ``spec.json``; ``identity.json``, in which "timing" is what no number but
        ``views_per_second`` depends on: the share of a GPU, where the images were, the model of the CPUs, and
        on how many types of ``machines`` the workers ran; ``metrics.json``; ``correct.npz``: per-example
        correctness [N] of every probe; ``spectrum.npz``: singular values of h and z; ``encoder.pt`` and
        ``head.pt``.
        """
        if self.world.rank != 0:
            return {}
        correct, scores = split_metrics(self.trainer.model, self._probed(), self.data.test, self.spec)
        metrics = {f"{name}.test": score for name, score in scores.items()}
        for name in self.spec.measure.diagnose:
            found = DIAGNOSES[name](self.trainer.model, self.data, self.spec)
            metrics |= {key: value for key, value in found.items() if math.isfinite(value)}
            if odd := [key for key, value in found.items() if not math.isfinite(value)]:
                log.warning("left out, since not finite: %s", ", ".join(odd))
        if folder is not None:
            timing = {
                "gpus": self.gpus,
                "images": self.data.residence,
                "cpu": cpu_model(),
                "machines": self.machines,
            }
            identity = self._identity(arm, stage, lineage) | {"timing": timing}
            self._write_artifacts(folder, metrics, correct, identity)
        return metrics

    def _write_artifacts(
        self,
        folder: Path,
        metrics: dict[str, float],
        correct: dict[str, torch.Tensor],
        identity: dict[str, Any],
    ) -> None:
        make_folder(folder)
        model = self.trainer.model
        write_durably(folder / "correct.npz", _arrays(correct))
        write_durably(folder / "spectrum.npz", _arrays(spectra(self._probed().train)))
        for name, module in (("encoder", model.encoder), ("head", model.head)):
            write_durably(folder / f"{name}.pt", _weights(module))
        for name, value in (("spec", self.spec.as_dict()), ("identity", identity), ("metrics", metrics)):
            text = json.dumps(value, indent=2, sort_keys=True) + "\n"
            write_durably(folder / f"{name}.json", text.encode())
        sync(folder)  # before the trial counts as finished

    def _device(self) -> str:
        """The type of the accelerator."""
        return self.device.type if self.device.type == "cpu" else torch.cuda.get_device_name(self.device)

    def _machines(self) -> int:
        """How many types of machine the workers run on."""
        mine = digest(cpu_model() if self.device.type == "cpu" else self._device())
        own = torch.tensor([[int(mine[:8], 16)]], dtype=torch.float64, device=self.device)
        return len(set(self.world.gather(own).flatten().tolist()))

    def _identity(self, arm: str, stage: str, lineage: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return run_identity(
            self.spec,
            arm=arm,
            stage=stage,
            lineage=lineage,
            data=self.data.digest,
            device=self._device(),
            workers=self.world.size,
            threads=self.threads,
        )


def _arrays(tensors: dict[str, torch.Tensor]) -> memoryview:
    arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getbuffer()


def _weights(module: torch.nn.Module) -> memoryview:
    """On the CPU, so that a machine without a GPU loads them too."""
    written = io.BytesIO()
    torch.save({k: v.cpu() for k, v in module.state_dict().items()}, written)
    return written.getbuffer()


@dataclass(frozen=True)
class TrialResult:
    """``state`` is COMPLETE or a ``TrialFailure``'s; ``metrics`` are the last of each name, test included."""

    state: str
    reason: str
    epochs: int
    metrics: dict[str, float]
    curve: tuple[EpochReport, ...]


def run_trial(
    spec: TrialSpec,
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    threads: int = 1,
    on_epoch: Callable[[EpochReport], Any] | None = None,
) -> TrialResult:
    """Run one trial to its end in this process; artifacts go to ``folder`` if one is given.

    A failing trial is a result too: its state and reason say what happened.
    """
    curve: list[EpochReport] = []
    metrics: dict[str, float] = {}
    try:
        run = TrialRun(spec, cache=cache, threads=threads)
        while not run.done:
            report = run.step()
            curve.append(report)
            metrics |= report.metrics
            if on_epoch:
                on_epoch(report)
        metrics |= run.finish(folder)
    except Exception as error:
        failure = describe_failure(error)
        epochs = curve[-1].epoch if curve else 0
        return TrialResult(failure.state, failure.reason, epochs, metrics, tuple(curve))
    return TrialResult("COMPLETE", "", run.epoch, metrics, tuple(curve))
