"""Images, views and embeddings that a diagnosis looks at, drawn from streams that training never uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.data import Split, epoch_order
from ablate.model import ContrastiveModel
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec

IMAGES = 1024  # of a split, at most
_CHUNK = 256


@dataclass(frozen=True)
class Pairs:
    """Both views of N images: h [N, D] and z [N, d], float32."""

    h1: Tensor
    h2: Tensor
    z1: Tensor
    z2: Tensor


def view_seed(name: str, spec: TrialSpec) -> int:
    """The seed of all that the diagnosis ``name`` draws; its epoch is 0."""
    return stream_seed(name, spec.seed) % 2**31


def views(name: str, some: Split, spec: TrialSpec) -> tuple[Tensor, Tensor]:
    """The two views that ``name`` draws of these images, float32 [N, 3, S, S] each."""
    return _views_of(name, some, torch.arange(len(some.labels), device=some.ids.device), spec)


def _views_of(name: str, some: Split, rows: Tensor, spec: TrialSpec) -> tuple[Tensor, Tensor]:
    return some.two_views(rows, spec.views, seed=view_seed(name, spec), epoch=0)


def sample(name: str, split: Split, spec: TrialSpec, count: int) -> Split:
    """``count`` images, or all if there are fewer, in random order: a split may be in that of its classes."""
    order = epoch_order(len(split.labels), seed=view_seed(name, spec), epoch=0)
    return split.rows(order[:count].to(split.ids.device))


def batches(name: str, split: Split, spec: TrialSpec, size: int, most: int) -> list[Split]:
    """Up to ``most`` whole batches of ``size`` images, ``IMAGES`` in all; one of fewer if there is none."""
    taken = sample(name, split, spec, IMAGES)
    size = min(size, len(taken.labels))
    starts = range(0, len(taken.labels) - size + 1, size)[:most]
    return [taken.rows(torch.arange(start, start + size, device=taken.ids.device)) for start in starts]


@torch.no_grad()
def pairs(name: str, model: ContrastiveModel, some: Split, spec: TrialSpec) -> Pairs:
    """Embeddings, in eval mode, of the views that ``name`` draws; the model's mode is left as it was."""
    was_training = model.training
    model.eval()
    parts: list[tuple[Tensor, ...]] = []
    for rows in some.in_turn(_CHUNK):
        v1, v2 = _views_of(name, some, rows, spec)
        (h1, z1), (h2, z2) = model(v1), model(v2)
        parts.append((h1, h2, z1, z2))
    model.train(was_training)
    return Pairs(*(torch.cat(part).float() for part in zip(*parts, strict=True)))
