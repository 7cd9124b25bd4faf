"""Parity with independent public implementations: same tensors, same loss and gradients to 1e-5.

lightly 1.6 for what it has: NT-Xent of two views (SimCLR) and with a memory bank (MoCo), DirectCLR, negative
cosine similarity, Barlow Twins and VICReg. pytorch-metric-learning for SupCon, which lightly lacks, NT-Xent
and VICReg once more, and the margins: ArcFace's angular and CosFace's subtractive. All have the scales of
ours. The spectral loss is in neither (see test_redundancy).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ablate.objective import (
    alignment_loss,
    barlow_twins,
    info_nce,
    info_nce_keys,
    supcon,
    vicreg,
)
from ablate.torchvision_import import torchvision  # noqa: F401  # before lightly imports it by itself

lightly = importlib.import_module("lightly.loss")
metric = importlib.import_module("pytorch_metric_learning.losses")

TOLERANCE = 1e-5
SHAPES = [(4, 3), (32, 16), (64, 128)]


def views(shape: tuple[int, int], scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """float32, as in training; row i of both is one image."""
    base, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return (scale * base).requires_grad_(), (scale * (base + 0.7 * noise)).requires_grad_()


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *z: Tensor) -> None:
    """Losses to 1e-5, gradients to 1e-5 of their largest entry."""
    losses = ours(*z), theirs(*z)
    torch.testing.assert_close(*losses, rtol=TOLERANCE, atol=TOLERANCE)
    gradients = [torch.autograd.grad(loss, z) for loss in losses]
    for got, expected in zip(*gradients, strict=True):
        largest = expected.abs().max().item()
        assert largest > 0
        torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE * largest)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent(shape: tuple[int, int], temperature: float) -> None:
    theirs = lightly.NTXentLoss(temperature=temperature)
    assert_same(lambda a, b: info_nce(a, b, temperature=temperature), theirs, *views(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_again(shape: tuple[int, int], temperature: float) -> None:
    other = metric.SelfSupervisedLoss(metric.NTXentLoss(temperature=temperature))
    assert_same(lambda a, b: info_nce(a, b, temperature=temperature), other, *views(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [16, 96])
def test_memory_bank(shape: tuple[int, int], size: int) -> None:
    """lightly's bank before the call is the queue; its keys take gradient too if they ask for it."""
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(size, shape[1]))
    queue = theirs.memory_bank.bank.clone()
    assert queue.shape == (size, shape[1])
    query, key = views(shape)

    def ours(q: Tensor, k: Tensor) -> Tensor:
        return info_nce_keys(q, k, 0, queue=queue, temperature=0.2)

    assert_same(ours, theirs, query, key)
    held = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(size, shape[1]))
    held.memory_bank.bank.copy_(queue)
    assert_same(lambda q: ours(q, key.detach()), lambda q: held(q, key.detach()), query)


@pytest.mark.parametrize("shape", SHAPES)
def test_directclr(shape: tuple[int, int]) -> None:
    theirs = lightly.DirectCLRLoss(loss_dim=2, temperature=0.1)
    assert_same(lambda a, b: info_nce(a[:, :2], b[:, :2], temperature=0.1), theirs, *views(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_negative_cosine_similarity(shape: tuple[int, int]) -> None:
    assert_same(alignment_loss, lightly.NegativeCosineSimilarity(), *views(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [0.005, 1.0])
def test_barlow_twins(shape: tuple[int, int], weight: float) -> None:
    theirs = lightly.BarlowTwinsLoss(lambda_param=weight)
    assert_same(lambda a, b: barlow_twins(a, b, off_diagonal=weight), theirs, *views(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 2.0, 3.0)])
def test_vicreg(shape: tuple[int, int], weights: tuple[float, float, float]) -> None:
    """Small embeddings, so that the variance hinge is open."""
    invariance, variance, covariance = weights

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return vicreg(a, b, invariance=invariance, variance=variance, covariance=covariance)

    assert_same(ours, lightly.VICRegLoss(*weights), *views(shape, 0.4))
    assert_same(ours, lightly.VICRegLoss(*weights), *views(shape, 2.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_vicreg_again(shape: tuple[int, int]) -> None:
    other = metric.VICRegLoss(invariance_lambda=1.0, variance_mu=2.0, covariance_v=3.0)

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        return other(a, ref_emb=b)

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return vicreg(a, b, invariance=1.0, variance=2.0, covariance=3.0)

    assert_same(ours, theirs, *views(shape, 0.4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 5])
def test_supcon(shape: tuple[int, int], classes: int) -> None:
    labels = torch.arange(shape[0]) % classes
    other = metric.SupConLoss(temperature=0.2)

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        return other(torch.cat([a, b]), labels.repeat(2))

    assert_same(lambda a, b: supcon(a, b, labels, temperature=0.2), theirs, *views(shape))


def proxies(other: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A classifier's loss with keys for its class weights, one class an image."""

    def theirs(anchors: Tensor, keys: Tensor) -> Tensor:
        del other.W
        other.W = keys.T  # a plain tensor, so that gradient reaches the keys
        return other(anchors, torch.arange(len(anchors)))

    return theirs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angular", [0.1, 0.5])
def test_angular_margin_is_arcfaces(shape: tuple[int, int], angular: float) -> None:
    """Where theta <= pi - m1; beyond, ArcFace goes on differently."""
    z1, z2 = views(shape)
    assert torch.cosine_similarity(z1, z2).acos().max() < math.pi - angular
    count, width = shape
    other = metric.ArcFaceLoss(count, width, margin=math.degrees(angular), scale=5.0)

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return info_nce_keys(a, b, 0, temperature=0.2, margin_angular=angular)

    assert_same(ours, proxies(other), z1, z2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("subtractive", [-0.1, 0.3])
def test_subtractive_margin_is_cosfaces(shape: tuple[int, int], subtractive: float) -> None:
    count, width = shape
    other = metric.CosFaceLoss(count, width, margin=subtractive, scale=5.0)

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return info_nce_keys(a, b, 0, temperature=0.2, margin_subtractive=subtractive)

    assert_same(ours, proxies(other), *views(shape))
