"""The whole model: paired initialisation across heads, and a faithful state dict."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ablate.model import ContrastiveModel, build_encoder, build_head, build_model
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec

MLP = {"kind": "mlp", "hidden": 10, "out": 6}
HEADS: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "linear", "out": 6},
    MLP,
    {**MLP, "depth": 4},
    {"kind": "directclr", "subvector": 3},
]


def trial(head: dict[str, Any], seed: int = 0, encoder: dict[str, Any] | None = None) -> TrialSpec:
    return TrialSpec.model_validate(
        {
            "data": {"kind": "digits"},
            "encoder": encoder or {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
            "head": head,
            "optim": {"kind": "sgd"},
            "seed": seed,
        }
    )


def parameters(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h["kind"])
def test_the_encoder_is_the_same_whatever_the_head(head: dict[str, Any]) -> None:
    spec = trial(head)
    model = build_model(spec)
    assert torch.equal(parameters(model.encoder), parameters(build_model(trial(MLP)).encoder))
    h, z = model(torch.randn(5, 3, 16, 16))
    assert h.shape == (5, spec.width)
    assert len(z) == 5


def test_another_seed_gives_another_encoder_and_head() -> None:
    first, second, again = (build_model(trial(MLP, seed)) for seed in (0, 1, 0))
    for part in ("encoder", "head"):
        a, b, c = (parameters(getattr(model, part)) for model in (first, second, again))
        assert not torch.equal(a, b)
        assert torch.equal(a, c)


def test_the_head_is_the_same_whatever_draws_the_encoder_made() -> None:
    deep = {"kind": "tiny-resnet", "width": 4, "blocks": [3, 2]}
    small, large = build_model(trial(MLP)), build_model(trial(MLP, encoder=deep))
    assert torch.equal(parameters(small.head), parameters(large.head))


def test_each_part_draws_from_the_stream_of_its_name() -> None:
    spec = trial(MLP, seed=5)
    model = build_model(spec)
    torch.manual_seed(stream_seed("encoder", 5))
    encoder = build_encoder(spec.encoder, size=spec.views.size)
    torch.manual_seed(stream_seed("head", 5))
    head = build_head(spec.head, spec.width)
    assert torch.equal(parameters(model.encoder), parameters(encoder))
    assert torch.equal(parameters(model.head), parameters(head))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = build_model(trial(MLP))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(parameters(first), parameters(build_model(trial(MLP))))


def test_state_dict_round_trip() -> None:
    images = torch.randn(6, 3, 16, 16)
    model = build_model(trial(MLP)).train()
    for _ in range(2):
        model(images)  # moves the batch norms' running statistics
    other = build_model(trial(MLP, seed=1))
    other.load_state_dict(model.state_dict())
    for got, want in zip(other.eval()(images), model.eval()(images), strict=True):
        assert torch.equal(got, want)


def test_directclr_trains_the_whole_encoder_below_the_last_block() -> None:
    """Gradient enters at h[:, :3] only, yet reaches every layer through the residual connections."""
    model: ContrastiveModel = build_model(trial({"kind": "directclr", "subvector": 3}))
    h, z = model(torch.randn(6, 3, 16, 16))
    h.retain_grad()
    z.square().sum().backward()
    assert h.grad is not None
    assert (h.grad[:, 3:] == 0).all()
    stem = next(model.encoder.parameters())
    assert stem.grad is not None
    assert (stem.grad != 0).any()
