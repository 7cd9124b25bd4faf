"""Spectra and ranks of features: how many dimensions a representation really uses.

Every rank here is exp(-sum q_k ln q_k), the exponential of the entropy of a normalised spectrum q. What
differs between papers is the spectrum: RankMe (Garrido et al., arXiv 2210.02885) takes the singular values
of the uncentred feature matrix; DirectCLR's figures take those of the covariance of L2-normalised rows.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

SAMPLES_PER_DIMENSION = 10


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
