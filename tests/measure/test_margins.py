"""Margin statistics against autograd and at configurations whose values are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ablate.measure.margins import Anchors, anchors_of, margin_statistics
from ablate.objective import info_nce


def views(count: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    base, noise = torch.randn(2, count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return base, base + 0.8 * noise


MARGINS: list[dict[str, Any]] = [
    {},
    {"margin_angular": 0.3, "margin_subtractive": 0.1},
    {"margin_angular": -0.1},
    {"effect": "emphasis", "emphasis": 2.0},
    {"margin_angular": 0.3, "effect": "angle"},
    {"margin_subtractive": 0.3, "effect": "probability", "mean_one": True},
]


@pytest.mark.parametrize("negatives", ["two_view", "other_view"])
@pytest.mark.parametrize("margin", MARGINS, ids=str)
def test_gradient_norms_are_autograds(negatives: Any, margin: dict[str, Any]) -> None:
    """Keep each of an anchor's gradients apart: of its positive, and of all its negatives."""
    z1, z2 = views(6)
    u = torch.nn.functional.normalize(torch.cat([z1, z2]), dim=1)
    found = anchors_of(z1, z2, temperature=0.2, negatives=negatives, **margin)
    for i in (0, 7):
        partner = (i + 6) % 12
        anchor = u[i].clone().requires_grad_()
        others = [j for j in range(12) if j not in (i, partner)]
        if negatives == "other_view":
            others = [j for j in others if (j < 6) != (i < 6)]
        # The plain loss, with a b and b put in by hand.
        positive, rest = anchor @ u[partner], torch.logsumexp(u[others] @ anchor / 0.2, 0)
        p = torch.sigmoid(positive / 0.2 - rest).item()
        by_positive, by_negative = (
            torch.autograd.grad(x, anchor, retain_graph=True)[0] for x in (positive / 0.2, rest)
        )
        a, b = found.a[i].item(), found.b[i].item()
        tangent = [g - (g @ u[i]) * u[i] for g in (by_positive, by_negative)]
        norms = [0.2 * (1 - p) * g.norm().item() for g in tangent]
        assert found.p[i].item() == pytest.approx(p)
        assert found.positive[i].item() == pytest.approx(a * b * norms[0])
        assert found.negative[i].item() == pytest.approx(b * norms[1])


@pytest.mark.parametrize("negatives", ["two_view", "other_view"])
def test_p_and_b_know_the_loss_with_and_without_its_margin(negatives: Any) -> None:
    """B turns 1 - p into that of the margined softmax."""
    z1, z2 = views(6)
    margin = {"margin_angular": 0.2, "margin_subtractive": 0.1}
    found = anchors_of(z1, z2, temperature=0.2, negatives=negatives, **margin)
    plain = info_nce(z1, z2, temperature=0.2, negatives=negatives).item()
    margined = info_nce(z1, z2, temperature=0.2, negatives=negatives, **margin).item()
    assert margined > plain == pytest.approx(-torch.log(found.p).mean().item())
    assert margined == pytest.approx(-torch.log(1 - (1 - found.p) * found.b).mean().item())


def test_several_batches_join_in_order() -> None:
    parts = [anchors_of(*views(4, seed), temperature=0.2) for seed in (0, 1)]
    joined = Anchors.join(parts)
    assert len(joined.p) == 16
    assert joined.theta[8:].tolist() == parts[1].theta.tolist()


def made(theta: list[float], p: list[float], a: list[float], b: list[float]) -> Anchors:
    values = [torch.tensor(v, dtype=torch.float64) for v in (theta, p, a, b)]
    return Anchors(*values, positive=values[2] * 2, negative=values[3])


def test_statistics_of_known_anchors() -> None:
    degrees = [10.0, 20.0, 45.0, 175.0]
    anchors = made(
        [math.radians(d) for d in degrees], [0.95, 0.99, 0.5, 0.0], [1.5, 2.5, 1, 0.5], [2, 4, 1, 1]
    )
    found = margin_statistics(anchors, margin_angular=0.2)
    assert found["beyond"] == 0.25
    assert found["A"] == pytest.approx(5.5 / 4)
    assert found["B"] == 2.0
    assert found["AB"] == pytest.approx((3 + 10 + 1 + 0.5) / 4)
    assert found["positive_to_negative"] == pytest.approx(11 / 8)
    assert found["theta.q50"] == pytest.approx(math.radians(32.5))
    assert found["p.q50"] == pytest.approx(0.725)
    assert found["theta0_30.p90_100.share"] == 0.5
    assert found["theta0_30.p90_100.A"] == 2.0
    assert found["theta0_30.p90_100.B"] == 3.0
    assert found["theta0_30.p90_100.AB"] == pytest.approx(6.5)
    assert found["theta30_60.p50_90.share"] == 0.25
    assert found["theta90_180.p0_10.AB"] == 0.5
    assert found["theta60_90.p0_10.share"] == 0
    assert "theta60_90.p0_10.A" not in found
    assert sum(v for k, v in found.items() if k.endswith(".share")) == 1
    assert margin_statistics(anchors)["beyond"] == 0


def test_all_bins_are_named_and_their_ends_belong_to_them() -> None:
    found = margin_statistics(made([0.0, math.pi], [1.0, 0.0], [1, 1], [1, 1]))
    shares = {k for k in found if k.endswith(".share")}
    assert len(shares) == 16
    assert found["theta0_30.p90_100.share"] == found["theta90_180.p0_10.share"] == 0.5


def test_collapsed_embeddings_give_finite_numbers_and_no_ratio() -> None:
    z = torch.ones(8, 4)
    found = margin_statistics(anchors_of(z, z, temperature=0.1, margin_angular=0.2), margin_angular=0.2)
    assert all(math.isfinite(value) for value in found.values())
    assert found["p.q50"] == pytest.approx(1 / 15)
    zero = made([1.0], [0.5], [1.0], [0.0])
    assert "positive_to_negative" not in margin_statistics(zero)
