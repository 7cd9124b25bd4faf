"""Diagnoses of a trained model: what each reports, on models whose answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablate.data import Dataset
from ablate.model import ContrastiveModel, build_model
from ablate.objective import info_nce
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses import DIAGNOSES
from ablate.trial.diagnoses.sample import batches, pairs, sample
from tests.train.synthetic import tiny_data, tiny_trial

COLOURS = {"preset": "photos-32", "size": 16}


def diagnosed(
    name: str, spec: TrialSpec, model: ContrastiveModel | None = None, data: Dataset | None = None
) -> dict[str, float]:
    """Metrics without their prefix, which is the diagnosis' own."""
    found = DIAGNOSES[name](model or build_model(spec), data or tiny_data(), spec)
    assert all(key.startswith(f"{name}.") for key in found)
    return {key.removeprefix(f"{name}."): value for key, value in found.items()}


MINE = ["augmentation", "generalisation", "head", "inner", "subset"]


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("head", [{"kind": "mlp", "hidden": 8, "out": 4}, {"kind": "none"}])
def test_it_reports_finite_numbers_repeatably_and_leaves_the_model_alone(
    name: str, head: dict[str, Any]
) -> None:
    spec = tiny_trial(head=head, views=COLOURS)
    model = build_model(spec).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(4)
    expected_draw = torch.rand(3)
    torch.manual_seed(4)
    first = diagnosed(name, spec, model)
    assert torch.equal(torch.rand(3), expected_draw)
    assert all(torch.tensor(list(first.values())).isfinite())
    assert diagnosed(name, spec, model) == first
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_samples_are_drawn_from_all_over_a_split_and_streams_of_their_own() -> None:
    spec, split = tiny_trial(), tiny_data().train
    taken = sample("a", split, spec, 16)
    assert len(set(taken.ids.tolist())) == 16
    assert taken.ids.max() - taken.ids.min() > 32
    assert torch.equal(sample("a", split, spec, 8).ids, taken.ids[:8])
    assert not torch.equal(sample("b", split, spec, 16).ids, taken.ids)
    assert [len(batch.ids) for batch in batches("a", split, spec, 24, 5)] == [24, 24]
    assert [len(batch.ids) for batch in batches("a", split, spec, 100, 5)] == [64]


class Selecting(nn.Module):
    """A head that takes one feature of h: the larger of the first two."""

    def forward(self, h: Tensor) -> Tensor:
        return h[:, :2].max(1, keepdim=True).values


def with_head(spec: TrialSpec, head: nn.Module) -> ContrastiveModel:
    return ContrastiveModel(build_model(spec).encoder, head)


def test_head_tells_a_fixed_subspace_from_one_that_depends_on_the_image() -> None:
    spec = tiny_trial()
    fixed = diagnosed("head", tiny_trial(head={"kind": "directclr", "subvector": 3}))
    assert (fixed["subspace_size"], fixed["data_dependence"]) == (3, pytest.approx(0, abs=1e-12))
    assert fixed["jacobian_rank"] == pytest.approx(3)
    assert 0 < fixed["subspace_variance"] < 1
    model = with_head(spec, Selecting())
    chosen = diagnosed("head", spec, model)
    h = model.eval().encoder(torch.zeros(1, 3, 16, 16))
    assert h.shape == (1, 8)
    assert chosen["subspace_size"] == 1
    assert 0 <= chosen["data_dependence"] < 0.6


def test_subset_of_directclr_lies_in_its_subvector() -> None:
    found = diagnosed("subset", tiny_trial(head={"kind": "directclr", "subvector": 3}))
    assert 1 <= found["size"] <= 3
    assert found["share"] == found["size"] / 8
    assert found["chance"] == pytest.approx(found["share"] / (2 - found["share"]))
    assert 0 < found["overlap"] <= 1


def test_nothing_is_lost_where_all_else_is_masked_already() -> None:
    """A head that reads one feature: the subset is that feature, and masking the others changes nothing."""
    spec = tiny_trial()
    head = nn.Linear(8, 2, bias=True)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 5] = 1.0
    found = diagnosed("subset", spec, with_head(spec, head))
    assert (found["size"], found["overlap"]) == (1, 1)
    assert found["loss_masked"] == pytest.approx(found["loss"], abs=1e-6)


