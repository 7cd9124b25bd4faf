"""SparseHead's sparsity of the projection head: penalties, proximal operators, strength and measures.

Song et al., arXiv 2307.08913, add a sparsity term on the head to any contrastive loss; its norm and
strength could not be read, so the family is offered, over the weight matrices W [out, in] of the head's
linear layers (biases and norms excluded):

- ``l1``: sum of |w|; the groups are the entries;
- ``l21``: sum over input features j of ||W[:, j]||_2; the groups are the columns. The one that matches the
  paper's assumption that a subset of the features is enough;
- ``l21-out``: the same over output features i, ||W[i, :]||_2; the groups are the rows;
- ``l2``: sum of w^2, a control that shrinks without making sparse; the groups are the entries;
- ``hoyer``: ||W||_1 / ||W||_2 of each layer, from 1 (one entry) to sqrt(entries); the group is the layer.

The groups of all layers are summed; reduction ``mean`` divides that, or equally lambda, by ``group_count``,
their number in the whole head, so that a strength means the same at any width. ``scale_free`` takes
W / ||W||_F for W: any norm penalty on a layer followed by batch norm, or on the last layer (z is
normalised), can be met by shrinking the scale without changing the function; this one cannot. Scale-free
``l1`` is the ``hoyer`` ratio.

**Proximal steps.** After an optimiser step, w <- prox_{eta lambda R}(w), which sets exact zeros. eta is

- SGD: the current lr. With momentum m the loss moves weights by lr / (1 - m) in the long run but the
  proximal step only by lr, so lambda balances the loss as (1 - m) lambda would inside it;
- AdamW: the current lr, not preconditioned, exactly like its decoupled weight decay;
- LARS: the current lr x the layer's current trust ratio, the step of that layer's own gradient.

Summed over a run, a group that the loss leaves alone loses lambda x (sum of eta) of its norm; ``shrink``
states that in units of the median group norm at the start, and ``weight_from_shrink`` gives lambda.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

Penalty = Literal["l1", "l21", "l21-out", "l2", "hoyer"]


def penalty(weights: Sequence[Tensor], kind: Penalty, *, scale_free: bool = False) -> Tensor:
    """R of the head, summed over groups and layers: a differentiable scalar >= 0 (without lambda).

    weights: at least one matrix [out, in]. At zeros the subgradient 0 is taken.
    Raises ValueError on an unknown kind or no weights.
    """
    return torch.stack([_of_layer(_unit(w) if scale_free else w, kind) for w in _some(weights)]).sum()


def group_count(weights: Sequence[Tensor], kind: Penalty) -> int:
    """What reduction ``mean`` divides by: the number of entries, columns or layers in the whole head."""
    return sum(_count(w, _known(kind)) for w in weights)


def _count(weight: Tensor, kind: Penalty) -> int:
    rows, columns = weight.shape
    return {"l1": rows * columns, "l2": rows * columns, "l21": columns, "l21-out": rows, "hoyer": 1}[kind]


@torch.no_grad()
def proximal_step_(weight: Tensor, kind: Penalty, threshold: float | Tensor) -> None:
    """weight [out, in] <- argmin_V ||V - weight||_F^2 / 2 + threshold * R(V), in place, with exact zeros.

    l1 moves every entry towards 0 by ``threshold``; l21 shortens every column by ``threshold``, l21-out every
    row; what is no longer than that becomes exactly 0. l2 divides by 1 + 2 threshold. threshold: eta *
    lambda, >= 0; a tensor [] on the weight's device is taken as it is, since to look at it is to wait for it.

    Raises ValueError for hoyer, which has no proximal operator here, or a negative threshold.
    """
    if not isinstance(threshold, Tensor) and not threshold >= 0:
        raise ValueError(f"the proximal threshold must be at least 0, found {threshold}")
    if kind == "l2":
        weight.div_(1 + 2 * threshold)
        return
    norms = _groups(weight, kind)
    weight.mul_((norms - threshold).clamp_min(0) / norms.clamp_min(torch.finfo(norms.dtype).tiny))


@torch.no_grad()
def uniform_step_(weight: Tensor, kind: Penalty, threshold: float | Tensor) -> None:
    """The matched control: scale ``weight`` as a whole to the norm that ``proximal_step_`` would leave it.

    So the layer loses exactly as much norm, and nothing becomes sparse. Raises as ``proximal_step_``.
    """
    shortened = weight.clone()
    proximal_step_(shortened, kind, threshold)
    tiny = torch.finfo(weight.dtype).tiny
    weight.mul_(torch.linalg.vector_norm(shortened) / torch.linalg.vector_norm(weight).clamp_min(tiny))


def weight_from_shrink(shrink: float, weights: Sequence[Tensor], kind: Penalty, total_lr: float) -> float:
    """lambda such that the proximal steps of a whole run take ``shrink`` median group norms off each group.

    lambda = shrink * median group norm / total_lr, of the summed penalty.

    weights: the head's matrices at the start; the median is over the groups of all of them. total_lr: the
    sum of eta over all steps of the run; under LARS, whose trust ratios are not known beforehand, the sum of
    lr, so that there ``shrink`` is in units of the mean ratio.

    Raises ValueError if total_lr is not positive, the median is 0, or kind takes no length off a group.
    """
    if kind == "l2":
        raise ValueError("l2 divides its groups and takes no length off them; state its strength as weight")
    if not total_lr > 0:
        raise ValueError(f"shrink needs a positive sum of learning rates over the run, found {total_lr}")
    norms = torch.cat([_groups(w.detach(), kind).flatten() for w in _some(weights)])
    median = float(np.median(norms.cpu().numpy()))
    if median == 0:
        raise ValueError("shrink is measured in the median group norm at the start, which is 0; use weight")
    return shrink * median / total_lr


@torch.no_grad()
def sparsity_measures(weights: Sequence[Tensor]) -> dict[str, float]:
    """Of a head's matrices in forward order; empty for a head without weights.

    ``zeros``: exact zeros as a share of all entries, in [0, 1]. ``active_inputs``: input features whose
    column in the first layer is not exactly zero, in [0, in]. ``hoyer``: Hoyer's sparsity
    (sqrt(n) - ||W||_1 / ||W||_2) / (sqrt(n) - 1) (Hoyer, JMLR 2004), in [0, 1], mean over layers; it does
    not depend on scale, needs no exact zeros, and is taken as 1 for a layer of zeros.
    """
    if not weights:
        return {}
    entries = sum(w.numel() for w in weights)
    return {
        "zeros": sum(int((w == 0).sum()) for w in weights) / entries,
        "active_inputs": float((weights[0] != 0).any(dim=0).sum()),
        "hoyer": sum(_hoyer_sparsity(w) for w in weights) / len(weights),
    }


def _hoyer_sparsity(weight: Tensor) -> float:
    w = weight.double()
    if not w.any() or w.numel() == 1:
        return 1.0
    root = math.sqrt(w.numel())
    return (root - float(w.abs().sum() / torch.linalg.vector_norm(w))) / (root - 1)


def _of_layer(weight: Tensor, kind: Penalty) -> Tensor:
    if _known(kind) == "hoyer":
        return _unit(weight).abs().sum()
    if kind == "l2":
        return weight.square().sum()
    return _groups(weight, kind).sum()


def _groups(weight: Tensor, kind: Penalty) -> Tensor:
    """Norms of the groups, in a shape that broadcasts against ``weight``."""
    if _known(kind) == "hoyer":
        raise ValueError("hoyer has no proximal step here (and so no shrink); use step: gradient and weight")
    if kind in ("l1", "l2"):
        return weight.abs()
    along = 0 if kind == "l21" else 1
    return cast(Tensor, torch.linalg.vector_norm(weight, dim=along, keepdim=True))


def _unit(weight: Tensor) -> Tensor:
    tiny = torch.finfo(weight.dtype).tiny
    return weight / cast(Tensor, torch.linalg.vector_norm(weight)).clamp_min(tiny)


def _known(kind: Penalty) -> Penalty:
    if kind not in get_args(Penalty):
        raise ValueError(f"penalty must be one of {', '.join(get_args(Penalty))}; found {kind!r}")
    return kind


def _some(weights: Sequence[Tensor]) -> Sequence[Tensor]:
    if not weights:
        raise ValueError("this head has no linear layer to make sparse; take sparsity out of it")
    return weights
