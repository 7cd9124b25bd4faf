"""What a head does to each sample, to first order: its Jacobian J = dz/dh [d, D] and the subspace it selects.

Gupta et al. (arXiv 2212.11491, as a secondary text quotes them) find that the head learns a data-dependent
selection of the subspace of features that the loss acts on. How they measured it could not be read; the
quantities here are ours:

- ``jacobian_rank``: effective rank exp(entropy of sigma^2 / sum sigma^2) of J, mean over samples. It is that
  of z's covariance if h were white. Singular values, not their squares, would give a larger number;
- ``subspace_size``: k, that rank rounded; the subspace of a sample is spanned by J's first k right-singular
  vectors, fewer where J has fewer that are not 0;
- ``data_dependence``: 1 - the mean of cos^2 of the principal angles between the subspaces of two samples,
  over pairs of samples. In [0, 1]; 0 for a linear head, about 1 - k/D for unrelated subspaces;
- ``subspace_variance``: the share of Var(h) inside the mean subspace, the first k eigenvectors of the mean
  projector. k/D for directions that h does not care about.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.measure.spectrum import rank_of

_ROUNDING = 1e-6  # singular values below this share of the largest are not directions


def head_jacobians(head: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """J float64 [N, d, D] of the head at each row of h [N, D].

    The head must treat rows apart, as one in eval mode does.
    """
    with torch.enable_grad():
        inputs = h.detach().clone().requires_grad_()
        z = head(inputs)
        rows = [torch.autograd.grad(column.sum(), inputs, retain_graph=True)[0] for column in z.unbind(1)]
    return torch.stack(rows, 1).double()


def subspace_measures(jacobians: Tensor, h: Tensor) -> dict[str, float]:
    """The four measures (module docstring) of J [N, d, D], N >= 2, and representations h [M, D]."""
    _, sigma, right = torch.linalg.svd(jacobians.double(), full_matrices=False)
    rank = sum(rank_of(s) for s in sigma.square()) / len(sigma)
    size = max(1, round(rank))
    used = sigma[:, :size] > _ROUNDING * sigma[:, :1]
    basis = right[:, :size] * used[..., None]  # [N, k, D]
    mean_projector = torch.einsum("nki,nkj->ij", basis, basis) / len(basis)
    directions = torch.linalg.eigh(mean_projector).eigenvectors[:, -size:]
    centred = h.double() - h.double().mean(0)
    inside = (centred @ directions).square().sum() / centred.square().sum().clamp_min(1e-300)
    return {
        "jacobian_rank": rank,
        "subspace_size": float(size),
        "data_dependence": 1 - _overlap(mean_projector, used, size),
        "subspace_variance": float(inside),
    }


def _overlap(mean_projector: Tensor, used: Tensor, size: int) -> float:
    """Mean of tr(P_a P_b) / k over pairs a != b, from the mean of the projectors P alone."""
    count = len(used)
    pairs = count**2 * mean_projector.square().sum() - used.sum()
    return min(1.0, float(pairs) / (count * (count - 1) * size))
