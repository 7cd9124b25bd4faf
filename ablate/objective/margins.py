"""Angular and subtractive margins on the positive cosine.

Rho et al., arXiv 2306.11526, in the CosFace / ArcFace form: the positive logit cos(theta) becomes
``cos(theta + m1) - m2``; negatives are left alone. Applied after normalisation and before division by the
temperature. A positive margin makes the pair look less similar than it is, so the loss asks for more.

Beyond theta > pi - m1 (for m1 > 0) cos(theta + m1) turns up again: the widest positive pairs would be pushed
apart. There we continue with ``-2 - cos(theta + m1)``, the continuation of SphereFace (Liu et al., arXiv
1704.08063): it meets the curve with the same value (-1) and slope, and falls strictly on to theta = pi. (The
slope at the joint is 0, so a straight line of matched slope would be flat and give these pairs no gradient.)

A negative m1 is taken as written: positives closer than |m1| are pushed apart, to angle |m1|.
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
    if abs(angular) > math.pi / 2:
        raise ValueError(f"the angular margin must lie within [-pi/2, pi/2] radians, found {angular}")
    return cos - subtractive if angular == 0 else _turned(cos, angular) - subtractive


def _turned(cos: Tensor, angle: float) -> Tensor:
    edge = 1 - 16 * torch.finfo(cos.dtype).eps
    inner = cos.clamp(-edge, edge)
    sin = torch.sqrt((1 - inner) * (1 + inner))
    turned = inner * math.cos(angle) - sin * math.sin(angle)
    slope = math.cos(angle) + math.sin(angle) * inner / sin
    # cos < cos(pi - m1): theta is beyond pi - m1.
    beyond = (inner < -math.cos(angle)) if angle > 0 else torch.zeros_like(inner, dtype=torch.bool)
    turned = torch.where(beyond, -2 - turned, turned)
    slope = torch.where(beyond, -slope, slope)
    return turned + slope.detach() * (cos - inner)
