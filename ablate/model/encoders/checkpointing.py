"""Activation checkpointing: less memory in training for one more forward pass of the encoder.

Of every residual block only the input is kept; what the gradient needs besides is computed again, block by
block, on the way back (Chen et al., arXiv 1604.06174). The numbers are the same, bit for bit. The blocks may
draw no random numbers of their own (dropout): both passes have to be the same.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ablate.model.statistics import statistics_held

_TORCHVISION = ("layer1", "layer2", "layer3", "layer4")


def checkpoint_stages(encoder: nn.Module) -> None:
    """Have the stages of ``encoder`` keep the inputs of their blocks alone, from now on.

    Its stages are each an ``nn.Sequential`` of blocks: those in its ``stages``, or torchvision's ``layer1``
    to ``layer4``. Its state keeps its names. Raises ValueError if it has neither, or where a stage is of a
    subclass, whose forward may do more.
    """
    parent, names = encoder, list(_TORCHVISION)
    if isinstance(stages := getattr(encoder, "stages", None), nn.Sequential):
        parent, names = stages, [name for name, _ in stages.named_children()]
    if not all(type(getattr(parent, name, None)) is nn.Sequential for name in names):
        raise ValueError(
            f"{type(encoder).__name__} has no stages whose activations could be computed again: neither "
            f"`stages`, an nn.Sequential of such, nor {', '.join(_TORCHVISION)}"
        )
    for name in names:
        getattr(parent, name).__class__ = Checkpointed  # the same module: names and mode stay


class Checkpointed(nn.Sequential):
    """Blocks in a row, each computed again for the gradient; in eval mode a plain ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            if self.training and torch.is_grad_enabled():
                contexts = partial(_contexts, block)
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
            else:
                x = block(x)
        return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first time, and of the second, which statistics have seen already."""
    return nullcontext(), statistics_held(block)
