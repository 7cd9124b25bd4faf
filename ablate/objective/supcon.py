"""Supervised contrastive loss (Khosla et al., arXiv 2004.11362): positives are all images of one class.

For anchor i among the 2N rows of both views, with positives P(i), the other rows of its class, and s_ij the
logits (L_out, the sum over positives outside the logarithm):

    L_i = -1/|P(i)| sum_{p in P(i)} log( e^{s_ip} / sum_{a != i} e^{s_ia} ),    s_ij = c_ij / t

The authors' code multiplies by t / 0.07, its base temperature (recalled); here it is not scaled.

With margins (ours: the paper that proposes them has one positive an anchor) every positive's cosine is
margined, m(c_ip), wherever it stands. With all labels different this is ``info_nce`` with its margin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objective.embeddings import check_temperature, check_views, directions
from ablate.objective.margins import margin_positive


def supcon(
    z1: Tensor,
    z2: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    margin_angular: float = 0.0,
    margin_subtractive: float = 0.0,
) -> Tensor:
    """Mean over the 2N anchors of a whole batch: a scalar.

    z1, z2: embeddings [N, d] of the two views, N >= 2, of any scale; row i of both is one image, of class
    labels[i] (integers [N]). Half precision is computed in float32. temperature > 0; margin_angular in
    radians; margin_subtractive in units of cosine.

    Raises ValueError on mismatched shapes, fewer than 2 rows, or arguments out of range.
    """
    check_views(z1, z2, least=2, why="SupCon")
    check_temperature(temperature)
    if labels.shape != z1.shape[:1]:
        raise ValueError(f"labels must be [{len(z1)}], one an image, found {list(labels.shape)}")
    with torch.autocast(z1.device.type, enabled=False):
        u, classes = directions(torch.cat([z1, z2])), labels.repeat(2)
        itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
        positive = (classes[:, None] == classes) & ~itself
        cos = u @ u.T
        logits = torch.where(positive, margin_positive(cos, margin_angular, margin_subtractive), cos)
        logits = (logits / temperature).masked_fill(itself, -torch.inf)
        lost = torch.logsumexp(logits, dim=1, keepdim=True) - logits
        return (torch.where(positive, lost, 0.0).sum(1) / positive.sum(1)).mean()
