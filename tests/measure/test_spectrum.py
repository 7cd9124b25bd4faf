"""Effective rank: known spectra, invariances, and the warning where it cannot be trusted."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.measure import effective_rank, singular_values


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
