"""What augmentation leaves in h and in z: cosines of positives, and what can be read off about the view.

- ``augmentation.h.cosine``, ``augmentation.z.cosine``: mean cosine of the two views of a validation image,
  about the mean of all views (h after a ReLU has cosines near 1 about 0, whatever it knows);
- ``augmentation.h.<parameter>`` and ``.z.<parameter>``: R^2 on validation images of a ridge regression,
  fitted to training images, of what was drawn for the view (``data.view_parameters``: crop_x, crop_y,
  crop_area, flip, rotation, brightness, ...) on its h or z. Only what the trial's views vary;
- ``augmentation.h.r2``, ``augmentation.z.r2``: the mean of these, negative ones as 0; the lower, the more
  invariant.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ablate.data import Dataset, Split, view_parameters
from ablate.measure.regression import ridge_r2
from ablate.model import ContrastiveModel
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.sample import IMAGES, Pairs, pairs, sample, view_seed

_NAME = "augmentation"
_ROUNDING = 1e-6  # deviation up to which a parameter is a constant


def augmentation(
    model: ContrastiveModel,
    data: Dataset,
    spec: TrialSpec,
) -> dict[str, float]:
    taken = [sample(_NAME, split, spec, IMAGES // 2).resident() for split in (data.train, data.val)]
    train, val = (pairs(_NAME, model, some, spec) for some in taken)
    fitted, truth = (_drawn(some, spec) for some in taken)
    vary = [name for name in fitted if all(float(d[name].std()) > _ROUNDING for d in (fitted, truth))]
    metrics: dict[str, float] = {}
    for name in ("h", "z"):
        metrics[f"augmentation.{name}.cosine"] = _cosine(*_both(val, name))
        if not vary:
            continue
        targets, held_out = (torch.stack([drawn[v] for v in vary], 1) for drawn in (fitted, truth))
        r2 = ridge_r2(torch.cat(_both(train, name)), targets, torch.cat(_both(val, name)), held_out)
        metrics |= {f"augmentation.{name}.{v}": float(value) for v, value in zip(vary, r2, strict=True)}
        metrics[f"augmentation.{name}.r2"] = float(r2.clamp_min(0).mean())
    return metrics


def _both(found: Pairs, name: str) -> tuple[Tensor, Tensor]:
    return (found.h1, found.h2) if name == "h" else (found.z1, found.z2)


def _drawn(some: Split, spec: TrialSpec) -> dict[str, Tensor]:
    """Parameters [2N] of all first views, then of all second ones."""
    images = next(some.chunks(len(some.labels)))
    drawn = view_parameters(images, some.ids, spec.views, seed=view_seed(_NAME, spec), epoch=0)
    return {name: torch.cat([*values.unbind(1)]) for name, values in drawn.items()}


def _cosine(first: Tensor, second: Tensor) -> float:
    mean = torch.cat([first, second]).mean(0)
    return float(cosine_similarity(first - mean, second - mean).mean())
