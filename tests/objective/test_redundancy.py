"""Barlow Twins, VICReg and the spectral loss against their definitions in numpy, and at their optima."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from ablate.objective import barlow_twins, spectral_contrastive, vicreg

LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    partial(barlow_twins, off_diagonal=0.01),
    partial(vicreg, invariance=25.0, variance=25.0, covariance=1.0),
    spectral_contrastive,
    partial(spectral_contrastive, radius=2.0),
]
IDS = ["barlow-twins", "vicreg", "spectral", "spectral-radius"]


def views(count: int = 12, width: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base, noise = torch.randn(2, count, width, generator=generator, dtype=torch.float64)
    return (2 * base + 1).requires_grad_(), (2 * base + noise).requires_grad_()


def test_barlow_twins_matches_the_definition() -> None:
    z1, z2 = views()
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z1.detach().numpy(), z2.detach().numpy()))
    c = np.einsum("ni,nj->ij", a, b) / len(a)
    off = sum(c[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.01 * off
    assert barlow_twins(z1, z2, off_diagonal=0.01).item() == pytest.approx(expected, rel=1e-12)


def test_vicreg_matches_the_definition_term_by_term() -> None:
    z1, z2 = views()
    a, b = 0.4 * z1.detach(), 0.4 * z2.detach()
    x, y = a.numpy(), b.numpy()
    spread = sum(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() for z in (x, y)) / 2
    redundancy = sum((np.cov(z.T) ** 2).sum() - (np.diag(np.cov(z.T)) ** 2).sum() for z in (x, y)) / 4
    assert vicreg(a, b, invariance=1, variance=0, covariance=0).item() == pytest.approx(((x - y) ** 2).mean())
    assert vicreg(a, b, invariance=0, variance=1, covariance=0).item() == pytest.approx(spread)
    assert vicreg(a, b, invariance=0, variance=0, covariance=1).item() == pytest.approx(redundancy)
    assert spread > 0.05
    whole = vicreg(a, b, invariance=2, variance=3, covariance=4).item()
    assert whole == pytest.approx(2 * ((x - y) ** 2).mean() + 3 * spread + 4 * redundancy)


@pytest.mark.parametrize("radius", [None, 1.5])
def test_spectral_matches_the_definition(radius: float | None) -> None:
    z1, z2 = views()
    a, b = z1.detach().numpy(), z2.detach().numpy()
    if radius is not None:
        a, b = (radius * z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b))
    positive = np.mean([a[i] @ b[i] for i in range(12)])
    negative = np.mean([(a[i] @ b[j]) ** 2 for i in range(12) for j in range(12) if i != j])
    loss = spectral_contrastive(z1, z2, radius=radius).item()
    assert loss == pytest.approx(-2 * positive + negative, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_gradients_are_those_of_the_value(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(loss, views(6, 3))


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_order_and_views_do_not_matter(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    z1, z2 = views()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    value = loss(z1, z2).item()
    assert loss(z2, z1).item() == pytest.approx(value, rel=1e-12)
    assert loss(z1[order], z2[order]).item() == pytest.approx(value, rel=1e-12)
    assert loss(z1, z2[order]).item() > value  # but which rows are pairs does


def test_uncorrelated_dimensions_and_equal_views_are_the_optimum_of_both() -> None:
    hadamard = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    z = 5 * hadamard
    assert barlow_twins(z, z, off_diagonal=1.0).item() == pytest.approx(0, abs=1e-9)
    assert vicreg(z, z, invariance=25, variance=25, covariance=1).item() == pytest.approx(0, abs=1e-9)
    same = z[:, :1].expand(-1, 3)  # one feature, three times
    assert barlow_twins(same, same, off_diagonal=1.0).item() == pytest.approx(6, rel=1e-5)
    assert vicreg(same, same, invariance=25, variance=25, covariance=0).item() == pytest.approx(0, abs=1e-9)
    assert vicreg(same, same, invariance=25, variance=25, covariance=1).item() > 100


def test_barlow_twins_takes_any_scale_and_shift_of_a_dimension() -> None:
    z1, z2 = (1e3 * z.detach() for z in views())  # so that 1e-5 is nothing beside the variance
    value = barlow_twins(z1, z2, off_diagonal=0.1).item()
    scale, shift = torch.tensor([2.0, 1.0, 5.0, 3.0]).double(), torch.tensor([1.0, 0.0, -7.0, 100.0]).double()
    assert barlow_twins(z1 * scale + shift, z2, off_diagonal=0.1).item() == pytest.approx(value, rel=1e-8)


def test_spectral_optimum_has_the_weights_of_linear_theory() -> None:
    """Facts on Xue et al.: x = sum z_i v_i, z_i = +-phi_i, E[z_i z_i+] = a_i phi_i^2 gives weights
    sqrt(a_i) / phi_i. All sign patterns against each other are the population; a_i through the pairs."""
    phi, a = torch.tensor([1.0, 0.5, 2.0]).double(), torch.tensor([1.0, 0.5, 0.25]).double()
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * 3).double()
    x = signs * phi

    def loss(weight: Tensor) -> Tensor:
        f = x * weight
        # -2 E[f.f+] + E[(f.f-)^2] over the population; the N^2 pairs of the batch are its negatives.
        batch = spectral_contrastive(f, f)
        n, own = len(f), (f * f).sum(1)
        everything = (batch + 2 * own.mean()) * (n - 1) / n + own.square().mean() / n
        return everything - 2 * (a * phi**2 * weight**2).sum()

    weight = (a.sqrt() / phi).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(weight), weight)
    assert gradient.abs().max() < 1e-12
    for nudge in torch.eye(3).double():
        assert loss(weight + 0.05 * nudge) > loss(weight)
        assert loss(weight - 0.05 * nudge) > loss(weight)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_constant_embeddings_have_finite_gradients_and_halves_are_computed_in_float32(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    z = torch.full((4, 3), 0.5, requires_grad=True)
    loss(z, z).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    z1, z2 = (v.detach().bfloat16() for v in views())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(z1, z2)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss(z1.float(), z2.float()).item(), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=IDS)
def test_bad_arguments_are_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"z1 and z2 must both be \[N, d\]"):
        loss(z, z[:3])
    with pytest.raises(ValueError, match="needs at least 2 images a batch, found 1"):
        loss(z[:1], z[:1])
    with pytest.raises(ValueError, match="radius must be above 0"):
        spectral_contrastive(z, z, radius=0.0)
