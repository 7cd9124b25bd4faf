"""SupCon against its definition, one pair at a time, and where it is InfoNCE."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ablate.objective import info_nce, supcon

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def views(seed: int = 0) -> tuple[Tensor, Tensor]:
    base, noise = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return base.requires_grad_(), (base + 0.5 * noise).requires_grad_()


def reference(z1: Tensor, z2: Tensor, temperature: float, m1: float, m2: float) -> float:
    rows, labels = torch.cat([z1, z2]).detach(), LABELS.repeat(2).tolist()
    total = 0.0
    for i in range(12):
        logits = {}
        for j in range(12):
            cos = float(torch.cosine_similarity(rows[i], rows[j], dim=0))
            positive = labels[i] == labels[j]
            theta = math.acos(max(-1.0, min(1.0, cos)))
            bent = math.cos(theta + m1) if theta <= math.pi - m1 else -2 - math.cos(theta + m1)
            logits[j] = (bent - m2 if positive else cos) / temperature
        del logits[i]
        whole = sum(map(math.exp, logits.values()))
        positives = [j for j in logits if labels[j] == labels[i]]
        total -= sum(logits[j] - math.log(whole) for j in positives) / len(positives)
    return total / 12


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize(("m1", "m2"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.3), (0.3, 0.1)])
def test_matches_the_definition(temperature: float, m1: float, m2: float) -> None:
    z1, z2 = views()
    loss = supcon(z1, z2, LABELS, temperature=temperature, margin_angular=m1, margin_subtractive=m2)
    assert loss.item() == pytest.approx(reference(z1, z2, temperature, m1, m2), rel=1e-12)


@pytest.mark.parametrize(("m1", "m2"), [(0.0, 0.0), (0.3, 0.1)])
def test_without_two_images_of_a_class_it_is_info_nce(m1: float, m2: float) -> None:
    z1, z2 = views()
    margin = {"temperature": 0.2, "margin_angular": m1, "margin_subtractive": m2}
    ours, plain = supcon(z1, z2, torch.arange(6), **margin), info_nce(z1, z2, **margin)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-12)
    expected = torch.autograd.grad(plain, (z1, z2))
    for got, want in zip(torch.autograd.grad(ours, (z1, z2)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_one_class_alone_is_finite_and_pulls_all_together() -> None:
    z1, z2 = views()
    labels = torch.zeros(6, dtype=torch.int64)
    supcon(z1, z2, labels, temperature=0.2, margin_angular=0.2).backward()
    assert z1.grad is not None
    assert z1.grad.isfinite().all()
    same = torch.ones(6, 4, dtype=torch.float64)
    assert supcon(same, same, labels, temperature=0.2).item() == pytest.approx(math.log(11))
    assert supcon(z1, z2, labels, temperature=0.2).item() > math.log(11)


def test_bad_arguments_are_refused() -> None:
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"labels must be \[4\]"):
        supcon(z, z, LABELS, temperature=0.1)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        supcon(z, z, LABELS[:4], temperature=0.0)
    with pytest.raises(ValueError, match="SupCon needs at least 2 images a batch"):
        supcon(z[:1], z[:1], LABELS[:1], temperature=0.1)
