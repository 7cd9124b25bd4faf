"""What the toys are made of: gradients against autograd, theory's numbers, claims that must break."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product as combinations

import pytest
import torch
from torch import Tensor

from ablate.spec.theory import SparseHead, XueLinear
from ablate.theory import sparsehead, xue
from ablate.theory.claim import at_least, at_most, falls, falls_on_average
from ablate.theory.directclr import alignment, force, match, overlap
from ablate.theory.linear_net import Pairs, layer_gradients, orthogonal, product, spectrum, train
from ablate.theory.toy_losses import dot_product, dot_product_gradient, eq2, eq2_gradient, eq2_weights


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [
        (eq2, eq2_gradient),
        (partial(dot_product, temperature=0.3), partial(dot_product_gradient, temperature=0.3)),
    ],
)
def test_gradients_in_closed_form_are_those_of_autograd(
    loss: Callable[..., Tensor], gradient: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    z1, z2 = (normal(3, 7, 4, seed=s).requires_grad_() for s in (0, 1))
    expected = torch.autograd.grad(loss(z1, z2).sum(), (z1, z2))
    torch.testing.assert_close(gradient(z1, z2), expected)


def test_eq2_is_what_the_paper_writes() -> None:
    z1, z2 = normal(5, 3), normal(5, 3, seed=1)
    terms = []
    for i in range(5):
        positive = torch.exp(-(z1[i] - z2[i]).square().sum() / 2)
        negatives = sum(torch.exp(-(z1[i] - z1[j]).square().sum() / 2) for j in range(5) if j != i)
        terms.append(-torch.log(positive / (negatives + positive)))
    torch.testing.assert_close(eq2(z1, z2), torch.stack(terms).mean())


def test_one_layer_moves_along_w_x() -> None:
    """Theorem 1's equation of motion, dW/dt = W X."""
    w, x1, x2 = normal(2, 4, 4).requires_grad_(), normal(2, 9, 4, seed=1), normal(2, 9, 4, seed=2)
    z1, z2 = x1 @ w.mT, x2 @ w.mT
    (gradient,) = torch.autograd.grad(eq2(z1, z2).sum(), w)
    torch.testing.assert_close(-gradient, w @ force(x1, x2, eq2_weights(z1, z2)))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_layers_get_the_gradients_of_autograd(count: int) -> None:
    layers = [normal(2, 3, 3, seed=s).requires_grad_() for s in range(count)]
    x1, x2 = normal(2, 6, 3, seed=8), normal(2, 6, 3, seed=9)
    z1, z2 = (x @ product(layers).mT for x in (x1, x2))
    expected = torch.autograd.grad(eq2(z1, z2).sum(), layers)
    g1, g2 = eq2_gradient(z1, z2)
    for got, wanted in zip(layer_gradients(layers, g1.mT @ x1 + g2.mT @ x2), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_gradient_flow_keeps_the_balance_of_two_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = Pairs([0.1], samples=50, batch=20, width=4, augmented=2, generator=generator)
    start = [
        orthogonal(1, 4, generator) * 0.5,
        orthogonal(1, 4, generator) * torch.rand(4, generator=generator),
    ]
    end = train(start, pairs, eq2_gradient, steps=400, lr=1e-3)
    before, after = (w[0] @ w[0].mT - w[1].mT @ w[1] for w in (start, end))
    assert (product(end) - product(start)).norm() > 0.2
    torch.testing.assert_close(after, before, rtol=0, atol=2e-3)


def test_noise_falls_on_the_augmented_features_only() -> None:
    pairs = Pairs(
        [2.0, 0.0], samples=400, batch=400, width=3, augmented=1, generator=torch.Generator().manual_seed(0)
    )
    x1, x2 = pairs.draw()
    apart = (x1 - x2).square().mean(1)
    assert apart[0, 2].item() == pytest.approx(2 * 2.0**2, rel=0.2)
    assert apart[0, :2].tolist() == [0, 0]
    assert apart[1].tolist() == [0, 0, 0]


def test_alignment_of_layers_that_fit_and_of_layers_that_do_not() -> None:
    u, v, w = (orthogonal(1, 4, torch.Generator().manual_seed(s)) for s in range(3))
    values = torch.tensor([4.0, 3.0, 0.2, 0.1])
    fits = [(u * values) @ v, (w * values) @ u.mT]
    torch.testing.assert_close(alignment(fits), torch.ones(1, 4))
    assert match(fits).item() == pytest.approx(1)
    assert overlap(fits, 2).item() == pytest.approx(1)
    turned = [fits[0], (w * values) @ u[:, :, [2, 3, 0, 1]].mT]
    assert overlap(turned, 2).item() == pytest.approx(0, abs=1e-5)
    assert match(turned).item() < 0.1
    torch.testing.assert_close(spectrum(fits)[0], values.double() ** 4, rtol=1e-4, atol=1e-6)


def test_spectral_loss_of_signed_features_is_its_expectation() -> None:
    """Over every sign of x, x+ and x-, with P(z_i = z_i+) = (1 + a_i) / 2."""
    phi, a, whole = torch.tensor([1.0, 0.5]).double(), torch.tensor([0.8, 0.3]).double(), normal(3, 2)
    signs = [torch.tensor(s, dtype=torch.float64) for s in combinations((-1, 1), repeat=2)]
    near = far = torch.zeros((), dtype=torch.float64)
    for x in signs:
        for y in signs:
            similarity = (whole @ (phi * x)) @ (whole @ (phi * y))
            near = near + ((1 + a * x * y) / 2).prod() / 4 * similarity
            far = far + similarity.square() / 16
    torch.testing.assert_close(xue.loss(whole, phi, a), -2 * near + far)
    at = whole.requires_grad_()
    (gradient,) = torch.autograd.grad(xue.loss(at, phi, a), at)
    torch.testing.assert_close(xue.loss_gradient(whole, phi, a), gradient)


def test_weights_of_the_published_example() -> None:
    spec = XueLinear(seeds=1, spread=0.0, steps=2000, lr=0.02)
    phi, a = torch.tensor(spec.phi).double(), torch.tensor(spec.a).double()
    layers = xue.trained(spec, phi, a, 2)
    post, pre = xue.weights(layers, 2)[0], xue.weights(layers, 1)[0]
    assert post.tolist() == pytest.approx([1, 0.7071, 0.5, 2, 0.3536, 0.4], abs=1e-4)
    assert pre.tolist() == pytest.approx([1, 0.8409, 0.7071, 1.4142, 0.5946, 0.6325], abs=1e-4)


def test_a_claim_breaks_on_one_seed_and_on_what_is_no_number() -> None:
    fine = torch.tensor([0.1, 0.2])
    assert at_most("x", fine, 0.2).holds
    assert not at_most("x", fine, 0.15).holds
    assert at_least("x", fine, 0.1).holds
    assert not at_least("x", fine, 0.15).holds
    for claim in (at_most, at_least):
        assert not claim("x", torch.tensor([0.1, torch.nan]), 0.1).holds
    assert at_most("x", fine, 0.2).observed == "0.15 (0.1 to 0.2)"


def test_falling_is_asked_of_every_seed_or_of_the_mean() -> None:
    falling = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.5, 2.4]])
    one_rises = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 2.5]])
    assert falls("x", falling, (1, 2, 3)).holds
    assert not falls("x", falling, (1, 2, 3), by=0.2).holds
    assert not falls("x", one_rises, (1, 2, 3)).holds
    assert falls_on_average("x", one_rises, (1, 2, 3)).holds
    assert not falls_on_average("x", one_rises.flip(1), (1, 2, 3)).holds
    assert not falls_on_average("x", torch.tensor([[torch.inf, 1.0]]), (1, 2)).holds
    assert falls("x", falling, (1, 2, 3)).observed == "1: 3, 2: 2.25, 3: 1.7"


def test_a_sparse_head_sees_batches_that_the_loss_would_compute_in_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For chunks stop ``torch.func``."""
    generator = torch.Generator().manual_seed(0)
    spec = SparseHead(seeds=2, steps=1, train=16, batch=16)
    views = sparsehead._views(spec, sparsehead._supports(spec, generator), spec.train, generator)
    expected = sparsehead._trained(spec, (0.1,), views, torch.Generator().manual_seed(1))
    monkeypatch.setattr("ablate.objective.log_sum_exp.AT_ONCE", 16)
    assert torch.equal(sparsehead._trained(spec, (0.1,), views, torch.Generator().manual_seed(1)), expected)
