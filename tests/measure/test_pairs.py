"""Alignment, uniformity and spread at configurations whose values are known."""

import math

import pytest
import torch

from ablate.measure import alignment, spread, uniformity


def test_alignment_of_equal_orthogonal_and_opposite_pairs() -> None:
    z = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert alignment(z, 3 * z) == pytest.approx(0.0, abs=1e-6)
    assert alignment(z, -z) == pytest.approx(4.0, abs=1e-5)
    assert alignment(torch.eye(4), torch.eye(4).roll(1, 0)) == pytest.approx(2.0, abs=1e-6)


def test_uniformity_is_zero_in_collapse_and_known_on_orthonormal_points() -> None:
    assert uniformity(torch.ones(20, 3)) == pytest.approx(0.0, abs=1e-6)
    assert uniformity(torch.eye(5)) == pytest.approx(-4.0, abs=1e-5)


def test_spread_is_one_on_the_sphere_and_zero_when_collapsed_or_dead() -> None:
    z = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert spread(z) == pytest.approx(1.0, abs=0.02)
    assert spread(torch.ones(100, 32)) < 1e-6
    assert spread(torch.zeros(100, 32)) == 0.0
    assert math.isfinite(spread(torch.zeros(100, 32)))
