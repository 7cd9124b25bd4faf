"""What a margin does to a batch's gradients: factors by angle and probability, positives against negatives.

For each anchor of InfoNCE over two views: theta, the angle to its positive; p, the positive's softmax
probability without a margin; and the factors a and b by which the margin, or the effect of it that is used,
multiplies gradients (``objective.effects``: a = A and b = B of Rho et al., arXiv 2306.11526, for the whole
margin). The positive's gradient on the anchor's direction has norm a b (1 - p) sin(theta) / t, that of all
negatives together b |sum_j p_j (u_j - c_j u)| / t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from ablate.objective import MarginOptions, gradient_scales
from ablate.objective.info_nce import Negatives

QUANTILES = (5, 25, 50, 75, 95)  # per cent
ANGLES = (0, 30, 60, 90, 180)  # degrees; edges of the bins
PROBABILITIES = (0, 10, 50, 90, 100)  # per cent


@dataclass(frozen=True)
class Anchors:
    """Of each anchor [M], float64."""

    theta: Tensor  # radians
    p: Tensor
    a: Tensor
    b: Tensor
    positive: Tensor  # norms of the gradients on the anchor's direction, times the temperature
    negative: Tensor

    @staticmethod
    def join(parts: list[Anchors]) -> Anchors:
        """Those of several batches."""
        return Anchors(*(torch.cat([getattr(x, f.name) for x in parts]) for f in fields(Anchors)))


def anchors_of(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float,
    negatives: Negatives = "two_view",
    **margin: Unpack[MarginOptions],
) -> Anchors:
    """The 2N anchors of one batch, z1 and z2 [N, d] of any scale, in the order of their rows.

    Arguments as for ``objective.info_nce``; what p is depends on N and on the negatives.
    """
    count = len(z1)
    u = normalize(torch.cat([z1, z2]).detach().to(torch.float64), dim=1)
    dot, rows = u @ u.T, torch.arange(2 * count, device=u.device)
    partner = rows.roll(count)
    cos = dot[rows, partner].clamp(-1, 1)
    view = rows >= count
    negative = (rows != rows[:, None]) & (rows != partner[:, None])
    if negatives == "other_view":
        negative &= view != view[:, None]
    logits = (dot / temperature).masked_fill(~negative, -torch.inf)
    rest = torch.logsumexp(logits, dim=1)
    log_p = logsigmoid(cos / temperature - rest)
    shares = torch.exp(logits - torch.logaddexp(cos / temperature, rest)[:, None])
    a, b = gradient_scales(cos, rest, temperature=temperature, **margin)
    towards = shares @ u - (shares * dot).sum(1, keepdim=True) * u
    sin = torch.sqrt((1 - cos) * (1 + cos))
    return Anchors(
        theta=torch.acos(cos),
        p=log_p.exp(),
        a=a,
        b=b,
        positive=a.abs() * b * shares.sum(1) * sin,
        negative=b * torch.linalg.vector_norm(towards, dim=1),
    )


def margin_statistics(anchors: Anchors, *, margin_angular: float = 0.0) -> dict[str, float]:
    """Scalars that describe the anchors, all finite:

    - ``theta.q05`` .. ``theta.q95`` (radians) and ``p.q05`` .. ``p.q95``: quantiles;
    - ``A``, ``B``, ``AB``: means of a, b and a b;
    - ``beyond``: share of anchors with theta > pi - m1, where A is the continuation's;
    - ``positive_to_negative``: total gradient norm of positives / of negatives, 0 to infinity; left out where
      negatives have none;
    - ``theta30_60.p50_90.share`` and so on: share of anchors in that bin of degrees and per cent, and
      ``.A``, ``.B``, ``.AB`` their means, left out where the bin is empty.
    """
    found = {
        f"{name}.q{q:02d}": float(torch.quantile(values, q / 100))
        for name, values in (("theta", anchors.theta), ("p", anchors.p))
        for q in QUANTILES
    }
    found |= _means(anchors, torch.ones_like(anchors.p, dtype=torch.bool))
    found["beyond"] = float((anchors.theta > math.pi - margin_angular).double().mean())
    if (against := float(anchors.negative.sum())) > 0:
        found["positive_to_negative"] = float(anchors.positive.sum()) / against
    return found | _bins(anchors)


def _bins(anchors: Anchors) -> dict[str, float]:
    found: dict[str, float] = {}
    of_angle = _bin_of(torch.rad2deg(anchors.theta), ANGLES)
    of_p = _bin_of(100 * anchors.p, PROBABILITIES)
    for i, angles in enumerate(pairwise(ANGLES)):
        for j, shares in enumerate(pairwise(PROBABILITIES)):
            inside = (of_angle == i) & (of_p == j)
            name = f"theta{angles[0]}_{angles[1]}.p{shares[0]}_{shares[1]}"
            found[f"{name}.share"] = float(inside.double().mean())
            if bool(inside.any()):
                found |= {f"{name}.{k}": value for k, value in _means(anchors, inside).items()}
    return found


def _bin_of(values: Tensor, edges: tuple[int, ...]) -> Tensor:
    """0 for the first bin; a value at an edge belongs to the bin above, the last edge to the last bin."""
    inner = torch.tensor(edges[1:-1], dtype=values.dtype, device=values.device)
    return torch.bucketize(values, inner, right=True)


def _means(anchors: Anchors, inside: Tensor) -> dict[str, float]:
    a, b = anchors.a[inside], anchors.b[inside]
    return {"A": float(a.mean()), "B": float(b.mean()), "AB": float((a * b).mean())}
