"""Linear regression probes: how much of a number can be read off a representation."""

from __future__ import annotations

import torch
from torch import Tensor

_STRENGTHS = tuple(10.0**k for k in range(-6, 3))


def ridge_r2(train: Tensor, targets: Tensor, held_out: Tensor, held_out_targets: Tensor) -> Tensor:
    """R^2 [T] on held-out rows of ridge regressions of targets [N, T] on features [N, D].

    R^2 = 1 - squared error / squared deviation from the held-out mean: 1 is perfect, 0 no better than a
    constant, and below 0 is possible. Features are centred and share one scale (as the linear probe's; see
    ``probes``); each target has the strength, of 1e-6 to 100 times the mean eigenvalue of their covariance,
    with the least leave-one-out error on ``train``. In float64. A target without variation gives NaN.
    """
    mean, target_mean = train.double().mean(0), targets.double().mean(0)
    x, y = train.double() - mean, targets.double() - target_mean
    left, sigma, right = torch.linalg.svd(x, full_matrices=False)
    projected = left.T @ y
    energy = sigma.square()
    best_error = torch.full_like(target_mean, torch.inf)
    weights = x.new_zeros(x.shape[1], y.shape[1])
    for strength in _STRENGTHS:
        inverse = (sigma / (energy + strength * energy.sum() / x.shape[1] + 1e-300))[:, None]
        shrink = sigma[:, None] * inverse
        leverage = 1 / len(x) + left.square() @ shrink
        error = ((y - left @ (shrink * projected)) / (1 - leverage).clamp_min(1e-6)).square().mean(0)
        weights = torch.where(error < best_error, right.T @ (inverse * projected), weights)
        best_error = torch.minimum(error, best_error)
    truth = held_out_targets.double()
    error = (truth - target_mean - (held_out.double() - mean) @ weights).square().sum(0)
    return 1 - error / (truth - truth.mean(0)).square().sum(0)
