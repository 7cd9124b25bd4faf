"""An anchor's InfoNCE loss with a margin, or with one of the margin's effects on the gradient alone.

Rho et al., arXiv 2306.11526, find that margins scale gradients in three ways; how they isolate them could not
be read. The way here is ours: with A and B of ``margins`` and sg the stop-gradient,

- ``margin``: the margin itself, positive logit cos(theta + m1) - m2;
- ``emphasis`` (E1): positive logit c -> s c + (1 - s) sg(c), its gradient times s at every angle;
- ``angle`` (E2): the same with s = sg(A(theta));
- ``probability`` (E3): the anchor's gradient, positive's and negatives', times sg(B(p, delta)). delta is the
  margin's own, so with m1 = 0 it is the constant m2 / t;
- ``angle-and-probability``: E2 and E3, which is exactly the gradient of ``margin`` by another way.

All but ``margin`` leave the loss's value what it is without margins, and only bend its gradient.
``mean_one`` divides A, and B, by its mean absolute value over the anchors given (A is negative only for
m1 < 0 within |m1|): the shape of an effect without its mean emphasis. A grows as 1 / theta towards 0, so a
few nearly identical pairs can carry the mean.
"""

from __future__ import annotations

from typing import Literal, TypedDict, Unpack, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ablate.objective.margins import angle_factor, margin_positive, probability_factor

Effect = Literal["margin", "emphasis", "angle", "probability", "angle-and-probability"]


class MarginOptions(TypedDict, total=False):
    """Keywords that every InfoNCE here takes; left out, there is no margin."""

    margin_angular: float  # m1 in radians, |m1| <= pi / 2; 0
    margin_subtractive: float  # m2 in units of cosine; 0
    effect: Effect  # "margin"
    emphasis: float  # s of effect "emphasis", and of no other; 1
    mean_one: bool  # False


def anchor_losses(
    cos: Tensor, rest: Tensor, *, temperature: float, **margin: Unpack[MarginOptions]
) -> Tensor:
    """-log(e^{m(c)/t} / (e^{m(c)/t} + e^rest)) of each anchor: [M], each >= 0.

    cos: cosines of the positives [M]. rest: log of the sum of e^{c_j/t} over each anchor's negatives [M].
    Raises ValueError on an unknown effect or |m1| > pi / 2.
    """
    if margin.get("effect", "margin") == "margin":
        angular, subtractive = margin.get("margin_angular", 0.0), margin.get("margin_subtractive", 0.0)
        return -logsigmoid(margin_positive(cos, angular, subtractive) / temperature - rest)
    a, b = gradient_scales(cos, rest, temperature=temperature, **margin)
    return _scaled(-logsigmoid(_scaled(cos, a) / temperature - rest), b)


def gradient_scales(
    cos: Tensor,
    rest: Tensor,
    *,
    temperature: float,
    margin_angular: float = 0.0,
    margin_subtractive: float = 0.0,
    effect: Effect = "margin",
    emphasis: float = 1.0,
    mean_one: bool = False,
) -> tuple[Tensor, Tensor]:
    """(a, b) [M] each, by which the effect multiplies gradients: positives' by a b, negatives' by b.

    Arguments and errors as ``anchor_losses``. Without gradient.
    """
    if effect not in get_args(Effect):
        raise ValueError(f"effect must be one of {', '.join(get_args(Effect))}; found {effect!r}")
    cos, rest = cos.detach(), rest.detach()
    a, b = torch.ones_like(cos), torch.ones_like(cos)
    if effect == "emphasis":
        return emphasis * a, b
    if effect != "probability":
        a = angle_factor(cos, margin_angular)
    if effect != "angle":
        delta = (cos - margin_positive(cos, margin_angular, margin_subtractive)) / temperature
        ahead = cos / temperature - rest
        b = probability_factor(logsigmoid(ahead), logsigmoid(-ahead), delta)
    return (_mean_one(a), _mean_one(b)) if mean_one else (a, b)


def _mean_one(factor: Tensor) -> Tensor:
    return factor / factor.abs().mean()


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    """The value of ``x`` with ``factor`` times its gradient."""
    return x.detach() + factor * (x - x.detach())
