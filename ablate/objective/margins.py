"""Angular and subtractive margins on the positive cosine, and what exactly they do to the gradient.

Rho et al., arXiv 2306.11526, in the CosFace / ArcFace form (recalled; the paper's text could not be read):
the positive logit cos(theta) becomes ``cos(theta + m1) - m2``; negatives are left alone. Applied after
normalisation and before division by the temperature t. A positive margin makes the pair look less similar
than it is, so the loss asks for more.

Beyond theta > pi - m1 (for m1 > 0) cos(theta + m1) turns up again: the widest positive pairs would be pushed
apart. There we continue with ``-2 - cos(theta + m1)``, the continuation of SphereFace (Liu et al., arXiv
1704.08063): it meets the curve with the same value (-1) and slope, and falls strictly on to theta = pi. (The
slope at the joint is 0, so a straight line of matched slope would be flat and give these pairs no gradient.)

A negative m1 is taken as written: positives closer than |m1| are pushed apart, to angle |m1|.

**The gradient** (derived here, checked against autograd). With p the positive's softmax probability without
a margin and delta = (cos(theta) - cos(theta + m1) + m2) / t, the margin multiplies the anchor's gradient by

    A(theta) = sin(theta + m1) / sin(theta) = cos(m1) + sin(m1) cot(theta)     the positive's alone
    B(p, delta) = 1 / (p exp(-delta) + 1 - p)                                  the positive's and negatives'

    dL/dtheta = [sin(theta) (1 - p) / t] A B          dL/dtheta_j = -[p_j sin(theta_j) / t] B
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def margin_positive(cos: Tensor, angular: float, subtractive: float) -> Tensor:
    """The margined positive logit, before the temperature; the shape of ``cos``.

    cos: cosines of positive pairs, any shape; rounding may carry them slightly beyond [-1, 1].
    angular: m1 in radians, |m1| <= pi / 2. subtractive: m2 in units of cosine.

    The derivative by theta is exact down to theta ~ 5 sqrt(eps) (2e-3 in fp32, 7e-8 in fp64) from 0 and pi;
    nearer, where d cos(theta + m1) / d cos(theta) diverges and cos no longer resolves theta, the function
    goes on as a straight line in cos with matched slope, so its gradient is always finite.

    Raises ValueError if |m1| > pi / 2.
    """
    if angular == 0:
        return cos - subtractive
    inner, turned, slope = _turned(cos, angular)
    return turned + slope.detach() * (cos - inner) - subtractive


def angle_factor(cos: Tensor, angular: float) -> Tensor:
    """A: the derivative of ``margin_positive`` by ``cos``; the shape of ``cos``, without gradient.

    sin(theta + m1) / sin(theta), or minus that beyond pi - m1, where the continuation holds.
    Raises ValueError if |m1| > pi / 2.
    """
    if angular == 0:
        return torch.ones_like(cos)
    return _turned(cos.detach(), angular)[2]


def probability_factor(log_p: Tensor, log_rest: Tensor, delta: Tensor) -> Tensor:
    """B = 1 / (p exp(-delta) + 1 - p), from log p and log(1 - p); between 1 and exp(delta), any shape.

    From logarithms, because 1 - p has no digits left where p is near 1 and B changes most. Without gradient;
    never infinite.
    """
    b = torch.exp(-torch.logaddexp(log_p - delta, log_rest)).detach()
    return b.clamp(max=torch.finfo(b.dtype).max)


def gradient_factors(
    cos: Tensor, p: Tensor, angular: float, subtractive: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """A and B, by which a margin multiplies an anchor's gradient; see the module. Without gradient.

    cos: the positive's cosine, any shape. p: its softmax probability without a margin, 0 to 1, of the same
    shape. angular: m1 in radians; subtractive: m2 in units of cosine; temperature > 0.

    The positive's gradient is multiplied by A B, each negative's by B. Domain: for theta within
    [.05, pi - m1 - .05] (m1 >= 0) A is sin(theta + m1) / sin(theta) as published. Beyond, both are those of
    ``margin_positive`` as it goes on: A B remains its gradient's ratio, but A is no longer that formula.

    Raises ValueError if |m1| > pi / 2 or the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, found {temperature}")
    cos, p = cos.detach(), p.detach()
    delta = (cos - margin_positive(cos, angular, subtractive)) / temperature
    return angle_factor(cos, angular), probability_factor(torch.log(p), torch.log1p(-p), delta)


def _turned(cos: Tensor, angle: float) -> tuple[Tensor, Tensor, Tensor]:
    """cos kept off +-1, the turned cosine there, and its derivative by cos."""
    if abs(angle) > math.pi / 2:
        raise ValueError(f"the angular margin must lie within [-pi/2, pi/2] radians, found {angle}")
    edge = 1 - 16 * torch.finfo(cos.dtype).eps
    inner = cos.clamp(-edge, edge)
    sin = torch.sqrt((1 - inner) * (1 + inner))
    turned = inner * math.cos(angle) - sin * math.sin(angle)
    slope = math.cos(angle) + math.sin(angle) * inner / sin
    # cos < cos(pi - m1): theta is beyond pi - m1.
    beyond = (inner < -math.cos(angle)) if angle > 0 else torch.zeros_like(inner, dtype=torch.bool)
    return inner, torch.where(beyond, -2 - turned, turned), torch.where(beyond, -slope, slope)
