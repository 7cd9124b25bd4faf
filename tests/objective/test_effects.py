"""The margin's effects apart: what each does to gradients, and that together they are the margin."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ablate.objective import gradient_factors, info_nce, info_nce_keys
from ablate.objective.effects import Effect, anchor_losses, gradient_scales
from ablate.objective.margins import margin_positive

MARGINS = [(0.2, 0.0), (0.0, 0.2), (0.2, 0.2), (0.5, -0.3), (-0.1, 0.1), (1.2, 0.4)]
GENTLE: list[Effect] = ["emphasis", "angle", "probability", "angle-and-probability"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embeddings() -> tuple[Tensor, Tensor]:
    """Pairs from nearly identical to nearly opposite."""
    z1 = random(12, 5)
    mix = torch.linspace(1, -1, 12, dtype=torch.float64)[:, None]
    return z1.requires_grad_(), (mix * z1 + 0.3 * random(12, 5, seed=1)).detach().requires_grad_()


def gradients(of_keys: str, z1: Tensor, z2: Tensor, **margin: Any) -> tuple[float, tuple[Tensor, ...]]:
    if of_keys == "views":
        loss = info_nce(z1, z2, temperature=0.2, **margin)
    elif of_keys == "other_view":
        loss = info_nce(z1, z2, temperature=0.2, negatives="other_view", **margin)
    else:
        queue = random(30, 5, seed=2) if of_keys == "queue" else None
        loss = info_nce_keys(z1, z2, 0, queue=queue, temperature=0.2, **margin)
    return loss.item(), torch.autograd.grad(loss, (z1, z2))


@pytest.mark.parametrize("form", ["views", "other_view", "keys", "queue"])
@pytest.mark.parametrize(("m1", "m2"), MARGINS)
def test_angle_and_probability_together_have_the_gradient_of_the_margin(
    form: str, m1: float, m2: float
) -> None:
    z1, z2 = embeddings()
    margin = {"margin_angular": m1, "margin_subtractive": m2}
    plain, _ = gradients(form, z1, z2)
    value, got = gradients(form, z1, z2, effect="angle-and-probability", **margin)
    margined, expected = gradients(form, z1, z2, **margin)
    assert value == plain != margined
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", ["views", "other_view", "keys", "queue"])
@pytest.mark.parametrize("effect", GENTLE)
@pytest.mark.parametrize("mean_one", [False, True])
def test_without_strength_every_effect_is_the_plain_loss(form: str, effect: Effect, mean_one: bool) -> None:
    z1, z2 = embeddings()
    value, plain = gradients(form, z1, z2)
    same, got = gradients(form, z1, z2, effect=effect, mean_one=mean_one)
    assert same == value
    for a, b in zip(got, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def parts(cos: Tensor, rest: Tensor, **margin: Any) -> tuple[Tensor, Tensor]:
    """Each anchor's gradient by its positive's cosine and by its negatives' log-sum."""
    c, r = cos.clone().requires_grad_(), rest.clone().requires_grad_()
    by_cos, by_rest = torch.autograd.grad(anchor_losses(c, r, temperature=0.2, **margin).sum(), (c, r))
    return by_cos, by_rest


