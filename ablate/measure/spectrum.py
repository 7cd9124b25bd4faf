"""Spectra and ranks of features: how many dimensions a representation really uses.

Every rank here is exp(-sum q_k ln q_k), the exponential of the entropy of a normalised spectrum q. What
differs between papers is the spectrum: RankMe (Garrido et al., arXiv 2210.02885) takes the singular values
of the uncentred feature matrix; DirectCLR's figures take those of the covariance of L2-normalised rows;
LiDAR (Thilak et al., 2312.04000) those of the between-image covariance, whitened by the within-image one.
alpha-ReQ (Agrawal et al., NeurIPS 2022) is no rank but the slope at which a spectrum falls.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

SAMPLES_PER_DIMENSION = 10
_FITTED = 100  # ranks of the spectrum that alpha is fitted to, at most
_ROUNDING = 1e-6  # singular values below this share of the largest are left out of the fit


def singular_values(features: Tensor, *, center: bool = True, normalize_rows: bool = False) -> Tensor:
    """Singular values of the feature matrix [N, D], descending, float64, min(N, D) of them."""
    x = features.detach().to(torch.float64)
    if normalize_rows:
        x = torch.nn.functional.normalize(x, dim=1)
    if center:
        x = x - x[:1]  # else the rounding of the mean would look like spread where there is none
        x = x - x.mean(0)
    values: Tensor = torch.linalg.svdvals(x)
    return values


def effective_rank(
    features: Tensor,
    *,
    spectrum: Literal["singular", "covariance"] = "singular",
    center: bool = True,
    normalize_rows: bool = False,
) -> float:
    """exp of the entropy of the normalised spectrum of features [N, D]; between 1 and min(N, D).

    ``spectrum="singular"`` uses the singular values of the (centred) matrix, ``"covariance"`` the
    eigenvalues of its covariance, their squares. ``center=False`` with singular values is RankMe. Features
    without any spread have rank 0. Warns below 10 samples a dimension, where the estimate is biased low;
    raises ValueError if the features are not a finite matrix.
    """
    if features.dim() != 2 or not bool(torch.isfinite(features).all()):
        raise ValueError(f"features must be a finite [N, D] matrix, found shape {tuple(features.shape)}")
    if spectrum not in ("singular", "covariance"):
        raise ValueError(f"spectrum must be 'singular' or 'covariance', found {spectrum!r}")
    count, width = features.shape
    if count < SAMPLES_PER_DIMENSION * width:
        warnings.warn(
            f"effective rank of {width} dimensions from {count} samples is biased low; "
            f"use at least {SAMPLES_PER_DIMENSION * width}",
            stacklevel=2,
        )
    values = singular_values(features, center=center, normalize_rows=normalize_rows)
    return rank_of(values if spectrum == "singular" else values.square())


def rank_of(values: Tensor) -> float:
    """exp of the entropy of a non-negative spectrum [K]; 0 if it is all zero."""
    total = values.sum()
    if not total > 0:
        return 0.0
    q = values / total
    return float(torch.exp(-torch.special.xlogy(q, q).sum()))


def decay(values: Tensor) -> float | None:
    """alpha of alpha-ReQ (Agrawal et al., NeurIPS 2022): eigenvalue j of the covariance is about j^-alpha.

    ``values`` are the singular values of the centred features, descending. The slope of log eigenvalue
    against log rank is fitted with weights 1/rank, as the paper's code does after Stringer et al. (2019).
    The range is ours, for widths below 100 (theirs, as far as recalled, leaves out the first ranks): the
    first 100 ranks above rounding. None below three of these. The paper finds representations best near 1.
    """
    spectrum = values[:_FITTED].square()
    spectrum = spectrum[spectrum > 0]
    spectrum = spectrum[spectrum.sqrt() >= _ROUNDING * values[0]]
    if len(spectrum) < 3:
        return None
    rank = torch.arange(1, len(spectrum) + 1, dtype=torch.float64, device=values.device)
    x, y, weight = rank.log(), spectrum.log(), 1 / rank
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    return float(-(weight * x * y).sum() / (weight * x.square()).sum())


def lidar(features: Tensor, *, delta: float = 1e-4) -> float:
    """LiDAR (Thilak et al., arXiv 2312.04000) of features [N, Q, D] of Q views of each of N images.

    Sb is the covariance of the images' means, Sw the mean covariance of the views around them plus ``delta``
    (1e-4 in the paper, as far as recalled) on the diagonal; the rank is that of Sw^-1/2 Sb Sw^-1/2: in how
    many directions images differ by more than their views do. Of Q views 1/Q of Sw goes into Sb as well, so
    values are compared at equal Q only. Raises ValueError unless Q is at least 2.
    """
    if features.dim() != 3 or features.shape[1] < 2:
        raise ValueError(f"features must be [N, Q, D] with Q >= 2, found shape {tuple(features.shape)}")
    x = features.detach().to(torch.float64)
    count, views, width = x.shape
    means = x.mean(1)
    within = (x - means[:, None]).reshape(-1, width)
    between = means - means.mean(0)
    eye = torch.eye(width, dtype=x.dtype, device=x.device)
    root = torch.linalg.cholesky(within.T @ within / (count * views) + delta * eye)
    # The singular values of the whitened means, squared, are the eigenvalues of the whitened covariance.
    whitened = torch.linalg.solve_triangular(root, between.T, upper=False)
    return rank_of(torch.linalg.svdvals(whitened).square())
