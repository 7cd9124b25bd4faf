"""SparseHead during training: the strength of the penalty, and how a step applies it.

``lambda`` is ``weight``, or follows from ``shrink`` (see ``spec.head.Sparsity``). ``reduction: mean``
divides it by the number of penalised groups, so that it means the same at every width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ablate.objective.sparsity import group_count, penalty, proximal_step_, uniform_step_, weight_from_shrink
from ablate.spec.head import Sparsity
from ablate.train.optimise import proximal_step_size


class Sparsifier:
    """Applies one head's penalty: to the loss, or as a proximal step after the optimiser's."""

    def __init__(self, spec: Sparsity, weights: Sequence[nn.Parameter], *, total_lr: float) -> None:
        """``total_lr``: the sum of the learning rates of all steps to come."""
        self.spec, self.weights = spec, list(weights)
        if spec.shrink is not None:
            strength = weight_from_shrink(spec.shrink, self.weights, spec.penalty, total_lr=total_lr)
        else:
            assert spec.weight is not None
            strength = spec.weight
            if spec.reduction == "mean":
                strength /= group_count(self.weights, spec.penalty)
        self.strength = strength

    def loss(self) -> Tensor | float:
        """What a gradient step adds to the objective; 0 where the step is taken after the optimiser's."""
        if self.spec.step != "gradient":
            return 0.0
        return self.strength * penalty(self.weights, self.spec.penalty, scale_free=self.spec.scale_free)

    @torch.no_grad()
    def after_step(self, optimiser: Optimizer) -> None:
        """The proximal or uniform step, threshold eta * lambda; nothing where the step is a gradient."""
        if self.spec.step == "gradient":
            return
        shorten_ = proximal_step_ if self.spec.step == "proximal" else uniform_step_
        for weight in self.weights:
            eta = proximal_step_size(optimiser, weight)
            shorten_(weight, self.spec.penalty, eta * self.strength)
