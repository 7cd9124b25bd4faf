"""Batch norm's running statistics, for forward passes that repeat another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def statistics_held(network: nn.Module) -> Iterator[None]:
    """Inside, the batch norms of ``network`` leave their running statistics alone, in training mode too.

    They do all else as ever: what a forward pass gives, and what it keeps for its gradient, is the same.
    """
    norms: list[Any] = [m for m in network.modules() if getattr(m, "num_batches_tracked", None) is not None]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, seen) in zip(norms, before, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, seen.clone()
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, seen
