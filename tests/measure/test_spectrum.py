"""Effective rank: known spectra, invariances, and the warning where it cannot be trusted."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.measure import decay, effective_rank, lidar, singular_values


def _with_spectrum(values: list[float], count: int = 400) -> torch.Tensor:
    """Centred features [count, len(values)] with exactly these singular values."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(count, len(values), generator=generator, dtype=torch.float64)
    left, _ = torch.linalg.qr(raw - raw.mean(0))
    right, _ = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    )
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def test_equal_singular_values_use_every_dimension() -> None:
    assert effective_rank(_with_spectrum([3.0] * 8)) == pytest.approx(8.0, abs=1e-9)


def test_one_direction_has_rank_one_and_no_spread_rank_zero() -> None:
    assert effective_rank(_with_spectrum([5.0, 0, 0, 0])) == pytest.approx(1.0, abs=1e-9)
    assert effective_rank(torch.ones(200, 4)) == 0.0
    flat = torch.tensor([0.1, 0.2, 0.3, 0.7]).repeat(200, 1)  # their mean is not exact
    assert effective_rank(flat, normalize_rows=True) == 0.0


def test_definition_by_hand_for_both_spectra() -> None:
    values = np.array([4.0, 2.0, 1.0])
    for spectrum, power in (("singular", 1), ("covariance", 2)):
        q = values**power / (values**power).sum()
        expected = math.exp(-(q * np.log(q)).sum())
        assert effective_rank(_with_spectrum(list(values)), spectrum=spectrum) == pytest.approx(
            expected, abs=1e-9
        )


def test_center_matters_and_uncentred_is_rankme() -> None:
    x = _with_spectrum([1.0, 1.0, 1.0, 1.0]) + 100.0
    assert effective_rank(x) == pytest.approx(4.0, abs=1e-6)
    assert effective_rank(x, center=False) < 1.1


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_scale_and_rotation_change_nothing(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    assert effective_rank(scale * x @ turn) == pytest.approx(effective_rank(x), rel=1e-9)
    assert 1.0 <= effective_rank(x) <= 6.0


def test_row_normalisation_removes_the_rows_lengths() -> None:
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stretched = x * torch.linspace(1, 50, 300, dtype=torch.float64)[:, None]
    kwargs = {"normalize_rows": True}
    assert torch.allclose(singular_values(x, **kwargs), singular_values(stretched, **kwargs))


def test_warns_below_ten_samples_a_dimension_only() -> None:
    x = torch.randn(100, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effective_rank(x)
    with pytest.warns(UserWarning, match="use at least 100"):
        effective_rank(x[:99])


def test_bad_features_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        effective_rank(torch.full((50, 2), float("nan")))
    with pytest.raises(ValueError, match="finite"):
        effective_rank(torch.zeros(50))
    with pytest.raises(ValueError, match="spectrum"):
        effective_rank(torch.randn(50, 2), spectrum="eigen")  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("width", [3, 32, 200])
def test_alpha_of_a_power_law_is_its_exponent(alpha: float, width: int) -> None:
    eigenvalues = 7.0 * torch.arange(1, width + 1, dtype=torch.float64) ** -alpha
    assert decay(eigenvalues.sqrt()) == pytest.approx(alpha, abs=1e-9)


def test_alpha_by_hand_weighs_each_rank_by_one_over_it() -> None:
    eigenvalues = np.array([4.0, 3.0, 1.0, 0.5])
    rank = np.arange(1, 5)
    slope = np.polyfit(np.log(rank), np.log(eigenvalues), 1, w=np.sqrt(1 / rank))[0]
    assert decay(torch.from_numpy(eigenvalues).sqrt()) == pytest.approx(-slope, abs=1e-12)


def test_alpha_leaves_rounding_out_and_needs_three_values() -> None:
    flat = torch.tensor([1.0, 1.0, 1.0, 1e-9, 0.0], dtype=torch.float64)
    assert decay(flat) == pytest.approx(0.0, abs=1e-12)
    assert decay(flat[:2]) is None
    assert decay(torch.zeros(8, dtype=torch.float64)) is None


def _views(between: list[float], within: float) -> torch.Tensor:
    """Two views [N, 2, D] an image, at its mean +- ``within`` in every dimension by turns.

    The means have covariance diag(``between``), the views around them within^2 times the identity.
    """
    width = len(between)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * width).reshape(
        -1, width
    )
    means = corners * torch.tensor(between, dtype=torch.float64).sqrt()
    around = math.sqrt(width) * within * torch.eye(width, dtype=torch.float64)
    pairs = [torch.stack([means + step, means - step], 1) for step in around]
    return torch.cat(pairs)


def test_lidar_of_equal_directions_is_their_number() -> None:
    assert lidar(_views([1.0] * 4, 0.5)) == pytest.approx(4.0, abs=1e-9)
    assert lidar(_views([1.0, 0.0, 0.0], 0.5)) == pytest.approx(1.0, abs=1e-9)
    assert lidar(torch.ones(8, 3, 4)) == 0.0


def test_lidar_by_hand_and_delta() -> None:
    between, within, delta = np.array([4.0, 1.0, 0.25]), 0.5, 0.1
    x = _views(list(between), within)
    x[..., 0] *= 3  # 9 times the variance, within and between
    whitened = between * np.array([9, 1, 1]) / (within**2 * np.array([9, 1, 1]) + delta)
    q = whitened / whitened.sum()
    assert lidar(x, delta=delta) == pytest.approx(math.exp(-(q * np.log(q)).sum()), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_lidar_does_not_see_an_invertible_map_that_a_rank_of_the_features_does(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 3, 5, generator=generator, dtype=torch.float64)
    mixed = x @ torch.diag(torch.tensor([1.0, 5.0, 25.0, 125.0, 600.0], dtype=torch.float64))
    assert lidar(mixed, delta=0.0) == pytest.approx(lidar(x, delta=0.0), rel=1e-6)
    assert 1.0 <= lidar(x) <= 5.0
    assert effective_rank(mixed.flatten(0, 1)) < effective_rank(x.flatten(0, 1)) - 1


def test_lidar_needs_several_views() -> None:
    with pytest.raises(ValueError, match=r"Q >= 2, found shape \(9, 1, 4\)"):
        lidar(torch.randn(9, 1, 4))
