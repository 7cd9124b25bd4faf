"""Batch norm whose statistics are those of the whole batch, however many workers share it.

torch's ``SyncBatchNorm`` raises on CPU (seen with torch 2.13), so CPU worlds use this differentiable
version; with it N workers of batch B/N give the loss and gradients of one worker with batch B.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablate.train.world import World


class WorldBatchNorm(nn.Module):
    """Drop-in for ``nn.BatchNorm1d/2d``: takes its parameters and buffers over, under the same names."""

    def __init__(self, norm: _BatchNorm, world: World) -> None:
        super().__init__()
        self.world = world
        self.eps, self.momentum = norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C] or [B, C, H, W], each worker's share; half precision is computed in float32."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        dtype = x.dtype
        x = x.to(torch.promote_types(dtype, torch.float32))
        dims = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * self.world.size
        mean = self.world.sum(x.sum(dims)) / count
        centred = x - mean.view(shape)
        var = self.world.sum(centred.square().sum(dims)) / count
        self._track(mean.detach(), var.detach() * count / max(count - 1, 1))
        y = centred * torch.rsqrt(var + self.eps).view(shape)
        y = y if self.weight is None else y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_var: Tensor) -> None:
        self.num_batches_tracked += 1
        rate = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(unbiased_var, rate)


def share_batch_stats(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """Make every batch norm of ``model`` use the statistics of the whole world's batch."""
    if world.size == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, WorldBatchNorm(child, world))
        else:
            share_batch_stats(child, world, device)
    return model
