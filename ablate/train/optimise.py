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
    """SGD with momentum whose step on each weight is scaled by trust * |w| / (|g| + decay * |w|)."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, trust: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(p, group)

    def _step_one(self, p: Tensor, group: dict[str, Any]) -> None:
        state, grad = self.state[p], p.grad
        assert grad is not None
        if p.dim() > 1:
            decay = group["weight_decay"]
            ratio = _trust_ratio(p, grad, group["trust"], decay)
            grad = grad.add(p, alpha=decay) * ratio
            state["ratio"] = ratio
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        state["momentum_buffer"].mul_(group["momentum"]).add_(grad)
        p.add_(state["momentum_buffer"], alpha=-group["lr"])


def _trust_ratio(p: Tensor, grad: Tensor, trust: float, decay: float) -> Tensor:
    w, g = p.norm(), grad.norm()
    ratio = trust * w / (g + decay * w)
    return torch.where((w > 0) & (g > 0), ratio, torch.ones_like(ratio))


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
    fused = bool(groups) and groups[0]["params"][0].is_cuda
    if isinstance(spec, LARSSpec):
        return LARS(groups, lr=spec.lr, momentum=spec.momentum, trust=spec.trust)
    if isinstance(spec, SGD):
        return torch.optim.SGD(
            groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.nesterov, fused=fused or None
        )
    return torch.optim.AdamW(groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), fused=fused or None)


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


def proximal_step_size(optimiser: Optimizer, weight: Tensor) -> float:
    """eta of the proximal step: lr under SGD and AdamW, lr x the weight's trust ratio under LARS."""
    for group in optimiser.param_groups:
        if any(p is weight for p in group["params"]):
            ratio = optimiser.state[weight].get("ratio", 1.0)
            return float(group["lr"]) * float(ratio)
    raise ValueError("the weight is not one that this optimiser steps")
