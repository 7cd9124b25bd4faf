"""Probes: the optimum that scikit-learn finds, no leak from the queries, and no per-feature scaling."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ablate.measure import fit_probe, knn_predict
from ablate.measure.probes import accuracy


@pytest.fixture(scope="module")
def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 4
    centres = 1.5 * torch.randn(4, 12, generator=generator)
    return centres[labels] + torch.randn(300, 12, generator=generator), labels


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_logistic_optimum_is_scikit_learns(blobs: tuple[torch.Tensor, torch.Tensor], l2: float) -> None:
    x, y = blobs
    probe = fit_probe(x, y, classes=4, l2_choices=[l2])
    scaled = ((x.double() - probe.shift) / probe.scale).numpy()
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=5000).fit(scaled, y.numpy())

    def objective(weight: torch.Tensor, bias: torch.Tensor) -> float:
        logits = torch.as_tensor(scaled) @ weight.T + bias
        return float(torch.nn.functional.cross_entropy(logits, y) + l2 / 2 * weight.square().sum())

    best = objective(torch.as_tensor(theirs.coef_), torch.as_tensor(theirs.intercept_))
    assert objective(probe.weight, probe.bias) == pytest.approx(best, abs=1e-6)
    assert np.array_equal(probe.predict(x).numpy(), theirs.predict(scaled))


def test_one_global_scale_keeps_a_diagonal_head_visible(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    kappa = 2.0 ** -torch.arange(12)
    plain = fit_probe(x, y, classes=4, l2_choices=[1e-1]).predict(x)
    reweighted = fit_probe(x * kappa, y, classes=4, l2_choices=[1e-1]).predict(x * kappa)
    assert accuracy(reweighted == y) < accuracy(plain == y)
    # ... while a change of the global scale is not seen at all.
    assert torch.equal(fit_probe(7 * x, y, classes=4, l2_choices=[1e-1]).predict(7 * x), plain)


def test_l2_is_chosen_by_held_out_accuracy() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(120, 200, generator=generator)
    y = (x[:, 0] > 0).long()  # one useful feature among 200: weak penalties overfit
    chosen = fit_probe(x, y, classes=2, l2_choices=(1e-6, 1.0), seed=0)
    x_new = torch.randn(2000, 200, generator=generator)
    right = {
        l2: fit_probe(x, y, classes=2, l2_choices=[l2]).predict(x_new) == (x_new[:, 0] > 0)
        for l2 in (1e-6, 1.0)
    }
    assert chosen.l2 == max(right, key=lambda l2: accuracy(right[l2]))


def test_redundant_and_many_features_change_nothing(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    tripled = torch.cat([x, x, x], 1)  # as the channels of a grey image
    probe = fit_probe(tripled, y, classes=4, l2_choices=[1e-2])
    assert torch.allclose(probe.weight[:, :12], probe.weight[:, 12:24], atol=1e-9)
    scaled = (tripled.double() - probe.shift) / probe.scale
    theirs = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-10, max_iter=5000).fit(
        scaled.numpy(), y.numpy()
    )
    assert np.abs(probe.weight.numpy() - theirs.coef_).max() < 2e-3


def test_more_features_than_samples_change_nothing(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    plain = fit_probe(x, y, classes=4, l2_choices=[1e-2])
    tiled = fit_probe(x.repeat(1, 30), y, classes=4, l2_choices=[30 * 1e-2])  # 360 features of 300 samples
    assert tiled.weight.shape == (4, 360)
    together = tiled.weight.view(4, 30, 12).sum(1) / tiled.scale
    assert torch.allclose(together, plain.weight / plain.scale, atol=1e-3)


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [0.1, 0.2, 0.7]])
def test_features_without_spread_give_the_commonest_class(row: list[float]) -> None:
    x, y = torch.tensor(row).repeat(40, 1), torch.tensor([2] * 30 + [0] * 10)
    probe = fit_probe(x, y, classes=3, l2_choices=(1e-3, 1e-1))
    assert (probe.predict(x) == 2).all()
    assert torch.isfinite(probe.weight).all()
    assert (knn_predict(x, y, x, classes=3, k=40) == 2).all()


def test_knn_agrees_with_scikit_learn_at_one_neighbour(blobs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = blobs
    theirs = (
        KNeighborsClassifier(1, metric="cosine")
        .fit(x[:200].numpy(), y[:200].numpy())
        .predict(x[200:].numpy())
    )
    ours = knn_predict(x[:200], y[:200], x[200:], classes=4, k=1, chunk=7)
    assert np.array_equal(ours.numpy(), theirs)


def test_knn_votes_weigh_similarity() -> None:
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([0, 1, 1])
    # Two distant neighbours against one that is identical.
    assert knn_predict(train, labels, torch.tensor([[1.0, 0.0]]), classes=2, k=3).item() == 0
