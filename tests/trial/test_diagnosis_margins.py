"""The diagnosis ``margins`` of a small trial."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ablate.model import build_model
from ablate.trial.diagnoses.margins import margins
from tests.train.synthetic import tiny_data, tiny_trial


def diagnosed(**changes: Any) -> dict[str, float]:
    spec = tiny_trial(**changes)
    return margins(build_model(spec).train(), tiny_data(), spec)


def test_without_a_margin_all_factors_are_one_and_the_model_stays_as_it_was() -> None:
    spec, data = tiny_trial(), tiny_data()
    model = build_model(spec).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = margins(model, data, spec)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert found["margins.A"] == found["margins.B"] == found["margins.AB"] == 1
    assert found["margins.beyond"] == 0
    assert all(math.isfinite(value) for value in found.values())
    assert found == margins(model, data, spec)


def test_it_follows_the_trials_margin_and_effect() -> None:
    margin = {"angular": 0.3, "subtractive": 0.1}
    whole = diagnosed(loss={"margin": margin})
    assert whole["margins.A"] > 1
    assert whole["margins.B"] > 1
    angle = diagnosed(loss={"margin": {"angular": 0.3, "effect": "angle"}})
    assert angle["margins.A"] == whole["margins.A"]
    assert angle["margins.B"] == 1
    assert angle["margins.p.q50"] == whole["margins.p.q50"]  # of the softmax without a margin
    emphasised = diagnosed(loss={"margin": {"effect": "emphasis", "emphasis": 3.0}})
    assert emphasised["margins.AB"] == 3


def test_more_negatives_leave_less_probability() -> None:
    few = diagnosed(loss={"negatives": "other_view"})
    many = diagnosed()
    assert few["margins.p.q50"] > many["margins.p.q50"]
    assert few["margins.theta.q50"] == many["margins.theta.q50"]


def test_a_loss_without_a_softmax_over_negatives_is_refused() -> None:
    with pytest.raises(TypeError, match="margins is of InfoNCE's gradients, not of vicreg's"):
        diagnosed(method={"kind": "vicreg"})
