"""Optimisers, learning-rate schedule and parameter groups.

Weight decay acts on weights (two or more dimensions) only; the head's is separate, since it confounds
sparsity penalties. Under LARS, biases and norms are neither decayed nor adapted (You et al., 1708.03888).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ablate.spec.trial import LARS as LARSSpec
from ablate.spec.trial import SGD, OptimSpec


class LARS(Optimizer):
    """SGD with momentum whose step on each weight is scaled by trust * |w| / (|g| + decay * |w|).

    The ratios stay on the device: nothing here waits for it.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, trust: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if weights := [p for p in trained if p.dim() > 1]:
                self._move(weights, self._adapted(weights, group), group)
            if others := [p for p in trained if p.dim() <= 1]:
                self._move(others, _gradients(others), group)

    def _adapted(self, weights: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Their gradients with weight decay, times their trust ratios."""
        grads, decay = _gradients(weights), group["weight_decay"]
        w, g = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, grads))
        ratio = group["trust"] * w / (g + decay * w)
        ratios = torch.where((w > 0) & (g > 0), ratio, 1.0).unbind()
        for p, of_p in zip(weights, ratios, strict=True):
            self.state[p]["ratio"] = of_p
        updates = torch._foreach_add(grads, weights, alpha=decay)
        torch._foreach_mul_(updates, ratios)
        return list(updates)

    def _move(self, trained: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        for p in trained:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        moments = [self.state[p]["momentum_buffer"] for p in trained]
        torch._foreach_mul_(moments, group["momentum"])
        torch._foreach_add_(moments, updates)
        torch._foreach_add_(trained, moments, alpha=-group["lr"])


def _gradients(trained: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in trained if p.grad is not None]


def build_optimiser(spec: OptimSpec, *, body: Sequence[nn.Module] = (), head: nn.Module | None) -> Optimizer:
    """Groups: weights of ``body`` (encoder, predictor, ...), of the head, and everything that never decays.

    What needs no gradient is left out.
    """
    heads = [head] if head is not None else []
    groups: list[dict[str, Any]] = [
        {"params": _trained(body, matrices=True), "weight_decay": spec.weight_decay},
        {"params": _trained(heads, matrices=True), "weight_decay": spec.head_weight_decay},
        {"params": _trained([*body, *heads], matrices=False), "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if isinstance(spec, LARSSpec):
        return LARS(groups, lr=spec.lr, momentum=spec.momentum, trust=spec.trust)
    # Fused: one pass over all weights, three to five times as fast as a loop on CPUs too (measured).
    if isinstance(spec, SGD):
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=True)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), fused=True)


def _trained(modules: Iterable[nn.Module], *, matrices: bool) -> list[nn.Parameter]:
    """Their parameters that take gradients: those of two or more dimensions, or the others."""
    found = (p for module in modules for p in module.parameters() if p.requires_grad)
    return [p for p in found if (p.dim() > 1) == matrices]


def learning_rate(spec: OptimSpec, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up to ``lr``, then a cosine to ``final_lr * lr``. ``step`` counts from 0."""
    warmup = spec.warmup_epochs * steps_per_epoch
    if step < warmup:
        return spec.lr * (step + 1) / (warmup + 1)
    total = spec.epochs * steps_per_epoch
    progress = (step - warmup) / max(total - warmup, 1)
    low = spec.final_lr * spec.lr
    return low + (spec.lr - low) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def proximal_step_size(optimiser: Optimizer, weight: Tensor) -> float | Tensor:
    """eta of the proximal step: lr; under LARS a tensor, lr x the weight's trust ratio."""
    for group in optimiser.param_groups:
        if any(p is weight for p in group["params"]):
            size: float | Tensor = group["lr"] * optimiser.state[weight].get("ratio", 1.0)
            return size
    raise ValueError("the weight is not one that this optimiser steps")
