"""Projection heads: shapes, what each holds, and that a new one needs only a decorator."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from ablate.model import build_head, head_weights, register_head
from ablate.spec.base import Spec
from ablate.spec.model import DirectCLRHead, HeadSpec, LinearHead, MLPHead, NoHead

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
    ],
    ids=lambda value: value.kind if isinstance(value, Spec) else "",
)
def test_shapes_and_weights(spec: HeadSpec, out: int, weights: list[tuple[int, int]]) -> None:
    head = build_head(spec, WIDTH)
    assert head(torch.randn(4, WIDTH)).shape == (4, out)
    assert [tuple(w.shape) for w in head_weights(head)] == weights
    assert all(isinstance(w, nn.Parameter) for w in head_weights(head))
    if not weights:
        assert not list(head.parameters())


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


def test_a_subvector_longer_than_h_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head.subvector \(13\) exceeds the encoder's width \(12\)"):
        build_head(DirectCLRHead(subvector=13), WIDTH)


def test_a_head_of_ones_own_is_registered_by_its_spec() -> None:
    class Halved(Spec):
        parts: int = 2

    with pytest.raises(TypeError, match="no projection head is registered for Halved; registered: DirectCLR"):
        build_head(Halved(), WIDTH)  # type: ignore[arg-type]

    @register_head(Halved)
    def halved(spec: Halved, width: int) -> nn.Module:
        return nn.Linear(width, width // spec.parts)

    assert build_head(Halved(parts=3), WIDTH)(torch.randn(2, WIDTH)).shape == (2, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Halved already has a builder"):
        register_head(Halved)(halved)
