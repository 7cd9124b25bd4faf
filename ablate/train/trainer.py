"""The shared trainer, one loop:

    views -> encoder -> h -> projection head -> z -> objective -> step

It is a generator of epoch reports and knows nothing of who listens. All randomness is keyed by seed, epoch
and sample, so its state is the model, the optimiser and the number of epochs done: resuming is exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ablate.data import Dataset, epoch_order
from ablate.model import head_weights
from ablate.model.methods import Embedded, Method, Siamese, build_method
from ablate.spec.trial import TrialSpec
from ablate.train.batch_norm import share_batch_stats
from ablate.train.criterion import loss_share
from ablate.train.inner import InnerLoop
from ablate.train.optimise import build_optimiser, learning_rate
from ablate.train.sparsify import Sparsifier
from ablate.train.world import World


class TrainingError(Exception):
    """The trial cannot be trained as specified; the message says which key to change."""


class Diverged(Exception):
    """The loss is no longer finite."""


@dataclass(frozen=True)
class TrainReport:
    """One epoch of training: ``epoch`` counts from 1."""

    epoch: int
    loss: float
    views_per_second: float


class Trainer:
    """Trains one model on its share of every batch; all workers of ``world`` run it in lock-step."""

    def __init__(self, spec: TrialSpec, data: Dataset, world: World, device: torch.device) -> None:
        self.spec, self.data, self.world, self.device = spec, data, world, device
        self.epoch = 0
        self.progress = 0  # steps taken by this object, for whoever wants to know that it moves
        self.method: Method = build_method(spec, classes=len(data.class_names)).to(device)
        if spec.compute.batch_stats == "global":
            share_batch_stats(self.method, world, device)
        self.model = self.method.model
        self.inner = self._inner_loop()
        self.optimiser = self._optimiser()
        self.steps = self._steps_per_epoch()
        self.sparsifier = self._sparsifier()

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

    @property
    def _total_steps(self) -> int:
        return self.spec.optim.epochs * self.steps

    def epochs(self) -> Iterator[TrainReport]:
        """The epochs still to do, each a report; raises Diverged when the loss stops being finite."""
        while self.epoch < self.spec.optim.epochs:
            yield self._train_epoch()

    def _train_epoch(self) -> TrainReport:
        began = time.perf_counter()
        self.method.train()
        train, batch, seed = self.data.train, self.spec.optim.batch, self.spec.seed
        order = epoch_order(len(train.labels), seed=seed, epoch=self.epoch).to(self.device)
        total = torch.zeros((), device=self.device)
        if self.inner:
            self.inner.begin_epoch(self.epoch)
        for step in range(self.steps):
            rows = self.world.share(order[step * batch : (step + 1) * batch])
            # Another batch of the epoch, for inner steps on images that the outer step does not see.
            other = (step + 1) % self.steps
            others = self.world.share(order[other * batch : (other + 1) * batch])
            total += self._train_step(rows, others, self.epoch * self.steps + step)
        self.world.sum_([total])
        loss = float(total) / self.steps
        self.epoch += 1
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {self.epoch}")
        views = 2 * batch * self.steps
        return TrainReport(self.epoch, loss, views / (time.perf_counter() - began))

    def _train_step(self, rows: Tensor, others: Tensor, step: int) -> Tensor:
        """One optimiser step on the images at ``rows``; returns this worker's share of the loss."""
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
            embedded = self._embed(rows)
        loss = loss_share(self.spec.loss, embedded, self.data.train.labels[rows], self.world)
        sparsifier = None if self.inner else self.sparsifier  # else the head's own steps have applied it
        penalty = sparsifier.loss() if sparsifier else 0.0
        # The penalty is the same on every worker and gradients are summed, so each adds its share.
        (loss + penalty / self.world.size).backward()  # type: ignore[no-untyped-call]
        self.world.sum_([p.grad for p in self.method.parameters() if p.grad is not None])
        self.optimiser.step()
        if sparsifier:
            sparsifier.after_step(self.optimiser)
        self.method.after_step(embedded, (step + 1) / self._total_steps, self.world.gather)
        return loss.detach()

    def _views(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.data.train.two_views(rows, self.spec.views, seed=self.spec.seed, epoch=self.epoch)

    def _autocast(self) -> torch.autocast:
        bf16 = self.spec.compute.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def _embed(self, rows: Tensor) -> Embedded:
        """What the loss takes of both views of the images at ``rows``."""
        with self._autocast():
            embedded: Embedded = self.method(*self._views(rows))
        return embedded

    def _after_inner_steps(
        self, inner: InnerLoop, rows: Tensor, others: Tensor, step: int, rate: float
    ) -> Embedded:
        """The same, through the head as its inner steps leave it; the outer step does not reach the head."""
        with self._autocast():
            h = inner.method.encode(*self._views(rows))
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
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "inner": self.inner.optimiser.state_dict() if self.inner else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
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
