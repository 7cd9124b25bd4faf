"""Margins: the published gradient decomposition, and the continuation beyond theta > pi - m1."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.objective import gradient_factors, margin_positive

# t = 0.2 and 10 negatives at cosine 0: (theta, m1, m2) -> p, A, B, dL/dtheta, with
# dL/dtheta = [sin(theta) (1 - p) / t] A B; p is the positive's softmax probability without a margin.
UNIT_VALUES = [
    ((1.0, 0.0, 0.0), 0.59843, 1.0, 1.0, 1.68955),
    ((1.0, 0.2, 0.0), 0.59843, 1.10763, 1.54467, 2.89069),
    ((1.0, 0.0, 0.2), 0.59843, 1.0, 1.60844, 2.71754),
    ((1.0, 0.2, 0.2), 0.59843, 1.10763, 2.03252, 3.80364),
    ((0.3, 0.2, 0.2), 0.92231, 1.62231, 3.24991, 0.60527),
    ((1.5, 0.2, 0.2), 0.12467, 0.99416, 1.12078, 4.86436),
]


@pytest.mark.parametrize(("case", "p", "a", "b", "by_theta"), UNIT_VALUES)
def test_unit_values(case: tuple[float, float, float], p: float, a: float, b: float, by_theta: float) -> None:
    angle, m1, m2 = case
    theta = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    negatives = torch.zeros(10, dtype=torch.float64)

    def probability(positive: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.cat([positive[None], negatives]) / 0.2, 0)[0]

    plain, margined = theta.cos(), margin_positive(theta.cos(), m1, m2)
    (slope,) = torch.autograd.grad(margined, theta, retain_graph=True)
    (gradient,) = torch.autograd.grad(-torch.log(probability(margined)), theta)
    assert probability(plain).item() == pytest.approx(p, abs=1e-5)
    assert -slope.item() / math.sin(angle) == pytest.approx(a, abs=1e-5)
    emphasis = (1 - probability(margined).item()) / (1 - probability(plain).item())
    assert emphasis == pytest.approx(b, abs=1e-5)
    assert gradient.item() == pytest.approx(by_theta, abs=1e-4)
    factors = gradient_factors(theta.cos(), probability(plain), m1, m2, 0.2)
    assert [f.item() for f in factors] == pytest.approx([a, b], abs=1e-5)


def at(theta: float, m1: float, m2: float = 0.0, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    """The margined cosine and its derivative by cos(theta)."""
    cos = torch.tensor(math.cos(theta), dtype=dtype, requires_grad=True)
    value = margin_positive(cos, m1, m2)
    (slope,) = torch.autograd.grad(value, cos)
    return value.item(), slope.item()


@given(theta=st.floats(1e-6, math.pi - 1e-6), m1=st.floats(-0.5, 1.5), m2=st.floats(-1, 1))
def test_exact_value_and_slope_from_near_zero_to_near_pi(theta: float, m1: float, m2: float) -> None:
    value, slope = at(theta, m1, m2)
    sign, level = (-1, -2) if m1 > 0 and theta > math.pi - m1 else (1, 0)
    assert value == pytest.approx(level + sign * math.cos(theta + m1) - m2, abs=1e-9)
    by_theta = -sign * math.sin(theta + m1)
    assert slope * -math.sin(theta) == pytest.approx(by_theta, abs=1e-4)


@given(m1=st.floats(1e-3, 1.5), a=st.floats(0, math.pi), b=st.floats(0, math.pi))
def test_a_wider_pair_never_scores_higher_under_a_positive_margin(m1: float, a: float, b: float) -> None:
    near, wide = sorted((a, b))
    gap = at(near, m1)[0] - at(wide, m1)[0]
    assert gap >= -1e-12
    if wide - near > 1e-3:
        assert gap > 0
    assert at(wide, m1)[1] >= 0


@given(m1=st.floats(0.05, 1.5))
def test_the_continuation_meets_the_curve_with_value_and_slope(m1: float) -> None:
    joint, step = math.pi - m1, 1e-7
    before, after = at(joint - step, m1), at(joint + step, m1)
    assert before[0] == pytest.approx(-1, abs=1e-12)
    assert after[0] == pytest.approx(-1, abs=1e-12)
    assert before[1] == pytest.approx(0, abs=1e-5)
    assert after[1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m1", [-0.5, 0.2, 1.5])
@pytest.mark.parametrize("cos", [1.0, -1.0])
def test_at_and_slightly_beyond_one_everything_is_finite(cos: float, m1: float, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    c = torch.tensor([cos, cos * (1 + eps), cos * (1 + 4 * eps)], dtype=dtype, requires_grad=True)
    value = margin_positive(c, m1, 0.0)
    (slope,) = torch.autograd.grad(value.sum(), c)
    theta = math.acos(cos)
    expected = -2 - math.cos(theta + m1) if cos < 0 and m1 > 0 else math.cos(theta + m1)
    # In these last few eps, one eps of cos is up to sqrt(eps) of theta: the line misses by no more than that.
    torch.testing.assert_close(value, torch.full_like(value, expected), rtol=0, atol=10 * math.sqrt(eps))
    assert slope.isfinite().all()
    by_theta = slope.abs() * torch.sqrt(1 - c.detach().clamp(-1, 1) ** 2)
    assert (by_theta <= 1).all()
    if m1 > 0:
        assert (slope > 0).all()  # still asks these pairs to come closer


def test_too_large_an_angular_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="angular margin must lie within"):
        margin_positive(torch.zeros(2), 2.0, 0.0)
