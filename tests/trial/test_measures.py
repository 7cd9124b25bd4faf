"""What a trial measures: geometry over the whole validation split, whatever its order."""

from dataclasses import replace

import torch

from ablate.data import Split
from ablate.model import build_model
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
