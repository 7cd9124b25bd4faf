"""Microbatches: the loss and the gradient of the whole batch, in forward passes that are smaller."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ablate.model.methods import TwoViews
from ablate.train import Trainer, TrainingError, World
from ablate.train.criterion import loss_share
from tests.train.synthetic import tiny_data, tiny_trial

ROWS = torch.arange(32)
LINEAR = {"depth": 1}  # a predictor without batch norm
METHODS: list[dict[str, Any]] = [
    {"kind": "simclr"},
    {"kind": "moco-v2", "queue": 64},
    {"kind": "moco-v2", "queue": 64, "symmetric": True},
    {"kind": "moco-v3", "predictor": LINEAR},
    {"kind": "byol", "predictor": LINEAR},
    {"kind": "simsiam", "predictor": LINEAR},
    {"kind": "barlow-twins"},
    {"kind": "vicreg"},
    {"kind": "spectral"},
    {"kind": "supcon"},
    {"kind": "supervised"},
]


def trainer_of(microbatch: int | None, **sections: Any) -> Trainer:
    compute = {"microbatch": microbatch} | sections.pop("compute", {})
    return Trainer(tiny_trial(compute=compute, **sections), tiny_data(), World.single(), torch.device("cpu"))


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    return {name: p.grad for name, p in trainer.method.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() != set()
    scale = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < 1e-6 * scale, name


@pytest.mark.parametrize("apart", ["together", "apart"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["kind"] + "-symmetric" * ("symmetric" in m))
def test_without_batch_norm_a_step_is_that_of_the_whole_batch(method: dict[str, Any], apart: str) -> None:
    parts = {
        "encoder": {"kind": "pixels"},
        "head": {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8, "norm": "none"},
        "views": {"size": 8},
        "compute": {"view_stats": apart},
    }
    whole, cached = (trainer_of(m, method=method, **parts) for m in (None, 8))
    losses = [float(trainer._train_step(ROWS, ROWS, 0)) for trainer in (whole, cached)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert_close(gradients(cached), gradients(whole))
    ours, theirs = cached.method.state_dict(), whole.method.state_dict()
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)  # copies and queues too


@pytest.mark.parametrize("method", [{"kind": "simclr"}, {"kind": "byol"}, {"kind": "supervised"}])
def test_batch_norm_sees_each_microbatch_once_and_alone(method: dict[str, Any]) -> None:
    """Against one graph of all microbatches."""
    cached, plain = trainer_of(8, method=method), trainer_of(None, method=method)
    plain.method.train()
    views = zip(*(v.split(8) for v in plain._views(ROWS)), strict=True)
    parts = [plain.method(v1, v2) for v1, v2 in views]
    labels = plain.data.train.labels[ROWS]
    if method["kind"] == "simclr":
        z1, z2 = (torch.cat([getattr(part, name) for part in parts]) for name in ("z1", "z2"))
        loss = loss_share(plain.spec.loss, TwoViews(z1, z2), labels, World.single())
    else:  # losses that are means over images
        some = zip(parts, plain.data.train.labels[ROWS].split(8), strict=True)
        loss = torch.stack([loss_share(plain.spec.loss, *each, World.single()) for each in some]).mean()
    loss.backward()
    assert float(cached._train_step(ROWS, ROWS, 0)) == pytest.approx(float(loss.detach()), rel=1e-6)
    assert_close(gradients(cached), gradients(plain))
    ours, theirs = cached.method.state_dict(), plain.method.state_dict()
    seen = {key for key in theirs if "running" in key or "tracked" in key}
    assert seen
    assert all(torch.equal(ours[key], theirs[key]) for key in seen)


def test_a_microbatch_of_the_whole_share_is_no_microbatch() -> None:
    assert trainer_of(32).cache is None
    assert [r.loss for r in trainer_of(32).epochs()] == [r.loss for r in trainer_of(None).epochs()]


def test_what_cannot_be_cut_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"compute.microbatch: 12 must divide optim.batch \(32\)"):
        trainer_of(12)
    with pytest.raises(ValidationError, match=r"compute.microbatch: does not go with inner"):
        trainer_of(8, inner={"steps": 1, "batch": "same"})
    spec = tiny_trial(compute={"microbatch": 16, "batch_stats": "local"}, optim={
        "kind": "sgd", "lr": 0.1, "epochs": 3, "batch": 48,
    })  # fmt: skip
    with pytest.raises(TrainingError, match=r"compute.microbatch \(16\) must divide .* optim.batch \(24\)"):
        Trainer(spec, tiny_data(), World(0, 2), torch.device("cpu"))
