"""The diagnoses of factors: every layer and factor is there, and a head that hides a factor is seen to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ablate.data import Dataset, Split
from ablate.model import ContrastiveModel, build_model
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses import DIAGNOSES
from tests.train.synthetic import tiny_data, tiny_trial


def two_factors(count: int, seed: int, *, agree: float = 0.5) -> Split:
    """16 x 16 images: red says one factor, green, as strongly, the other; blue is noise."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 2, (count,), generator=generator)
    second = torch.where(torch.rand(count, generator=generator) < agree, first, 1 - first)
    images = torch.randint(0, 80, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    images[:, 0] += (100 * first[:, None, None]).to(torch.uint8)
    images[:, 1] += (100 * second[:, None, None]).to(torch.uint8)
    return Split(images, first, torch.arange(count), {"core": first, "background": second})


def dataset(*, agree: float = 0.5) -> Dataset:
    splits = two_factors(120, 0, agree=agree), two_factors(120, 1), two_factors(120, 2)
    names = {"core": ("low", "high"), "background": ("stripes", "checks")}
    return Dataset(*splits, ("low", "high"), "two", names)


class Channels(nn.Module):
    """h [B, 3]: the mean of each colour."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Weighed(nn.Module):
    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, h: Tensor) -> Tensor:
        return h * self.weights


def diagnose(name: str, head: nn.Module, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    model = ContrastiveModel(Channels(), head)
    return DIAGNOSES[name](model, data, spec)


def test_every_layer_is_probed_for_every_factor() -> None:
    spec = tiny_trial()
    metrics = DIAGNOSES["layers"](build_model(spec), dataset(), spec)
    layers = {name.removeprefix("layers.").rsplit(".", 2)[0] for name in metrics}
    assert {"h", "z", "head.1"} < layers
    for layer in layers:
        for factor in ("core", "background"):
            for kind in ("probe", "knn", "share"):
                assert 0 <= metrics[f"layers.{layer}.{factor}.{kind}"] <= 1
    assert metrics["layers.stem.core.probe"] > 0.9
    single = DIAGNOSES["layers"](build_model(spec), tiny_data(), spec)
    assert set(single) == {n.replace("core", "label") for n in metrics if "core" in n}


def test_a_head_that_weighs_a_factor_down_is_seen_in_share_and_probe() -> None:
    spec = tiny_trial(measure={"probe_l2": [0.1]})
    metrics = diagnose("layers", Weighed(1.0, 1e-3, 1.0), dataset(), spec)
    assert metrics["layers.h.background.share"] == pytest.approx(metrics["layers.h.core.share"], abs=0.1)
    assert metrics["layers.z.background.share"] < 0.05 < 0.9 < metrics["layers.z.core.share"]
    assert metrics["layers.h.background.probe"] > 0.95 > 0.8 > metrics["layers.z.background.probe"]


def test_factors_that_go_together_in_training_are_probed_on_a_sources_own_validation_images() -> None:
    data = dataset(agree=1.0)  # of training images: nothing there tells the factors apart
    blind = Weighed(1.0, 0.0, 0.0)
    seeded = diagnose("layers", blind, data, tiny_trial())
    own = diagnose("layers", blind, data, tiny_trial(data={"kind": "group-shift"}))
    assert own["layers.z.background.probe"] < 0.65
    assert own["layers.z.core.probe"] > 0.95
    assert own["layers.h.background.probe"] > seeded["layers.h.background.probe"] + 0.05


def test_retraining_on_balanced_validation_images_serves_the_worst_group() -> None:
    spec = tiny_trial(measure={"probe_l2": [1.0]})
    data = dataset(agree=0.98)
    metrics = diagnose("factors", Weighed(0.3, 1.0, 0.0), data, spec)
    assert set(metrics) == {
        f"factors.{x}.{fit}.{score}"
        for x in ("h", "z")
        for fit in ("erm", "dfr")
        for score in ("worst", "average", "gap")
    }
    for x in ("h", "z"):
        assert metrics[f"factors.{x}.dfr.worst"] > metrics[f"factors.{x}.erm.worst"] + 0.3
        assert metrics[f"factors.{x}.dfr.gap"] < metrics[f"factors.{x}.erm.gap"]
    assert metrics["factors.h.dfr.worst"] > 0.95


def test_the_model_is_left_in_its_mode() -> None:
    spec = tiny_trial()
    model = build_model(spec).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name in ("layers", "factors"):
        data = dataset()
        DIAGNOSES[name](model, replace(data, train=data.val), spec)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