def test_generalisation_is_info_nce_of_validation_minus_training() -> None:
    spec, data = tiny_trial(loss={"temperature": 0.5, "margin": {"angular": 0.3}}), tiny_data()
    model = build_model(spec)
    found = diagnosed("generalisation", spec, model, data)
    assert found["batch"] == 32  # of optim.batch 32, 64 training and 32 validation images
    assert found["gap"] == found["held_out"] - found["train"]
    val = pairs("generalisation", model, sample("generalisation", data.val, spec, 32), spec)
    expected = float(info_nce(val.z1, val.z2, temperature=0.5))  # without the margin
    assert found["held_out"] == pytest.approx(expected, rel=1e-6)


def test_generalisation_takes_one_batch_size_that_both_splits_hold() -> None:
    optim = {"kind": "sgd", "epochs": 1, "batch": 64, "warmup_epochs": 0.0}
    assert diagnosed("generalisation", tiny_trial(optim=optim))["batch"] == 32


def test_the_inner_gap_closes_as_the_head_is_trained_on_fixed_features() -> None:
    spec = tiny_trial(head={"kind": "linear", "out": 4})
    model, data = build_model(spec), tiny_data()
    start = diagnosed("inner", spec, model, data)
    assert start["gap"] > 0
    assert start["gradient"] > 0
    found = pairs("elsewhere", model, data.train, spec)
    optimiser = torch.optim.Adam(model.head.parameters(), lr=3e-2)
    for _ in range(200):
        optimiser.zero_grad()
        info_nce(model.head(found.h1), model.head(found.h2), temperature=0.2).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    trained = diagnosed("inner", spec, model, data)
    assert trained["loss"] < start["loss"]
    assert trained["gap"] < start["gap"]
    assert trained["gap_fresh"] < start["gap_fresh"]


def test_a_head_without_weights_is_optimal() -> None:
    found = diagnosed("inner", tiny_trial(head={"kind": "directclr", "subvector": 3}))
    assert found.pop("loss") > 0
    assert set(found.values()) == {0.0}
    assert found.keys() == {"gap", "gap_fresh", "gradient", "gradient_relative"}


@pytest.mark.parametrize("method", ["barlow-twins", "vicreg", "spectral", "supcon"])
def test_inner_and_subset_are_of_the_trials_own_loss(method: str) -> None:
    spec = tiny_trial(method={"kind": method})
    assert diagnosed("inner", spec)["gap"] >= 0
    assert diagnosed("subset", spec)["loss"] != diagnosed("subset", tiny_trial())["loss"]


class Mean(nn.Module):
    """Images -> their mean colour, and nothing else."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Direction(nn.Module):
    """h -> what brightness does not change."""

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.normalize(h, dim=1)


def test_augmentation_reads_brightness_off_features_that_have_it_and_not_off_those_that_do_not() -> None:
    views = {
        "preset": "photos-32", "size": 16, "crop_area": [1.0, 1.0], "crop_aspect": [1.0, 1.0], "flip": 0.0,
        "jitter": 1.0, "brightness": 0.4, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0,
        "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
    }  # fmt: skip
    spec = tiny_trial(views=views)

    found = diagnosed("augmentation", spec, ContrastiveModel(Mean(), Direction()))
    assert found.keys() == {"h.cosine", "z.cosine", "h.brightness", "z.brightness", "h.r2", "z.r2"}
    assert found["h.brightness"] > 0.8
    assert found["z.brightness"] < 0.3
    assert found["h.r2"] == found["h.brightness"]
    assert found["z.cosine"] > 0.99 > found["h.cosine"]


def test_augmentation_leaves_out_what_varies_by_rounding_alone() -> None:
    views = {
        "crop_area": [0.5, 0.5], "crop_aspect": [1.0, 1.0], "rotate": 0.0,
        "blur": 1.0, "blur_sigma": [1.3, 1.3],
    }  # fmt: skip
    found = diagnosed("augmentation", tiny_trial(views=views))
    read = ("cosine", "crop_x", "crop_y", "r2")
    assert found.keys() == {f"{x}.{name}" for x in "hz" for name in read}
    assert all(map(math.isfinite, found.values()))


def test_augmentation_without_any_has_cosines_alone() -> None:
    views = {"crop_area": [1.0, 1.0], "crop_aspect": [1.0, 1.0], "rotate": 0.0}
    found = diagnosed("augmentation", tiny_trial(views=views))
    assert found.keys() == {"h.cosine", "z.cosine"}
    assert found["h.cosine"] == pytest.approx(1, abs=1e-5)
