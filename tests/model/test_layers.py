"""What every layer makes of the same images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ablate.model import build_encoder, build_head
from ablate.model.layers import layer_features
from ablate.spec.encoder import Pixels, TinyResNet, TorchvisionResNet
from ablate.spec.head import HeadSpec

HEAD: TypeAdapter[HeadSpec] = TypeAdapter(HeadSpec)
ENCODER = TinyResNet(width=4, blocks=(1, 2, 1))


def head_of(width: int, **spec: Any) -> nn.Module:
    return build_head(HEAD.validate_python(spec), width)


def shapes(features: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in features.items()}


def test_every_stage_and_layer_in_forward_order() -> None:
    encoder, head = build_encoder(ENCODER, size=16), head_of(16, kind="mlp", depth=3, hidden=9, out=5)
    features = layer_features(encoder, head, torch.randn(6, 3, 16, 16))
    assert shapes(features) == {
        "stem": (6, 4), "stage.1": (6, 4), "stage.2": (6, 8), "h": (6, 16),
        "head.1": (6, 9), "head.2": (6, 9), "z": (6, 5),
    }  # fmt: skip
    assert list(features) == ["stem", "stage.1", "stage.2", "h", "head.1", "head.2", "z"]
    assert all(x.dtype == torch.float32 and not x.requires_grad for x in features.values())


def test_torchvision_stages() -> None:
    encoder = build_encoder(TorchvisionResNet(kind="resnet18", stem="cifar"), size=8)
    features = layer_features(encoder, head_of(512, kind="none"), torch.randn(2, 3, 8, 8))
    assert shapes(features) == {
        "stem": (2, 64), "stage.1": (2, 64), "stage.2": (2, 128), "stage.3": (2, 256), "h": (2, 512),
        "z": (2, 512),
    }  # fmt: skip


def test_an_encoder_without_stages_gives_h_alone() -> None:
    features = layer_features(
        build_encoder(Pixels(), size=4), head_of(48, kind="linear", out=3), torch.randn(2, 3, 4, 4)
    )
    assert list(features) == ["h", "z"]


def test_a_feature_map_is_averaged_over_its_area() -> None:
    encoder, images = build_encoder(ENCODER, size=16).eval(), torch.randn(3, 3, 16, 16)
    features = layer_features(encoder, head_of(16, kind="none"), images)
    with torch.no_grad():
        stem = encoder.stem(images)  # type: ignore[operator]
        torch.testing.assert_close(features["stem"], stem.mean((2, 3)))
        torch.testing.assert_close(features["stage.1"], encoder.stages[0](stem).mean((2, 3)))  # type: ignore[index, operator]
        torch.testing.assert_close(features["h"], encoder(images))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_heads_layer_is_what_the_next_receives_although_relu_works_in_place(norm: str) -> None:
    encoder, head = build_encoder(ENCODER, size=16), head_of(16, kind="mlp", hidden=9, out=5, norm=norm)
    features = layer_features(encoder, head, torch.randn(6, 3, 16, 16))
    head.eval()
    *first, last = head.children()
    with torch.no_grad():
        expected = nn.Sequential(*first)(features["h"].clone())
        torch.testing.assert_close(features["head.1"], expected)
        torch.testing.assert_close(features["z"], last(expected))


def test_modes_statistics_and_hooks_are_left_as_they_were() -> None:
    encoder, head = build_encoder(ENCODER, size=16).train(), head_of(16, kind="mlp").train()
    encoder.stem.eval()  # type: ignore[union-attr]
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    first = layer_features(encoder, head, torch.randn(600, 3, 16, 16))
    assert encoder.training
    assert head.training
    assert not encoder.stem.training  # type: ignore[union-attr]
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    assert len(first["z"]) == 600
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*encoder.modules(), *head.modules()))
