"""The generalisation gap of the objective: InfoNCE on validation images minus InfoNCE on training images.

Both in eval mode, under the trial's views, temperature and negatives, without margins or penalties, on
equally many batches of one size (InfoNCE grows with it): ``optim.batch``, or less where the splits or 1,024
images do not hold one. ``generalisation.train``, ``.held_out``, their difference ``.gap``, and the size,
``.batch``. Validation images of a source's own may be of another distribution (group-shift): the gap has that
in it.
"""

from __future__ import annotations

import torch

from ablate.data import Dataset, Split
from ablate.model import ContrastiveModel
from ablate.objective import info_nce
from ablate.spec.loss import InfoNCE
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.sample import IMAGES, pairs, sample

_NAME = "generalisation"


def generalisation(
    model: ContrastiveModel,
    data: Dataset,
    spec: TrialSpec,
) -> dict[str, float]:
    """Raises TypeError for a loss that is not InfoNCE; a valid spec does not ask for it."""
    size = min(spec.optim.batch, IMAGES, len(data.train.labels), len(data.val.labels))
    splits = (data.train, data.val)
    count = min(IMAGES, *(len(split.labels) for split in splits)) // size
    train, held_out = (_mean_loss(model, split, spec, size, count) for split in splits)
    return {
        "generalisation.train": train,
        "generalisation.held_out": held_out,
        "generalisation.gap": held_out - train,
        "generalisation.batch": float(size),
    }


def _mean_loss(model: ContrastiveModel, split: Split, spec: TrialSpec, size: int, count: int) -> float:
    """Mean InfoNCE of ``count`` batches of ``size``."""
    loss = spec.loss
    if not isinstance(loss, InfoNCE):
        raise TypeError(f"the gap is of InfoNCE, not of {loss.kind}")
    found = pairs(_NAME, model, sample(_NAME, split, spec, size * count), spec)
    losses = [
        info_nce(z1, z2, temperature=loss.temperature, negatives=loss.negatives)
        for z1, z2 in zip(torch.split(found.z1, size), torch.split(found.z2, size), strict=True)
    ]
    return float(torch.stack(losses).mean())