COS = torch.tensor([0.95, 0.6, 0.1, -0.4], dtype=torch.float64)
REST = torch.tensor([2.0, 3.5, 0.5, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("s", [0.0, 0.5, 1.5, 3.0])
def test_emphasis_scales_the_positive_alone_and_equally_at_every_angle(s: float) -> None:
    (positive, negative), plain = parts(COS, REST, effect="emphasis", emphasis=s), parts(COS, REST)
    torch.testing.assert_close(positive, s * plain[0])
    torch.testing.assert_close(negative, plain[1])


def test_angle_scales_the_positive_alone_by_a() -> None:
    positive, negative = parts(COS, REST, effect="angle", margin_angular=0.3)
    plain = parts(COS, REST)
    theta = COS.acos()
    torch.testing.assert_close(positive / plain[0], torch.sin(theta + 0.3) / theta.sin())
    torch.testing.assert_close(negative, plain[1])


def test_probability_scales_the_whole_anchor_by_b() -> None:
    positive, negative = parts(COS, REST, effect="probability", margin_subtractive=0.2)
    plain = parts(COS, REST)
    p = torch.sigmoid(COS / 0.2 - REST)
    b = 1 / (p * math.exp(-1) + 1 - p)
    torch.testing.assert_close(positive / plain[0], b)
    torch.testing.assert_close(negative / plain[1], b)
    assert (b > 1).all()


@pytest.mark.parametrize("effect", ["angle", "probability"])
def test_mean_one_keeps_the_shape_without_the_mean(effect: Effect) -> None:
    margin = {"margin_angular": 0.4, "effect": effect, "temperature": 0.2}
    raw, shaped = (gradient_scales(COS, REST, mean_one=m, **margin) for m in (False, True))
    for before, after in zip(raw, shaped, strict=True):
        torch.testing.assert_close(after, before / before.mean())
    assert raw[0].mean() > 1 or raw[1].mean() > 1
    assert shaped[0].mean().item() == pytest.approx(1)
    assert shaped[1].mean().item() == pytest.approx(1)


def test_mean_one_of_two_views_is_over_all_anchors() -> None:
    """Anchors of the two views differ (their negatives do), so means of each view alone would differ."""
    z1, z2 = embeddings()
    margin = {"margin_subtractive": 0.4, "effect": "probability"}
    _, raw = gradients("views", z1, z2, **margin)
    _, shaped = gradients("views", z1, z2, mean_one=True, **margin)
    ratio = torch.cat([a / b for a, b in zip(raw, shaped, strict=True)])
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    assert ratio[0, 0] > 1


def test_a_b_and_their_product_are_what_autograd_gives_per_anchor() -> None:
    """The published decomposition, theta in [.05, pi - m1 - .05], at the temperatures in use."""
    for temperature in (0.07, 0.2, 1.0):
        for m1, m2 in [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3), (0.5, 0.2), (1.2, -0.3)]:
            theta = torch.linspace(0.05, math.pi - m1 - 0.05, 50, dtype=torch.float64)
            rest = random(50, seed=3) + 1 / temperature * torch.linspace(-1, 1, 50, dtype=torch.float64)
            theta.requires_grad_()
            plain = anchor_losses(theta.cos(), rest, temperature=temperature)
            margined = anchor_losses(
                theta.cos(), rest, temperature=temperature, margin_angular=m1, margin_subtractive=m2
            )
            before, after = (torch.autograd.grad(x.sum(), theta)[0] for x in (plain, margined))
            p = torch.exp(-plain)
            a, b = gradient_factors(theta.cos(), p, m1, m2, temperature)
            torch.testing.assert_close(a, torch.sin(theta + m1) / theta.sin(), rtol=1e-9, atol=0)
            torch.testing.assert_close(before, theta.sin() * (1 - p) / temperature, rtol=1e-9, atol=1e-15)
            torch.testing.assert_close(after, before * a * b, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("effect", ["margin", *GENTLE])
@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_gradients_are_finite_where_probabilities_and_angles_are_extreme(
    dtype: torch.dtype, effect: Effect, temperature: float
) -> None:
    """b is e^200 here, more than float32 holds, where 1 - p is as small."""
    for m1, m2 in [(0.5, 1.0), (0.5, -1.0), (-0.5, 1.0)]:
        cos = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0], dtype=dtype)
        rest = torch.tensor([-1.0, 1.0, -1.0, 1.0, 0.0], dtype=dtype) / temperature
        margin = {} if effect == "emphasis" else {"margin_angular": m1, "margin_subtractive": m2}
        c, r = cos.requires_grad_(), rest.requires_grad_()
        loss = anchor_losses(c, r, temperature=temperature, effect=effect, emphasis=2.0, **margin)
        for gradient in torch.autograd.grad(loss.sum(), (c, r)):
            assert gradient.isfinite().all()
        assert loss.isfinite().all()


def test_beyond_the_domain_the_product_follows_the_continuation() -> None:
    theta = torch.tensor([math.pi - 0.3, math.pi - 0.1], dtype=torch.float64)
    cos = theta.cos().requires_grad_()
    a, _ = gradient_factors(cos, torch.full_like(cos, 0.1), 0.5, 0.0, 0.2)
    (slope,) = torch.autograd.grad(margin_positive(cos, 0.5, 0.0).sum(), cos)
    torch.testing.assert_close(a, slope)
    assert (a > 0).all()


def test_what_makes_no_sense_is_refused() -> None:
    cos = torch.zeros(2)
    with pytest.raises(ValueError, match="effect must be one of margin, emphasis"):
        anchor_losses(cos, cos, temperature=0.1, effect="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature must be above 0"):
        gradient_factors(cos, cos, 0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="angular margin must lie within"):
        gradient_factors(cos, cos, 2.0, 0.0, 0.1)
