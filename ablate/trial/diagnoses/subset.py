"""Does a subset of the features do for one mini-batch of training images? See ``measure.subset``.

Mean over batches, in eval mode, of the spec's loss without its sparsity penalty (for MoCo, of InfoNCE with
the batch's own negatives):

- ``subset.size``, ``subset.share``: features that make up 95% of the score, their number and share of D;
- ``subset.overlap``: mean Jaccard index of the subsets of two batches; ``subset.chance``: about what
  unrelated subsets of that size would have;
- ``subset.loss``, ``subset.loss_masked``: the loss, and the loss with all other features set to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.data import Dataset
from ablate.measure.subset import feature_scores, mean_jaccard, smallest_subset
from ablate.model import ContrastiveModel
from ablate.model.methods import TwoViews
from ablate.spec.trial import TrialSpec
from ablate.train.criterion import loss_share
from ablate.train.world import World
from ablate.trial.diagnoses.sample import IMAGES, batches, pairs

_NAME = "subset"
_BATCHES = 8


def subset(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    was_training = model.training
    model.eval()
    subsets: list[Tensor] = []
    losses: list[tuple[float, float]] = []
    # Half of what is looked at, at most: the overlap is of two batches or more.
    size = min(spec.optim.batch, IMAGES // 2, len(data.train.labels) // 2)
    for batch in batches(_NAME, data.train, spec, size, _BATCHES):
        found = pairs(_NAME, model, batch, spec)
        h = torch.cat([found.h1, found.h2]).requires_grad_()
        loss = _loss(model, h, batch.labels, spec)
        (gradient,) = torch.autograd.grad(loss, h)
        chosen = smallest_subset(feature_scores(gradient, h.detach()))
        with torch.no_grad():
            masked = _loss(model, h * chosen, batch.labels, spec)
        subsets.append(chosen)
        losses.append((float(loss.detach()), float(masked)))
    model.train(was_training)
    chosen_features = sum(int(s.sum()) for s in subsets) / len(subsets)
    share = chosen_features / len(subsets[0])
    return {
        "subset.size": chosen_features,
        "subset.share": share,
        "subset.overlap": mean_jaccard(subsets),
        "subset.chance": share / (2 - share),
        "subset.loss": sum(loss for loss, _ in losses) / len(losses),
        "subset.loss_masked": sum(masked for _, masked in losses) / len(losses),
    }


def _loss(model: ContrastiveModel, h: Tensor, labels: Tensor, spec: TrialSpec) -> Tensor:
    z1, z2 = model.head(h).float().chunk(2)
    return loss_share(spec.loss, TwoViews(z1, z2), labels, World.single())
