"""The shared contrastive trainer, one loop:

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

from ablate.data import Dataset, epoch_order, two_views
from ablate.model import ContrastiveModel, build_model, head_weights
from ablate.objective import info_nce_local
from ablate.spec.trial import TrialSpec
from ablate.train.batch_norm import share_batch_stats
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
        model = build_model(spec).to(device)
        self.model: ContrastiveModel = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if spec.compute.batch_stats == "global":
            share_batch_stats(model, world, device)
        self.optimiser = self._optimiser()
        self.steps = self._steps_per_epoch()
        self.sparsifier = self._sparsifier()

    def _optimiser(self) -> Optimizer | None:
        if self.spec.optim.epochs == 0:
            return None
        if not list(self.model.parameters()):
            raise TrainingError("neither encoder nor head has weights to train; set optim.epochs to 0")
        return build_optimiser(self.spec.optim, self.model.encoder, self.model.head)

    def _steps_per_epoch(self) -> int:
        batch, count = self.spec.optim.batch, len(self.data.train.labels)
        if self.spec.optim.epochs == 0:
            return 0
        if batch > count:
            raise TrainingError(f"optim.batch ({batch}) exceeds the {count} training images; lower it")
        if batch % self.world.size:
            raise TrainingError(f"optim.batch ({batch}) must divide by the {self.world.size} workers")
        return count // batch

    def _sparsifier(self) -> Sparsifier | None:
        sparsity = getattr(self.spec.head, "sparsity", None)
        if sparsity is None or not self.steps:
            return None
        optim = self.spec.optim
        total = math.fsum(learning_rate(optim, s, self.steps) for s in range(optim.epochs * self.steps))
        return Sparsifier(sparsity, head_weights(self.model.head), total_lr=total)

    def epochs(self) -> Iterator[TrainReport]:
        """The epochs still to do, each a report; raises Diverged when the loss stops being finite."""
        while self.epoch < self.spec.optim.epochs:
            yield self._train_epoch()

    def _train_epoch(self) -> TrainReport:
        began = time.perf_counter()
        self.model.train()
        train, batch, seed = self.data.train, self.spec.optim.batch, self.spec.seed
        order = epoch_order(len(train.labels), seed=seed, epoch=self.epoch).to(self.device)
        total = torch.zeros((), device=self.device)
        for step in range(self.steps):
            rows = self.world.share(order[step * batch : (step + 1) * batch])
            v1, v2 = two_views(
                train.images[rows], train.ids[rows], self.spec.views, seed=seed, epoch=self.epoch
            )
            total += self._train_step(v1, v2, self.epoch * self.steps + step)
        self.world.sum_([total])
        loss = float(total) / self.steps
        self.epoch += 1
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {self.epoch}")
        views = 2 * batch * self.steps
        return TrainReport(self.epoch, loss, views / (time.perf_counter() - began))

    def _train_step(self, v1: Tensor, v2: Tensor, step: int) -> Tensor:
        """One optimiser step; returns this worker's share of the loss."""
        assert self.optimiser is not None
        self.progress += 1
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.spec.optim, step, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(v1, v2)
        penalty = self.sparsifier.loss() if self.sparsifier else 0.0
        # The penalty is the same on every worker and gradients are summed, so each adds its share.
        (loss + penalty / self.world.size).backward()  # type: ignore[no-untyped-call]
        self.world.sum_([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimiser.step()
        if self.sparsifier:
            self.sparsifier.after_step(self.optimiser)
        return loss.detach()

    def loss(self, v1: Tensor, v2: Tensor) -> Tensor:
        """This worker's share of the global InfoNCE loss; shares sum to it, gradients likewise.

        Both views go through the encoder in one forward, so batch norm sees all 2B images together.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.compute.precision == "bf16"):
            _, z = self.model(torch.cat([v1, v2]))
        z1, z2 = z.to(torch.promote_types(z.dtype, torch.float32)).chunk(2)
        spec = self.spec.loss
        return info_nce_local(
            z1,
            z2,
            self.world.gather(z1),
            self.world.gather(z2),
            self.world.rank * len(z1),
            temperature=spec.temperature,
            margin_angular=spec.margin.angular,
            margin_subtractive=spec.margin.subtractive,
            negatives=spec.negatives,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs; loads with ``weights_only=True``."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        if self.optimiser:
            # Its moments, but not its settings: those are this trial's, and the state may be of a trial with
            # others that it goes on from.
            settings = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({**state["optimiser"], "param_groups": settings})
