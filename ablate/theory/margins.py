"""Margins (Rho et al., arXiv 2306.11526): the exact factors of their gradient, against autograd.

With theta the positive's angle and p its probability without a margin, a margin multiplies the positive's
gradient by A(theta) B(p, delta) and each negative's by B (derived; ``ablate.objective.margins``). Here every
anchor's gradients are taken by themselves, through the objectives that training uses: against keys with a
queue, and in the two-view loss. The angles are spread evenly over [.05, pi - m1 - .05]. Float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product as combinations

import torch
from torch import Tensor

from ablate.objective.effects import MarginOptions
from ablate.objective.info_nce import info_nce_keys, info_nce_local
from ablate.objective.margins import gradient_factors
from ablate.spec.theory import Margins
from ablate.theory.claim import Claim, at_most

_EDGE = 0.05


@dataclass(frozen=True)
class _Setting:
    angular: float
    subtractive: float
    temperature: float

    @property
    def margin(self) -> MarginOptions:
        return {"margin_angular": self.angular, "margin_subtractive": self.subtractive}


@dataclass(frozen=True)
class _Pairs:
    """Unit rows: anchors and positives [N, width] at angles ``theta`` [N], and negatives [K, width]."""

    theta: Tensor
    anchors: Tensor
    positives: Tensor
    queue: Tensor


def factors(spec: Margins) -> list[Claim]:
    """A B of positives and B of negatives against autograd's ratio; where A crosses 1."""
    generator = torch.Generator().manual_seed(spec.seed)
    found: list[list[Tensor]] = []
    for _ in range(spec.seeds):
        for values in combinations(spec.angular, spec.subtractive, spec.temperatures):
            setting = _Setting(*values)
            pairs = _drawn(spec, setting.angular, generator)
            found.append([*_keys(pairs, setting), _two_view(pairs, setting), _crossing(pairs, setting)])
    keys, queue, two_view, crossing = (
        torch.stack(columns).view(spec.seeds, -1) for columns in zip(*found, strict=True)
    )
    bound = spec.expect.error_at_most
    settings = (list(spec.angular), list(spec.subtractive), list(spec.temperatures))
    where = "every anchor, m1 in {}, m2 in {}, t in {}".format(*settings)
    return [
        at_most(
            f"A x B against autograd's ratio at the positive, keys and queue ({where})", keys.amax(1), bound
        ),
        at_most("B against autograd's ratio at the negatives of the queue", queue.amax(1), bound),
        at_most("A x B against autograd's ratio at the positive, two views", two_view.amax(1), bound),
        at_most("anchors where A > 1 is not theta < (pi - m1) / 2", crossing.sum(1), 0.0),
    ]


def _drawn(spec: Margins, angular: float, generator: torch.Generator) -> _Pairs:
    theta = torch.linspace(_EDGE, math.pi - angular - _EDGE, spec.anchors, dtype=torch.float64)
    anchors, others, queue = (
        torch.randn(n, spec.width, generator=generator, dtype=torch.float64)
        for n in (spec.anchors, spec.anchors, spec.negatives)
    )
    anchors = torch.nn.functional.normalize(anchors, dim=1)
    across = others - (others * anchors).sum(1, keepdim=True) * anchors
    across = torch.nn.functional.normalize(across, dim=1)
    positives = theta.cos().unsqueeze(1) * anchors + theta.sin().unsqueeze(1) * across
    return _Pairs(theta, anchors, positives, torch.nn.functional.normalize(queue, dim=1))


def _keys(pairs: _Pairs, setting: _Setting) -> tuple[Tensor, Tensor]:
    """Largest relative error at positives and at negatives, each anchor alone against the queue."""

    def gradients(margin: MarginOptions) -> tuple[Tensor, Tensor]:
        def loss(positive: Tensor, queue: Tensor, anchor: Tensor) -> Tensor:
            t = setting.temperature
            return info_nce_keys(anchor[None], positive[None], 0, queue=queue, temperature=t, **margin)

        by_anchor = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None, 0))
        found: tuple[Tensor, Tensor] = by_anchor(pairs.positives, pairs.queue, pairs.anchors)
        return found

    plain, margined = gradients({}), gradients(setting.margin)
    a, b = _factors(pairs, setting, pairs.anchors @ pairs.queue.T)
    return _error(margined[0], plain[0], a * b), _error(margined[1].flatten(1), plain[1].flatten(1), b)


def _two_view(pairs: _Pairs, setting: _Setting) -> Tensor:
    """The same at positives, in the two-view loss: an anchor's share of it, differentiated by its positive.

    In the share of image i, row i of the gathered second view is met only as the positive of anchor i. Images
    take their turn at row 0.
    """
    count = len(pairs.theta)
    z1, z2 = (torch.stack([z.roll(-i, 0) for i in range(count)]) for z in (pairs.anchors, pairs.positives))

    def gradients(margin: MarginOptions) -> Tensor:
        def share(gathered: Tensor, first: Tensor, second: Tensor) -> Tensor:
            t = setting.temperature
            return info_nce_local(first[:1], second[:1], first, gathered, 0, temperature=t, **margin)

        found: Tensor = torch.func.vmap(torch.func.grad(share))(z2, z1, z2)
        return found[:, 0]

    negatives = torch.cat([(z[:, 1:] * pairs.anchors.unsqueeze(1)).sum(-1) for z in (z1, z2)], dim=1)
    a, b = _factors(pairs, setting, negatives)
    return _error(gradients(setting.margin), gradients({}), a * b)


def _factors(pairs: _Pairs, setting: _Setting, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """A and B [N] of anchors with negatives' cosines [N, K]."""
    cos = (pairs.anchors * pairs.positives).sum(1)
    logits = torch.cat([cos.unsqueeze(1), negatives], dim=1) / setting.temperature
    p = torch.softmax(logits, dim=1)[:, 0]
    return gradient_factors(cos, p, setting.angular, setting.subtractive, setting.temperature)


def _error(margined: Tensor, plain: Tensor, ratio: Tensor) -> Tensor:
    """Largest over anchors of |margined - ratio plain| / |ratio plain|, for gradients [N, D]."""
    expected = ratio.unsqueeze(1) * plain
    off = torch.linalg.vector_norm(margined - expected, dim=1)
    errors: Tensor = off / torch.linalg.vector_norm(expected, dim=1)
    return errors.amax()


def _crossing(pairs: _Pairs, setting: _Setting) -> Tensor:
    """Number of anchors on the wrong side; without an angular margin A is 1 and there is no side."""
    if setting.angular == 0:
        return torch.zeros((), dtype=torch.float64)
    a, _ = gradient_factors(
        pairs.theta.cos(), torch.full_like(pairs.theta, 0.5), setting.angular, 0.0, setting.temperature
    )
    return ((a > 1) != (pairs.theta < (math.pi - setting.angular) / 2)).sum().double()
