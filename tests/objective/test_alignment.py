"""Alignment: its value at known angles, its gradient under a margin, and what flows where."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablate.objective import alignment_loss


def at(theta: float) -> tuple[Tensor, Tensor]:
    """A pair at this angle, of lengths 3 and 0.5."""
    p = torch.tensor([[3.0, 0.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[math.cos(theta), math.sin(theta)]], dtype=torch.float64) / 2
    return p, target.requires_grad_()


@given(theta=st.floats(0.05, math.pi - 0.6), m1=st.floats(-0.5, 0.5))
def test_value_and_gradient_by_the_angle(theta: float, m1: float) -> None:
    p, target = at(theta)
    loss = alignment_loss(p, target, angular=m1)
    assert loss.item() == pytest.approx(-math.cos(theta + m1), abs=1e-9)
    (by_p,) = torch.autograd.grad(loss, p)
    # Turning p away from the target lowers theta's cosine: d loss / d theta over the length of p.
    assert by_p[0, 1].item() == pytest.approx(-math.sin(theta + m1) / 3, abs=1e-7)
    assert by_p[0, 0].item() == pytest.approx(0, abs=1e-9)  # the length does not matter


def test_mean_over_rows_and_gradient_into_both_sides() -> None:
    pairs = [at(theta) for theta in (0.0, math.pi / 2, math.pi)]
    p, target = (torch.cat(side) for side in zip(*pairs, strict=True))
    assert alignment_loss(p, target).item() == pytest.approx(0, abs=1e-12)
    assert alignment_loss(p[:1], target[:1]).item() == pytest.approx(-1)
    p, target = at(1.0)
    alignment_loss(p, target).backward()
    assert target.grad is not None
    assert target.grad.abs().max() > 0.1
    p, target = at(1.0)
    alignment_loss(p, target.detach()).backward()
    assert target.grad is None


def test_half_precision_is_computed_in_float32_and_bad_shapes_are_refused() -> None:
    p, target = torch.randn(8, 4).bfloat16(), torch.randn(8, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = alignment_loss(p, target)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(alignment_loss(p.float(), target.float()).item())
    with pytest.raises(ValueError, match=r"p and target must both be \[N, d\]"):
        alignment_loss(p, target[:3])
    with pytest.raises(ValueError, match="N >= 1"):
        alignment_loss(p[:0], target[:0])
