"""What every method is: a model, what surrounds it in training, and what it hands to the loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ablate.model.contrastive import ContrastiveModel
from ablate.model.heads.mlp import perceptron
from ablate.spec.method import Predictor


@dataclass(frozen=True)
class TwoViews:
    """Embeddings [B, d] of both views, both with gradient; row i of both is one image."""

    z1: Tensor
    z2: Tensor


@dataclass(frozen=True)
class Keyed:
    """Queries [B, d] with gradient and their keys [B, d] without, by view; ``queue`` [K, d]: older keys."""

    pairs: tuple[tuple[Tensor, Tensor], ...]
    queue: Tensor | None = None


@dataclass(frozen=True)
class Logits:
    """Class logits [2B, C]: those of the first view, then those of the second."""

    logits: Tensor


Embedded = TwoViews | Keyed | Logits


class Method(nn.Module):
    """Two views [B, 3, S, S] -> what the loss takes. ``model`` is what is measured and kept."""

    def __init__(self, model: ContrastiveModel, *, apart: bool) -> None:
        """``apart``: views go through the networks one after the other, not as one batch of 2B."""
        super().__init__()
        self.model = model
        self.apart = apart

    def forward(self, v1: Tensor, v2: Tensor) -> Embedded:
        raise NotImplementedError

    def redraw(self, seed: int, step: int) -> None:
        """Called before each step: what a head draws anew, its momentum copy draws alike."""
        for module in self.modules():
            if module is not self and (redraw := getattr(module, "redraw", None)):
                redraw(seed, step)

    def after_step(self, embedded: Embedded, progress: float, gather: Callable[[Tensor], Tensor]) -> None:
        """Called after each optimiser step; ``progress`` in (0, 1] of the run, ``gather`` over workers."""

    def per_view(self, network: nn.Module, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """``network`` of both inputs: batch norm sees 2B rows at a time or, apart, B."""
        if self.apart:
            return network(x1), network(x2)
        first, second = network(torch.cat([x1, x2])).chunk(2)
        return first, second

    def embed(self, v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
        """z of both views."""
        h1, h2 = self.per_view(self.model.encoder, v1, v2)
        return self.per_view(self.model.head, h1, h2)


def full(z: Tensor) -> Tensor:
    """In float32 at least: losses are not computed in half precision."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def momentum_copy(model: ContrastiveModel) -> ContrastiveModel:
    """A copy that no gradient reaches. Its batch norms keep statistics of their own, in training mode."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def follow(copied: nn.Module, model: nn.Module, momentum: float) -> None:
    """copy <- momentum * copy + (1 - momentum) * model, parameters only."""
    if old := tuple(copied.parameters()):
        torch._foreach_lerp_(old, tuple(model.parameters()), 1 - momentum)


def rising(momentum: float, progress: float) -> float:
    """BYOL's schedule (Grill et al., 2006.07733, section 3.3): a cosine from ``momentum`` to 1."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2


def build_predictor(spec: Predictor, width: int) -> nn.Module:
    """z [B, width] -> prediction [B, width]."""
    return perceptron([width, *[spec.hidden] * (spec.depth - 1), width], norm=True, norm_last=False)
