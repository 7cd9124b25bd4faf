"""The workers that share one trial: who this one is, and the three ways they talk.

The trainer takes a ``World`` and knows nothing of who started its processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """``size`` workers in lock-step; this one is ``rank``. A world of one never communicates."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def single() -> World:
        return World()

    @staticmethod
    def from_process_group() -> World:
        """The world of torch's default process group, which the caller has initialised."""
        return World(dist.get_rank(), dist.get_world_size())

    def share(self, batch: Tensor) -> Tensor:
        """This worker's equal, contiguous share of a global batch [B, ...]; B must divide by ``size``."""
        return batch.chunk(self.size)[self.rank] if self.size > 1 else batch

    def gather(self, rows: Tensor) -> Tensor:
        """All workers' rows [B, d] -> [size * B, d] in rank order, differentiable in every worker's rows."""
        return _Gather.apply(rows, self) if self.size > 1 else rows  # type: ignore[no-untyped-call]

    def sum(self, value: Tensor) -> Tensor:
        """The sum over workers, differentiable: the gradient is summed over workers as well."""
        return _Sum.apply(value) if self.size > 1 else value  # type: ignore[no-untyped-call]

    def sum_(self, tensors: list[Tensor]) -> None:
        """Sum each tensor over workers in place, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World) -> Tensor:
        ctx.world = world
        parts = [torch.empty_like(rows) for _ in range(world.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # Every worker's loss depends on everybody's rows, so the shares of the gradient add up.
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return ctx.world.share(total), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total
