"""What a trial measures: geometry over the whole validation split, whatever its order."""

from dataclasses import replace

import torch

from ablate.data import Split
from ablate.model import build_model
from ablate.spec.objective import METRICS
from ablate.spec.trial import TrialSpec
from ablate.trial.measures import fit_probes, validation_metrics
from tests.train.synthetic import tiny_data, tiny_trial


def test_geometry_sees_all_classes_of_a_split_in_the_order_of_its_classes() -> None:
    spec, data = tiny_trial(), tiny_data()
    dark = torch.zeros(2000, 3, 16, 16, dtype=torch.uint8)
    images = torch.cat([dark, data.train.images])
    labels = torch.cat([torch.zeros(2000, dtype=torch.int64), 1 + data.train.labels % 3])
    data = replace(data, val=Split(images, labels, torch.arange(len(labels))))
    model = build_model(spec)
    metrics = validation_metrics(model, data, spec, fit_probes(model, data, spec))
    assert metrics["spread.z"] > 0.01  # all dark images give one embedding


def test_every_metric_that_a_search_may_name_is_measured() -> None:
    """But for the loss and the speed, which training reports."""
    spec, data = tiny_trial(measure={"lidar": 3}), tiny_data()
    model = build_model(spec)
    metrics = validation_metrics(model, data, spec, fit_probes(model, data, spec))
    assert set(metrics) == set(METRICS) - {"loss", "views_per_second"}
    assert metrics["rank.h.alpha_distance"] == abs(metrics["rank.h.alpha"] - 1)
    assert 1 <= metrics["rank.h.lidar"] <= 8
    assert not any(name.endswith("lidar") for name in measured(tiny_trial()))


def test_lidar_of_one_number_of_views_is_always_the_same_and_without_a_head_z_is_h() -> None:
    spec = tiny_trial(measure={"lidar": 2}, head={"kind": "none"})
    first, second = measured(spec), measured(spec)
    assert first["rank.h.lidar"] == second["rank.h.lidar"] == first["rank.z.lidar"]
    assert first["rank.h.lidar"] != measured(spec.model_copy(update={"seed": 1}))["rank.h.lidar"]


def measured(spec: TrialSpec) -> dict[str, float]:
    data, model = tiny_data(), build_model(spec)
    return validation_metrics(model, data, spec, fit_probes(model, data, spec))
