"""The head's Jacobian at validation images: the subspace it selects, and whether that depends on the image.

``head.jacobian_rank``, ``head.subspace_size``, ``head.data_dependence`` and ``head.subspace_variance``; what
they are: ``measure.jacobian``. In eval mode, at h of images as probes see them.
"""

from __future__ import annotations

import torch

from ablate.data import Dataset, plain_view
from ablate.measure.jacobian import head_jacobians, subspace_measures
from ablate.model import ContrastiveModel
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.sample import IMAGES, sample

_SAMPLES = 64  # at which the Jacobian is taken
_WORK = 2**31  # products, of their decompositions: of large heads fewer are taken
_CHUNK = 256


def head(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    taken = sample("head-jacobian", data.val, spec, IMAGES)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        views = (plain_view(images, spec.views) for images in taken.chunks(_CHUNK))
        h = torch.cat([model.encoder(view) for view in views])
        out = model.head(h[:1]).shape[1]
    narrow, wide = sorted((out, h.shape[1]))
    samples = max(4, min(_SAMPLES, _WORK // (narrow**2 * wide)))
    jacobians = head_jacobians(model.head, h[:samples])
    model.train(was_training)
    return {f"head.{name}": value for name, value in subspace_measures(jacobians.cpu(), h.cpu()).items()}
