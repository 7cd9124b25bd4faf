"""The shared trainer, one loop:

    views -> encoder -> h -> projection head -> z -> objective -> step

It gives a report an epoch and knows nothing of who listens. All randomness is keyed by seed, epoch and
sample, so its state is the model, the optimiser and the steps done: resuming is exact, within an epoch too.
No step waits for the device: what it is told is sent in advance, and what it found is read once an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ablate.data import Dataset, epoch_order
from ablate.model import head_weights
from ablate.model.methods import Embedded, Siamese
from ablate.spec.trial import TrialSpec
from ablate.train.criterion import loss_share
from ablate.train.error import TrainingError
from ablate.train.grad_cache import GradCache
from ablate.train.inner import InnerLoop
from ablate.train.networks import build_networks
from ablate.train.optimise import build_optimiser, learning_rate
from ablate.train.sparsify import Sparsifier
from ablate.train.world import World


class Diverged(Exception):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class TrainReport:
    """One epoch of training: ``epoch`` counts from 1; the speed is of those of its steps taken here."""

    epoch: int
    loss: float
    views_per_second: float


class Trainer:
    """Trains one model on its share of every batch; all workers of ``world`` run it in lock-step."""

    def __init__(self, spec: TrialSpec, data: Dataset, world: World, device: torch.device) -> None:
        self.spec, self.data, self.world, self.device = spec, data, world, device
        self.epoch = 0
        self.step = 0  # steps taken of the present epoch
        self.progress = 0  # steps taken by this object, for whoever wants to know that it moves
        self.method = build_networks(spec, classes=len(data.class_names), world=world, device=device)
        self.model = self.method.model
        self.inner = self._inner_loop()
        self.optimiser = self._optimiser()
        self.steps = self._steps_per_epoch()
        self.sparsifier = self._sparsifier()
        self.cache = self._grad_cache()
        self._loss = torch.zeros((), device=device)  # of the epoch's steps, summed
        self._timed, self._seconds = 0, 0.0  # steps of the epoch that this object took, and their time

    def _inner_loop(self) -> InnerLoop | None:
        inner = self.spec.inner
        if inner is None or self.spec.optim.epochs == 0:
            return None
        assert isinstance(self.method, Siamese)  # the spec allows no other
        return InnerLoop(self.spec, inner, self.method, self.world, self._autocast)

    def _optimiser(self) -> Optimizer | None:
        if self.spec.optim.epochs == 0:
            return None
        if not any(p.requires_grad for p in self.method.parameters()):
            raise TrainingError("neither encoder nor head has weights to train; set optim.epochs to 0")
        if self.inner and not any(p.requires_grad for p in self.model.encoder.parameters()):
            raise TrainingError("the encoder has no weights for the outer step; take inner out")
        around = [m for name, m in self.method.named_children() if name != "model"]
        head = None if self.inner else self.model.head  # else it has an optimiser of its own
        return build_optimiser(self.spec.optim, body=[self.model.encoder, *around], head=head)

    def _steps_per_epoch(self) -> int:
        batch, count = self.spec.optim.batch, len(self.data.train.labels)
        if self.spec.optim.epochs == 0:
            return 0
        if batch > count:
            raise TrainingError(f"optim.batch ({batch}) exceeds the {count} training images; lower it")
        if batch % self.world.size:
            raise TrainingError(f"optim.batch ({batch}) must divide by the {self.world.size} workers")
        if self.inner and self.inner.inner.batch == "fresh" and count < 2 * batch:
            raise TrainingError(
                f"inner.batch: fresh needs two batches an epoch, but {count} images make one of {batch}; "
                "lower optim.batch or use inner.batch: same"
            )
        return count // batch

    def _sparsifier(self) -> Sparsifier | None:
        sparsity = getattr(self.spec.head, "sparsity", None)
        if sparsity is None or not self.steps:
            return None
        optim, inner = self.spec.optim, self.spec.inner
        total = math.fsum(learning_rate(optim, s, self.steps) for s in range(self._total_steps))
        if inner is not None:
            total *= inner.steps * inner.lr
        return Sparsifier(sparsity, head_weights(self.model.head), total_lr=total)

    def _grad_cache(self) -> GradCache | None:
        most, share = self.spec.compute.microbatch, self.spec.optim.batch // self.world.size
        if most is None or most >= share:
            return None
        if share % most:
            raise TrainingError(
                f"compute.microbatch ({most}) must divide each worker's share of optim.batch ({share})"
            )
        return GradCache(self.method, most, self._autocast)

    @property
    def _total_steps(self) -> int:
        return self.spec.optim.epochs * self.steps

    def epochs(self) -> Iterator[TrainReport]:
        """The epochs still to do, each a report; raises Diverged when the loss stops being finite."""
        while self.epoch < self.spec.optim.epochs:
            report = self.advance(lambda: False)
            assert report is not None
            yield report

    def advance(self, pause: Callable[[], bool]) -> TrainReport | None:
        """Train to the end of the epoch and report it, or stop before, with None, where ``pause`` says so.

        It is asked after each of the epoch's steps but the last, and must answer alike on all workers. What
        ``state_dict`` then holds goes on, here or in another trainer, as if it had not stopped, bit for bit.
        Raises Diverged when the loss is no longer finite.
        """
        assert self.epoch < self.spec.optim.epochs
        began, first = time.perf_counter(), self.step
        self.method.train()
        if self.step == 0:
            self._loss, self._timed, self._seconds = torch.zeros((), device=self.device), 0, 0.0
            if self.inner:
                self.inner.begin_epoch(self.epoch)
        train, seed = self.data.train, self.spec.seed
        order = epoch_order(len(train.labels), seed=seed, epoch=self.epoch).to(self.device)
        train.expect(self._rows(order, self.step))
        paused = False
        while self.step < self.steps and not paused:
            rows, following = self._rows(order, self.step), self._rows(order, (self.step + 1) % self.steps)
            if self.step + 1 < self.steps:
                train.expect(following)
            self._loss = self._loss + self._train_step(rows, following, self.epoch * self.steps + self.step)
            self.step += 1
            paused = self.step < self.steps and pause()
        loss = float(self._loss) / self.steps  # waits for the device
        self._timed += self.step - first
        self._seconds += time.perf_counter() - began
        return None if paused else self._end_of_epoch(loss)

    def _rows(self, order: Tensor, step: int) -> Tensor:
        """Positions of the images that this worker sees in that step of the epoch."""
        batch = self.spec.optim.batch
        return self.world.share(order[step * batch : (step + 1) * batch])

    def _end_of_epoch(self, loss: float) -> TrainReport:
        self.epoch, self.step = self.epoch + 1, 0
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {self.epoch}")
        views = 2 * self.spec.optim.batch * self._timed
        return TrainReport(self.epoch, loss, views / self._seconds)

    def _train_step(self, rows: Tensor, others: Tensor, step: int) -> Tensor:
        """One optimiser step on the images at ``rows``; returns the loss of the whole batch.

        ``others``: another batch of the epoch, for inner steps on images that the outer step does not see.
        """
        assert self.optimiser is not None
        self.progress += 1
        rate = learning_rate(self.spec.optim, step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.method.redraw(self.spec.seed, step)
        self.optimiser.zero_grad(set_to_none=True)
        if self.inner:
            embedded = self._after_inner_steps(self.inner, rows, others, step, rate)
        else:
            embedded = self._embed(*self._views(rows))
        loss = loss_share(self.spec.loss, embedded, self.data.train.labels[rows], self.world)
        sparsifier = None if self.inner else self.sparsifier  # else the head's own steps have applied it
        penalty = sparsifier.loss() if sparsifier else 0.0
        # The penalty is the same on every worker and gradients are summed, so each adds its share.
        (loss + penalty / self.world.size).backward()  # type: ignore[no-untyped-call]
        if self.cache:
            self.cache.backward()
        loss = loss.detach()
        self.world.sum_([loss, *(p.grad for p in self.method.parameters() if p.grad is not None)])
        self.optimiser.step()
        if sparsifier:
            sparsifier.after_step(self.optimiser)
        self.method.after_step(embedded, (step + 1) / self._total_steps, self.world.gather)
        return loss

    def _autocast(self) -> torch.autocast:
        bf16 = self.spec.compute.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _views(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.data.train.two_views(rows, self.spec.views, seed=self.spec.seed, epoch=self.epoch)

    def _embed(self, v1: Tensor, v2: Tensor) -> Embedded:
        """What the loss takes of both views."""
        if self.cache:
            return self.cache.embed(v1, v2)
        with self._autocast():
            embedded: Embedded = self.method(v1, v2)
        return embedded

    def _after_inner_steps(
        self, inner: InnerLoop, rows: Tensor, others: Tensor, step: int, rate: float
    ) -> Embedded:
        """The same, through the head as its inner steps leave it; the outer step does not reach the head."""
        views = self._views(rows)
        with self._autocast():
            h = inner.method.encode(*views)
        if inner.inner.batch == "fresh" and inner.inner.steps:
            inner_h, labels = inner.fresh(self.data.train, others, self.epoch)
        else:
            inner_h, labels = h, self.data.train.labels[rows]
        inner.steps(inner_h, labels, step=step, lr=rate, sparsifier=self.sparsifier)
        with self._autocast(), inner.head_held():
            return inner.method.project(*h)

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs; loads with ``weights_only=True``."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss": self._loss,
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "inner": self.inner.optimiser.state_dict() if self.inner else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.step = state["epoch"], state["step"]
        self._loss, self._timed, self._seconds = state["loss"].to(self.device), 0, 0.0
        self.method.load_state_dict(state["method"])
        if self.optimiser:
            _take_moments(self.optimiser, state["optimiser"])
        if self.inner:
            _take_moments(self.inner.optimiser, state["inner"])


def _take_moments(optimiser: Optimizer, state: dict[str, Any]) -> None:
    """The moments of ``state``, but not its settings: those are this trial's, and the state may be of a trial
    with others that it goes on from."""
    settings = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({**state, "param_groups": settings})
