"""Ridge regression probes, against scikit-learn and on data whose R^2 is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from ablate.measure.regression import ridge_r2


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_there_is_found_and_what_is_not_is_not() -> None:
    x = normal(400, 6, seed=0)
    noise = normal(400, seed=1)
    y = torch.stack([x @ torch.arange(6.0, dtype=torch.float64) + 5, x[:, 0] + noise, noise], 1)
    perfect, half, nothing = ridge_r2(x[:200], y[:200], x[200:], y[200:]).tolist()
    assert perfect == pytest.approx(1, abs=1e-6)
    assert half == pytest.approx(0.5, abs=0.15)
    assert abs(nothing) < 0.1


def test_more_features_than_images_do_not_make_it_up() -> None:
    x, y = normal(120, 300, seed=2), normal(120, 1, seed=3)
    assert -0.2 < float(ridge_r2(x[:60], y[:60], x[60:], y[60:])) < 0.1


def test_it_agrees_with_scikit_learn() -> None:
    x, y = normal(90, 20, seed=4) * torch.logspace(0, -2, 20, dtype=torch.float64), normal(90, 1, seed=5)
    y = y + 4 * x[:, :1]
    x_train, y_train = x[:60].numpy(), y[:60, 0].numpy()
    scale = float(np.square(x_train - x_train.mean(0)).sum() / 20)
    reference = RidgeCV(alphas=[scale * 10.0**k for k in range(-6, 3)]).fit(x_train, y_train)
    expected = reference.score(x[60:].numpy(), y[60:, 0].numpy())
    assert float(ridge_r2(x[:60], y[:60], x[60:], y[60:])) == pytest.approx(expected, abs=1e-8)


def test_scale_and_shift_of_features_and_targets_do_not_matter() -> None:
    x, y = normal(100, 5, seed=6), normal(100, 2, seed=7)
    y = y + x[:, :2]
    first = ridge_r2(x[:50], y[:50], x[50:], y[50:])
    x, y = 1e3 * x + 7, 1e-3 * y - 2
    torch.testing.assert_close(ridge_r2(x[:50], y[:50], x[50:], y[50:]), first, atol=1e-6, rtol=0)


def test_features_without_variation_predict_the_mean() -> None:
    y = normal(40, 1, seed=8)
    assert float(ridge_r2(torch.ones(20, 3), y[:20], torch.ones(20, 3), y[20:])) <= 0
