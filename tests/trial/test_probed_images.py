"""``measure.images`` bounds what probes, ranks and spectra are of, and changes nothing for smaller sets."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from ablate.data import Split
from ablate.model import build_model
from ablate.trial.measures import extract, fit_probes, spectra, validation_metrics
from tests.train.synthetic import tiny_data, tiny_trial


def test_so_many_images_are_probed_in_the_proportions_of_the_classes() -> None:
    data = tiny_data(count=400)
    labels = data.train.labels.clone()
    labels[:100] = 0  # 175 of the first class, 75 of each other
    data = replace(data, train=Split(data.train.images, labels, data.train.ids))
    spec = tiny_trial(measure={"images": 120})
    model = build_model(spec)
    probed = fit_probes(model, data, spec)
    assert probed.labels.bincount().tolist() == pytest.approx([52.5, 22.5, 22.5, 22.5], abs=1)
    assert len(probed.train.h) == len(probed.train.z) == len(probed.labels) == 120
    everything = extract(model, data.train, spec)
    where = [torch.cdist(row[None], everything.h)[0].argmin() for row in probed.train.h]
    chosen = torch.stack(where)
    assert len(chosen.unique()) == 120
    assert torch.equal(labels[chosen], probed.labels)
    assert torch.allclose(everything.z[chosen], probed.train.z, atol=1e-6)
    assert set(spectra(probed.train)) == {"h", "z", "h_normalized", "z_normalized"}
    assert validation_metrics(model, data, spec, probed)["rank.h.effective"] > 1


def test_the_choice_is_that_of_the_seed_at_every_epoch() -> None:
    data, spec = tiny_data(count=300), tiny_trial(measure={"images": 100})
    model = build_model(spec)

    def probed(seed: int) -> torch.Tensor:
        return fit_probes(model, data, spec.model_copy(update={"seed": seed})).train.h

    first = probed(0)
    assert torch.equal(first, probed(0))
    assert not torch.equal(first, probed(1))


def test_a_set_that_is_no_larger_is_probed_whole_and_as_it_lies() -> None:
    data = tiny_data(count=100)
    spec = tiny_trial(measure={"images": 100})
    model = build_model(spec)
    found, free = (fit_probes(model, data, s) for s in (spec, tiny_trial()))
    assert torch.equal(found.labels, data.train.labels)
    assert torch.equal(found.train.h, free.train.h)
    assert torch.equal(found.train.h, extract(model, data.train, spec).h)
    assert all(torch.equal(found.probes[x].weight, free.probes[x].weight) for x in ("h", "z"))


def test_fewer_than_a_hundred_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"measure\.images"):
        tiny_trial(measure={"images": 99})
