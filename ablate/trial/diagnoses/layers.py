"""What every layer knows of every factor, before and after the head (Xue et al., arXiv 2403.11391).

A linear probe and k-NN are fitted to training images and read on test images; neither scales features one by
one, which would undo a diagonal head. Where the source has its own validation images they are fitted to
those: if factors go together in training, a probe of one may read another, which says nothing about either.
Metrics, for each layer of ``layer_features`` and each factor:

- ``layers.<layer>.<factor>.probe``, ``layers.<layer>.<factor>.knn``: accuracy on test;
- ``layers.<layer>.<factor>.share``: share of the layer's variance on test that lies between its classes. With
  C classes and N images, labels that mean nothing give (C - 1) / (N - 1).

At most 1,024 images of each split: for the differences of layers, not for the best accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.data import Dataset, Split, plain_view
from ablate.measure import between_share, fit_probe, knn_predict
from ablate.measure.probes import accuracy
from ablate.model import ContrastiveModel
from ablate.model.layers import layer_features
from ablate.spec.data import OwnValidation
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.sample import IMAGES, sample

_NAME = "layers"
_CHUNK = 256  # images that are floats at once


def layers(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    fitted = data.val if isinstance(spec.data, OwnValidation) else data.train
    train, test = (sample(_NAME, split, spec, IMAGES) for split in (fitted, data.test))
    of_train, of_test = (features_of(model, split, spec) for split in (train, test))
    metrics: dict[str, float] = {}
    for layer, x in of_train.items():
        query = of_test[layer]
        for factor, names in data.factor_names.items():
            known, truth = train.factors[factor], test.factors[factor]
            probe = fit_probe(
                x,
                known,
                classes=len(names),
                l2_choices=spec.measure.probe_l2,
                seed=stream_seed("probe", spec.seed),
            )
            guess = knn_predict(x, known, query, classes=len(names), k=spec.measure.knn)
            prefix = f"layers.{layer}.{factor}"
            metrics[f"{prefix}.probe"] = accuracy(probe.predict(query) == truth)
            metrics[f"{prefix}.knn"] = accuracy(guess == truth)
            metrics[f"{prefix}.share"] = between_share(query, truth)
    return metrics


def features_of(model: ContrastiveModel, split: Split, spec: TrialSpec) -> dict[str, Tensor]:
    """Features float32 [N, D_layer] of every layer, of the split's images as probes see them."""
    parts = [
        layer_features(model.encoder, model.head, plain_view(images, spec.views))
        for images in split.chunks(_CHUNK)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
