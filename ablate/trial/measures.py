"""The numbers of one trial: measured at epochs on validation, and once at the end on the test split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ablate.data import Dataset, Split, plain_view
from ablate.data.choose import choose_stratified
from ablate.measure import (
    alignment,
    decay,
    fit_probe,
    knn_predict,
    lidar,
    rank_of,
    singular_values,
    spread,
    uniformity,
)
from ablate.measure.probes import LinearProbe, accuracy
from ablate.model import ContrastiveModel, head_weights
from ablate.objective.sparsity import sparsity_measures
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec
from ablate.train import Diverged

T = TypeVar("T")

_CHUNK = 512
_PAIRS = 1024  # images over whose views alignment, uniformity and LiDAR are taken


@dataclass(frozen=True)
class Features:
    """Representation ``h`` [N, D] and embedding ``z`` [N, d] of a split; ``z is h`` without a head."""

    h: Tensor
    z: Tensor

    def named(self) -> list[tuple[str, Tensor]]:
        return [("h", self.h), ("z", self.z)]


@torch.inference_mode()
def extract(model: ContrastiveModel, split: Split, spec: TrialSpec, chosen: Tensor | None = None) -> Features:
    """Features of the split's images, or of those at the positions ``chosen``, int64 [N].

    In eval mode; the model's mode is left as it was. Holds the pixels of a few hundred images at a time.
    Raises Diverged if features are not finite.
    """
    count = len(split.labels) if chosen is None else len(chosen)
    was_training = model.training
    model.eval()
    whole: list[Tensor] = []  # h, and z where there is a head
    start = 0
    for images in split.chunks(_CHUNK, chosen):
        h, z = model(plain_view(images, spec.views))
        parts = [h] if spec.head.kind == "none" else [h, z]
        whole = whole or [part.new_empty(count, part.shape[1]) for part in parts]
        for all_, part in zip(whole, parts, strict=True):
            all_[start : start + len(part)] = part
        start += len(images)
    model.train(was_training)
    h, z = whole[0], whole[-1]
    for name, x in (("h", h), ("z", z)):
        if not bool(torch.isfinite(x).all()):
            raise Diverged(f"{name} is not finite")
    return Features(h, z)


@dataclass(frozen=True)
class Probed:
    """Training features and the linear probes fitted to them; ``z`` shares those of ``h`` without a head."""

    train: Features
    labels: Tensor
    probes: dict[str, LinearProbe]
    knn: int

    def correct(self, query: Features, labels: Tensor) -> dict[str, Tensor]:
        """Per-example correctness [N] of ``probe.h``, ``knn.h``, ``probe.z`` and ``knn.z``."""
        found: dict[str, Tensor] = {}
        for (name, x), (_, q) in zip(self.train.named(), query.named(), strict=True):
            if name == "z" and self.train.z is self.train.h:
                return found | {k.replace(".h", ".z"): v for k, v in found.items()}
            probe = self.probes[name]
            found[f"probe.{name}"] = probe.predict(q) == labels
            guess = knn_predict(x, self.labels, q, classes=len(probe.bias), k=self.knn)
            found[f"knn.{name}"] = guess == labels
        return found


def fit_probes(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> Probed:
    """Extract the training features and fit a linear probe to ``h`` and to ``z``.

    Of all training images, or of ``measure.images`` of them.
    """
    chosen = _probed_images(data.train, spec)
    train = extract(model, data.train, spec, chosen)
    labels = data.train.labels if chosen is None else data.train.labels[chosen]
    seed, classes = stream_seed("probe", spec.seed), len(data.class_names)
    choices = spec.measure.probe_l2
    probes = _each(train, lambda x: fit_probe(x, labels, classes=classes, l2_choices=choices, seed=seed))
    return Probed(train, labels, probes, spec.measure.knn)


def _probed_images(train: Split, spec: TrialSpec) -> Tensor | None:
    """Positions of the ``measure.images`` that stand for all training images; None: all of them.

    The same at every epoch and for all arms of a seed, so that these differ by what was trained alone.
    Another seed chooses others: what the choice does to a number is in its spread over seeds.
    """
    if len(train.labels) <= spec.measure.images:
        return None
    seed = stream_seed("probe-images", spec.seed)
    chosen = choose_stratified(train.labels.cpu().numpy(), spec.measure.images, seed=seed)
    return torch.from_numpy(chosen).to(train.ids.device)


def split_metrics(
    model: ContrastiveModel, probed: Probed, split: Split, spec: TrialSpec
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Correctness on ``split`` per example, and its mean, of every probe."""
    correct = probed.correct(extract(model, split, spec), split.labels)
    return correct, {name: accuracy(c) for name, c in correct.items()}


