"""Projection heads: shapes, what each holds and does, and that a new one needs only a decorator."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ablate.model import build_head, head_weights, register_head
from ablate.objective import info_nce
from ablate.spec.base import Spec
from ablate.spec.head import (
    HEADS_WITHOUT_WEIGHTS,
    DiagonalHead,
    DirectCLRHead,
    HeadSpec,
    IdentityMLPHead,
    LinearHead,
    LowRankHead,
    MLPHead,
    NoHead,
    OrthogonalHead,
    RandomSubvectorHead,
    ReweightingHead,
)

WIDTH = 12


@pytest.mark.parametrize(
    ("spec", "out", "weights"),
    [
        (NoHead(), WIDTH, []),
        (DirectCLRHead(subvector=5), 5, []),
        (LinearHead(out=7), 7, [(7, 12)]),
        (MLPHead(depth=1, hidden=9, out=7), 7, [(7, 12)]),
        (MLPHead(depth=3, hidden=9, out=7, norm_last=True), 7, [(9, 12), (9, 9), (7, 9)]),
        (MLPHead(depth=2, hidden=9, out=7, norm="none"), 7, [(9, 12), (7, 9)]),
        (RandomSubvectorHead(subvector=5), 5, []),
        (DiagonalHead(), WIDTH, [(1, 12)]),
        (OrthogonalHead(), WIDTH, []),
        (LowRankHead(rank=5), WIDTH, []),
        (ReweightingHead(kappa=1.2), WIDTH, []),
        (IdentityMLPHead(depth=3), WIDTH, [(12, 12)] * 3),
    ],
    ids=lambda value: value.kind if isinstance(value, Spec) else "",
)
def test_shapes_and_weights(spec: HeadSpec, out: int, weights: list[tuple[int, int]]) -> None:
    head = build_head(spec, WIDTH)
    assert head(torch.randn(4, WIDTH)).shape == (4, out)
    assert [tuple(w.shape) for w in head_weights(head)] == weights
    assert all(isinstance(w, nn.Parameter) for w in head_weights(head))
    assert any(p.requires_grad for p in head.parameters()) == (spec.kind not in HEADS_WITHOUT_WEIGHTS)


@pytest.mark.parametrize(("norm", "norm_last"), [("batch", False), ("batch", True), ("none", False)])
def test_a_layer_has_a_bias_exactly_where_no_norm_follows(
    norm: Literal["none", "batch"], norm_last: bool
) -> None:
    head = build_head(MLPHead(depth=2, hidden=9, out=7, norm=norm, norm_last=norm_last), WIDTH)
    first, last = (m for m in head.modules() if isinstance(m, nn.Linear))
    assert (first.bias is None) == (norm == "batch")
    assert (last.bias is None) == norm_last
    assert len([m for m in head.modules() if isinstance(m, nn.BatchNorm1d)]) == (norm == "batch") + norm_last


def test_directclr_sends_gradient_to_the_subvector_only() -> None:
    h = torch.randn(4, WIDTH, requires_grad=True)
    z = build_head(DirectCLRHead(subvector=5), WIDTH)(h)
    torch.testing.assert_close(z, h[:, :5])
    z.square().sum().backward()
    assert h.grad is not None
    assert (h.grad[:, :5] != 0).all()
    assert (h.grad[:, 5:] == 0).all()


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (DirectCLRHead(subvector=13), "subvector"),
        (RandomSubvectorHead(subvector=13), "subvector"),
        (LowRankHead(rank=13), "rank"),
    ],
)
def test_more_features_than_h_has_are_refused(spec: HeadSpec, key: str) -> None:
    with pytest.raises(ValueError, match=rf"head.{key} \(13\) exceeds the encoder's width \(12\)"):
        build_head(spec, WIDTH)


def subset_of(head: nn.Module) -> list[int]:
    """Which features of h the head passes on."""
    return [int(i) for i in head(torch.arange(WIDTH, dtype=torch.float32)[None])[0]]


def test_a_random_subvector_follows_from_seed_and_step_alone() -> None:
    head = build_head(RandomSubvectorHead(subvector=5), WIDTH).train()
    drawn: dict[tuple[int, int], list[int]] = {}
    for key in ((0, 0), (0, 1), (1, 0), (0, 2)):
        head.redraw(*key)  # type: ignore[operator]
        drawn[key] = subset_of(head)
    assert len({tuple(features) for features in drawn.values()}) == 4
    assert all(len(set(features)) == 5 for features in drawn.values())
    resumed = build_head(RandomSubvectorHead(subvector=5), WIDTH).train()
    resumed.load_state_dict(head.state_dict())
    torch.manual_seed(1)  # what else was drawn does not matter
    resumed.redraw(0, 1)  # type: ignore[operator]
    assert subset_of(resumed) == drawn[0, 1]
    assert subset_of(resumed.eval()) == [0, 1, 2, 3, 4]
    assert subset_of(resumed.train()) == drawn[0, 1]


def test_a_random_subvector_reaches_every_feature_alike() -> None:
    head = build_head(RandomSubvectorHead(subvector=3), WIDTH).train()
    counts = torch.zeros(WIDTH)
    for step in range(400):
        head.redraw(0, step)  # type: ignore[operator]
        counts[subset_of(head)] += 1
    assert counts.sum() == 1200
    assert 60 < counts.min() <= counts.max() < 140  # 100 expected, deviation 8.7


def test_a_diagonal_starts_as_no_head_and_scales_each_feature_by_its_own_weight() -> None:
    head = build_head(DiagonalHead(), WIDTH)
    h = torch.randn(4, WIDTH)
    assert torch.equal(head(h), h)
    (weight,) = head_weights(head)
    with torch.no_grad():
        weight[0, 3] = -2.0
    assert torch.equal(head(h)[:, 3], -2 * h[:, 3])
    assert torch.equal(head(h)[:, 4:], h[:, 4:])


def test_an_orthogonal_head_is_a_rotation_before_and_after_training() -> None:
    torch.manual_seed(0)
    head = build_head(OrthogonalHead(), WIDTH)
    h, target = torch.randn(50, WIDTH), torch.randn(50, WIDTH)
    start = head(h).detach()
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(20):
        optimiser.zero_grad()
        (head(h) - target).square().mean().backward()
        optimiser.step()
    z = head(h)
    assert (z - start).norm() > 0.1
    assert (start - h).norm() > 0.1
    torch.testing.assert_close(z @ z.T, h @ h.T, atol=1e-4, rtol=1e-4)


def test_info_nce_sends_an_orthogonal_head_no_gradient() -> None:
    """It sees cosines alone: why this head is no better than none."""
    torch.manual_seed(0)
    head = build_head(OrthogonalHead(), WIDTH).double()
    h1 = torch.randn(8, WIDTH, dtype=torch.float64)
    info_nce(head(h1), head(h1 + torch.randn_like(h1)), temperature=0.2).backward()
    (generator,) = head.parameters()
    assert generator.grad is not None
    assert generator.grad.abs().max() < 1e-12


def test_a_low_rank_head_is_an_isometry_of_the_subspace_it_keeps() -> None:
    torch.manual_seed(0)
    head = build_head(LowRankHead(rank=5), WIDTH)
    matrix = head(torch.eye(WIDTH)).T
    expected = torch.tensor([1.0] * 5 + [0.0] * 7)
    torch.testing.assert_close(torch.linalg.svdvals(matrix), expected, atol=1e-5, rtol=0)
    other = build_head(LowRankHead(rank=5), WIDTH)
    assert not torch.equal(other(torch.eye(WIDTH)).T, matrix)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(torch.eye(WIDTH)).T, matrix)


@given(st.floats(1, 3), st.integers(0, WIDTH - 1))
def test_reweighting_divides_feature_i_by_kappa_to_the_i(kappa: float, i: int) -> None:
    z = build_head(ReweightingHead(kappa=kappa), WIDTH)(torch.ones(1, WIDTH))
    assert float(z[0, i]) == pytest.approx(kappa**-i, rel=1e-6)


@pytest.mark.parametrize(("kappa", "zero_from"), [(1.5, 257), (1.2, 571), (1.1, 1091), (1.05, 2132)])
def test_reweighting_underflows_where_the_docs_say(kappa: float, zero_from: int) -> None:
    head = build_head(ReweightingHead(kappa=kappa), 4096)
    z = head(torch.ones(1, 4096))[0]
    assert z.dtype == head(torch.ones(1, 4096, dtype=torch.bfloat16)).dtype == torch.float32
    assert int((z > 0).sum()) == zero_from


def test_reweighting_has_the_effective_dimensions_of_the_facts() -> None:
    for kappa, expected in ((1.01, 100.5), (1.05, 20.5), (1.1, 10.5), (1.2, 5.5), (1.5, 2.6)):
        w = build_head(ReweightingHead(kappa=kappa), 4096)(torch.ones(1, 4096)).double()
        assert float(w.square().sum() ** 2 / w.pow(4).sum()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_an_identity_mlp_starts_as_no_head_and_trains_everything(depth: int) -> None:
    head = build_head(IdentityMLPHead(depth=depth), WIDTH)
    h = torch.randn(16, WIDTH)
    torch.testing.assert_close(head(h), h)
    head(h).pow(4).sum().backward()
    assert len(list(head.parameters())) == 3 * depth - 1
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in head.parameters())


@settings(max_examples=30)
@given(st.floats(-2, 2), st.floats(-5, 5))
def test_the_symmetric_relu_is_a_soft_threshold(b: float, x: float) -> None:
    head = build_head(IdentityMLPHead(depth=2), 1).double()
    with torch.no_grad():
        head[1].b.fill_(b)  # type: ignore[index, operator, union-attr]
    expected = max(x - b, 0.0) - max(-x - b, 0.0)
    assert float(head(torch.tensor([[x]], dtype=torch.float64)).detach()) == pytest.approx(
        expected, abs=1e-12
    )


def test_a_copy_of_a_random_subvector_is_redrawn_alike() -> None:
    """A momentum copy must see the features that the head sees."""
    head = build_head(RandomSubvectorHead(subvector=4), WIDTH).train()
    copied = copy.deepcopy(head)
    for part in (head, copied):
        part.redraw(3, 7)  # type: ignore[operator]
    assert subset_of(head) == subset_of(copied)


def test_a_head_of_ones_own_is_registered_by_its_spec() -> None:
    class Halved(Spec):
        parts: int = 2

    with pytest.raises(TypeError, match="is registered for Halved; registered: DiagonalHead"):
        build_head(Halved(), WIDTH)  # type: ignore[arg-type]

    @register_head(Halved)
    def halved(spec: Halved, width: int) -> nn.Module:
        return nn.Linear(width, width // spec.parts)

    assert build_head(Halved(parts=3), WIDTH)(torch.randn(2, WIDTH)).shape == (2, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Halved already has a builder"):
        register_head(Halved)(halved)
