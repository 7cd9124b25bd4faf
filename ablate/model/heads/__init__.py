"""Projection heads: representation ``h`` [B, D] -> embedding ``z`` [B, d], not normalised. One a file."""

from __future__ import annotations

from typing import cast

from torch import nn

from ablate.model.heads.registered import heads, register_head
from ablate.spec.head import HeadSpec

# isort: split
from ablate.model.heads import (  # noqa: F401 (they register)
    diagonal,
    directclr,
    frozen,
    identity_mlp,
    linear,
    low_rank,
    mlp,
    none,
    orthogonal,
    random_subvector,
    reweighting,
)
from ablate.model.heads.diagonal import Diagonal

__all__ = ["build_head", "head_weights", "register_head"]


def build_head(spec: HeadSpec, width: int) -> nn.Module:
    """The head of ``spec`` on representations of dimension ``width``, from torch's global generator.

    forward: h [B, width] -> z [B, d]. Raises ValueError if the head does not fit the width, TypeError on a
    class of spec that no builder is registered for.
    """
    return heads.build(spec, width)


def head_weights(head: nn.Module) -> list[nn.Parameter]:
    """Weights [out, in] of the head's linear layers in forward order, a diagonal's as [1, in].

    What sparsity acts on, and is measured on.
    """
    layers = (nn.Linear, Diagonal)
    return [cast(nn.Parameter, module.weight) for module in head.modules() if isinstance(module, layers)]