def validation_metrics(
    model: ContrastiveModel, data: Dataset, spec: TrialSpec, probed: Probed
) -> dict[str, float]:
    """Probes on validation, ranks on train, geometry on pairs of views, and sparsity of the head."""
    _, scores = split_metrics(model, probed, data.val, spec)
    metrics = {f"{name}.val": score for name, score in scores.items()}
    for name, ranks in _each(probed.train, _ranks).items():
        metrics |= {f"rank.{name}.{kind}": value for kind, value in ranks.items()}
    return metrics | _geometry(model, data.val, spec) | _lidar(model, data.train, spec) | sparsity_of(model)


def _each(features: Features, measure: Callable[[Tensor], T]) -> dict[str, T]:
    """``measure`` of ``h`` and of ``z``; taken once where they are the same."""
    of_h = measure(features.h)
    return {"h": of_h, "z": of_h if features.z is features.h else measure(features.z)}


def _ranks(x: Tensor) -> dict[str, float]:
    """Few samples a dimension bias them low; `ablate data inspect` states the data set's size."""
    centred = singular_values(x)
    ranks = {"effective": rank_of(centred.square()), "rankme": rank_of(singular_values(x, center=False))}
    alpha = decay(centred)
    return ranks if alpha is None else ranks | {"alpha": alpha, "alpha_distance": abs(alpha - 1)}


@torch.inference_mode()
def _geometry(model: ContrastiveModel, split: Split, spec: TrialSpec) -> dict[str, float]:
    rows = _from_end_to_end(split)
    # The views of a stream that training never draws from; the same at every epoch.
    v1, v2 = split.two_views(rows, spec.views, seed=stream_seed("pairs", spec.seed) % 2**31, epoch=0)
    was_training = model.training
    model.eval()
    (_, z1), (_, z2) = model(v1), model(v2)
    model.train(was_training)
    return {"alignment": alignment(z1, z2), "uniformity": uniformity(z1), "spread.z": spread(z1)}


@torch.inference_mode()
def _lidar(model: ContrastiveModel, split: Split, spec: TrialSpec) -> dict[str, float]:
    """``rank.h.lidar`` and ``rank.z.lidar``, if the spec asks for them."""
    if spec.measure.lidar is None:
        return {}
    some = split.rows(_from_end_to_end(split)).resident()
    everything = torch.arange(len(some.labels), device=some.ids.device)
    seed, views = stream_seed("lidar", spec.seed) % 2**31, spec.measure.lidar
    was_training = model.training
    model.eval()
    embedded = [
        model(view)
        for draw in range(-(-views // 2))
        for view in some.two_views(everything, spec.views, seed=seed, epoch=draw)
    ][:views]
    model.train(was_training)
    found = Features(*(torch.stack(parts, 1) for parts in zip(*embedded, strict=True)))
    if spec.head.kind == "none":
        found = Features(found.h, found.h)
    return {f"rank.{name}.lidar": value for name, value in _each(found, lidar).items()}


def _from_end_to_end(split: Split) -> Tensor:
    """Positions, 1,024 at most, from all over the split: it may be in the order of its classes."""
    count = len(split.labels)
    taken = min(count, _PAIRS)
    return torch.arange(taken, device=split.ids.device) * count // taken


def sparsity_of(model: ContrastiveModel) -> dict[str, float]:
    """``head.zeros``, ``head.active_inputs`` and ``head.hoyer``; nothing for a head without weights."""
    weights = head_weights(model.head)
    return {f"head.{k}": v for k, v in sparsity_measures(weights).items()} if weights else {}


def spectra(train: Features) -> dict[str, Tensor]:
    """Singular values of the centred training features, raw and with L2-normalised rows."""
    raw = _each(train, singular_values)
    normalized = _each(train, lambda x: singular_values(x, normalize_rows=True))
    return raw | {f"{name}_normalized": values for name, values in normalized.items()}
