"""Alignment of a prediction with a target, positives only (BYOL, SimSiam): negative cosine similarity.

SimSiam's loss (Chen and He, arXiv 2011.10566); BYOL's (Grill et al., 2006.07733), the squared distance of
the unit vectors, is 2 + 2 x this one. What keeps it from collapsing (predictor, stop-gradient, momentum copy)
is the method's.

Of a margin (Rho et al., arXiv 2306.11526) only the angle acts here: without negatives there is no
probability, and a subtractive margin adds a constant. The gradient by the angle is sin(theta + m1), which is
sin(theta) times A of ``margins``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objective.embeddings import directions
from ablate.objective.margins import margin_positive


def alignment_loss(p: Tensor, target: Tensor, *, angular: float = 0.0) -> Tensor:
    """Mean over rows of -m(cos(p, target)), m the angular margin: a scalar from -1; without margin, to 1.

    p, target: [N, d], N >= 1, of any scale; row i of both is one image. Half precision is computed in
    float32. Gradient flows into both: detach the target where the method stops it. angular: m1 in radians.

    Raises ValueError on mismatched shapes, no rows, or |m1| > pi / 2.
    """
    if p.dim() != 2 or p.shape != target.shape or not len(p):
        found = [list(p.shape), list(target.shape)]
        raise ValueError(f"p and target must both be [N, d] with N >= 1, found {found}")
    with torch.autocast(p.device.type, enabled=False):
        cos = (directions(p) * directions(target)).sum(1)
        return -margin_positive(cos, angular, 0.0).mean()
