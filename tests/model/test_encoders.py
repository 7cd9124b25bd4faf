"""Encoders: shapes, stems, and h as the heads and measures expect it."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from ablate.model import build_encoder
from ablate.model.encoders.checkpointing import checkpoint_stages
from ablate.spec.encoder import Pixels, TinyResNet, TorchvisionResNet


@pytest.mark.parametrize(
    ("width", "blocks", "size", "out"),
    [(16, (1, 1, 1), 24, 64), (8, (2,), 16, 8), (4, (1, 2, 1, 1), 32, 32), (4, (1, 1, 1, 1), 8, 32)],
)
def test_tiny_resnet(width: int, blocks: tuple[int, ...], size: int, out: int) -> None:
    encoder = build_encoder(TinyResNet(width=width, blocks=blocks), size=size)
    h = encoder(torch.randn(3, 3, size, size))
    assert h.shape == (3, out)
    assert (h >= 0).all()
    assert (h.std(dim=0) > 0).any()
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 1 + 2 * sum(blocks)
    h.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(("stem", "cells"), [("cifar", 16), ("imagenet", 1)])
def test_torchvision_stems(stem: str, cells: int) -> None:
    """At 32 px the last stage sees 4 x 4 cells behind CIFAR's stem, 1 x 1 behind ImageNet's."""
    encoder = build_encoder(TorchvisionResNet.model_validate({"kind": "resnet18", "stem": stem}), size=32)
    seen: list[int] = []
    encoder.layer4.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[2] * out.shape[3]))
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, 512)
    assert seen == [cells]
    assert not [m for m in encoder.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize(("kind", "out"), [("resnet34", 512), ("resnet50", 2048)])
def test_deeper_torchvision_nets(kind: str, out: int) -> None:
    spec = TorchvisionResNet.model_validate({"kind": kind, "stem": "imagenet", "zero_init_residual": True})
    encoder = build_encoder(spec, size=32).eval()
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, 32, 32)).shape == (1, out)
    last_norm = "bn3" if kind == "resnet50" else "bn2"
    assert (getattr(encoder.layer1[0], last_norm).weight == 0).all()


def test_pixels_are_the_image() -> None:
    encoder = build_encoder(Pixels(), size=8)
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(encoder(images), images.reshape(2, 192))
    assert not list(encoder.parameters())


@pytest.mark.parametrize("spec", [
    TinyResNet(width=4, blocks=(2, 1)),
    TorchvisionResNet.model_validate({"kind": "resnet18", "stem": "imagenet"}),
], ids=["tiny", "torchvision"])  # fmt: skip
def test_checkpointed_stages_keep_less_and_give_the_same(spec: TinyResNet | TorchvisionResNet) -> None:
    plain, again = build_encoder(spec, size=32), build_encoder(spec, size=32)
    checkpoint_stages(again)
    again.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = []
    for encoder in (plain, again):
        sizes = {}

        def keep(x: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            h = encoder(images)
        h.square().sum().backward()
        weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
        kept.append(sum(size for place, size in sizes.items() if place not in weights))
    assert kept[1] < 0.6 * kept[0]
    assert list(again.state_dict()) == list(plain.state_dict())
    for (name, a), b in zip(plain.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert torch.equal(p.grad, q.grad), name


def test_in_eval_mode_checkpointed_stages_are_plain_ones() -> None:
    encoder = build_encoder(TinyResNet(width=4, blocks=(1, 1)), size=16).eval()
    images = torch.randn(2, 3, 16, 16)
    expected = encoder(images)
    checkpoint_stages(encoder)
    encoder.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert torch.equal(encoder(images), expected)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_an_encoder_without_stages_cannot_be_checkpointed() -> None:
    with pytest.raises(ValueError, match=r"Flatten has no stages .* neither `stages`.* nor layer1"):
        checkpoint_stages(build_encoder(Pixels(), size=8))


class Staged(nn.Module):
    """A plugin's encoder, of one stage."""

    def __init__(self, stage: nn.Sequential) -> None:
        super().__init__()
        self.stages = nn.Sequential(stage)


def test_checkpointed_blocks_keep_the_names_they_were_given() -> None:
    encoder = Staged(nn.Sequential(OrderedDict(first=nn.Linear(3, 3), second=nn.Linear(3, 3))))
    names = list(encoder.state_dict())
    checkpoint_stages(encoder)
    assert list(encoder.state_dict()) == names


def test_a_stage_with_a_forward_of_its_own_cannot_be_checkpointed() -> None:
    class Residual(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + super().forward(x)

    with pytest.raises(ValueError, match="Staged has no stages"):
        checkpoint_stages(Staged(Residual(nn.Linear(3, 3))))
