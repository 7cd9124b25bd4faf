"""From what a method embedded to one number: the spec's loss, computed by workers that share a batch.

Every worker returns its share: shares sum to the loss of the whole batch, and their gradients, summed over
workers, to its gradient. InfoNCE splits its anchors among them; losses that need statistics of the whole
batch are computed by each on the gathered embeddings and divided by the number of workers.

An objective is a pure function in ``objective/``, the class of its spec, and a function registered here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ablate.model.methods import Embedded, Keyed, Logits, TwoViews
from ablate.objective import (
    alignment_loss,
    barlow_twins,
    info_nce_keys,
    info_nce_local,
    spectral_contrastive,
    supcon,
    vicreg,
)
from ablate.objective.effects import MarginOptions
from ablate.spec.base import Spec
from ablate.spec.loss import (
    Alignment,
    BarlowTwinsLoss,
    CrossEntropy,
    InfoNCE,
    SpectralLoss,
    SupConLoss,
    VICRegLoss,
)
from ablate.spec.parts import LossSpec
from ablate.spec.plugins import registered
from ablate.train.world import World

S = TypeVar("S", bound=Spec)
Loss = Callable[[S, Embedded, Tensor, World], Tensor]
_LOSSES: dict[type[Spec], Loss[Any]] = {}


def register_loss(spec_class: type[S]) -> Callable[[Loss[S]], Loss[S]]:
    """Decorate the function (spec, embedded, labels, world) -> share of the losses ``spec_class`` describes.

    Raises ValueError if it has one already.
    """

    def decorate(function: Loss[S]) -> Loss[S]:
        if spec_class in _LOSSES:
            raise ValueError(f"{spec_class.__name__} already has a function for its loss")
        _LOSSES[spec_class] = function
        return function

    return decorate


def loss_share(spec: LossSpec, embedded: Embedded, labels: Tensor, world: World) -> Tensor:
    """This worker's share of the loss; ``labels`` int64 [B] are those of its images.

    Raises TypeError where nothing is registered for the spec, or the loss does not take what the method gave;
    a valid spec has no such pair.
    """
    return registered(_LOSSES, type(spec), "loss")(spec, embedded, labels, world)


def whole_batch(spec: Spec, embedded: Embedded, world: World) -> tuple[Tensor, Tensor]:
    """z of both views of the whole batch, [N, d] each, differentiable; raises TypeError if there are none.

    The loss of the whole batch, divided by ``world.size``, is this worker's share.
    """
    if not isinstance(embedded, TwoViews):
        raise _refusal(spec, embedded)
    return world.gather(embedded.z1), world.gather(embedded.z2)


def _refusal(spec: Spec, embedded: Embedded) -> TypeError:
    return TypeError(f"{type(spec).__name__} does not take {type(embedded).__name__}")


@register_loss(InfoNCE)
def _info_nce(spec: InfoNCE, embedded: Embedded, _labels: Tensor, world: World) -> Tensor:
    match embedded:
        case TwoViews(z1, z2):
            return _contrast(spec, z1, z2, world)
        case Keyed(pairs, queue):
            return torch.stack([_against_keys(spec, q, k, queue, world) for q, k in pairs]).mean()
    raise _refusal(spec, embedded)


def _contrast(spec: InfoNCE, z1: Tensor, z2: Tensor, world: World) -> Tensor:
    return info_nce_local(
        z1,
        z2,
        world.gather(z1),
        world.gather(z2),
        world.rank * len(z1),
        temperature=spec.temperature,
        negatives=spec.negatives,
        **margin_options(spec),
    )


def _against_keys(spec: InfoNCE, query: Tensor, key: Tensor, queue: Tensor | None, world: World) -> Tensor:
    return info_nce_keys(
        query,
        world.gather(key),
        world.rank * len(query),
        queue=queue,
        temperature=spec.temperature,
        **margin_options(spec),
    )


def margin_options(spec: InfoNCE) -> MarginOptions:
    """The margin of ``spec`` as the keywords of every InfoNCE in ``objective``."""
    margin = spec.margin
    return {
        "margin_angular": margin.angular,
        "margin_subtractive": margin.subtractive,
        "effect": margin.effect,
        "emphasis": margin.emphasis,
        "mean_one": margin.mean_one,
    }


@register_loss(Alignment)
def _alignment(spec: Alignment, embedded: Embedded, _labels: Tensor, world: World) -> Tensor:
    if not isinstance(embedded, Keyed):
        raise _refusal(spec, embedded)
    losses = [alignment_loss(q, k, angular=spec.margin.angular) for q, k in embedded.pairs]
    return torch.stack(losses).mean() / world.size


@register_loss(CrossEntropy)
def _cross_entropy(spec: CrossEntropy, embedded: Embedded, labels: Tensor, world: World) -> Tensor:
    if not isinstance(embedded, Logits):
        raise _refusal(spec, embedded)
    return cross_entropy(embedded.logits, labels.repeat(2)) / world.size


@register_loss(BarlowTwinsLoss)
def _barlow_twins(spec: BarlowTwinsLoss, embedded: Embedded, _labels: Tensor, world: World) -> Tensor:
    z1, z2 = whole_batch(spec, embedded, world)
    return barlow_twins(z1, z2, off_diagonal=spec.off_diagonal) / world.size


@register_loss(VICRegLoss)
def _vicreg(spec: VICRegLoss, embedded: Embedded, _labels: Tensor, world: World) -> Tensor:
    z1, z2 = whole_batch(spec, embedded, world)
    weights = {name: getattr(spec, name) for name in ("invariance", "variance", "covariance")}
    return vicreg(z1, z2, **weights) / world.size


@register_loss(SpectralLoss)
def _spectral(spec: SpectralLoss, embedded: Embedded, _labels: Tensor, world: World) -> Tensor:
    z1, z2 = whole_batch(spec, embedded, world)
    return spectral_contrastive(z1, z2, radius=spec.radius) / world.size


@register_loss(SupConLoss)
def _supcon(spec: SupConLoss, embedded: Embedded, labels: Tensor, world: World) -> Tensor:
    z1, z2 = whole_batch(spec, embedded, world)
    margin = spec.margin
    whole = supcon(
        z1,
        z2,
        world.gather(labels),
        temperature=spec.temperature,
        margin_angular=margin.angular,
        margin_subtractive=margin.subtractive,
    )
    return whole / world.size
