"""Diagnosis ``margins``: by what the trial's margin multiplies gradients at the end of training.

Over pairs of views of training images that training never drew, in eval mode, in batches as large as the
trial's (at most 1,024): p, and with it B, depend on the number of negatives. Negatives are the batch's even
where the trial's method keeps a queue, and z is that of the trained encoder and head on both sides: for MoCo
the numbers describe the embedding, not its loss.
"""

from __future__ import annotations

from ablate.data import Dataset
from ablate.measure.margins import Anchors, anchors_of, margin_statistics
from ablate.model import ContrastiveModel
from ablate.spec.loss import InfoNCE
from ablate.spec.trial import TrialSpec
from ablate.train.criterion import margin_options
from ablate.trial.diagnoses.sample import IMAGES, batches, pairs

_NAME = "margins"


def margins(
    model: ContrastiveModel,
    data: Dataset,
    spec: TrialSpec,
) -> dict[str, float]:
    """``margins.theta.q50`` and so on, as ``measure.margins.margin_statistics`` names them.

    Raises TypeError for a loss that is not InfoNCE.
    """
    loss = spec.loss
    if not isinstance(loss, InfoNCE):
        raise TypeError(f"measure.diagnose: margins is of InfoNCE's gradients, not of {loss.kind}'s")
    found = []
    for some in batches(_NAME, data.train, spec, spec.optim.batch, IMAGES):
        embedded = pairs(_NAME, model, some, spec)
        anchors = anchors_of(
            embedded.z1,
            embedded.z2,
            temperature=loss.temperature,
            negatives=loss.negatives,
            **margin_options(loss),
        )
        found.append(anchors)
    statistics = margin_statistics(Anchors.join(found), margin_angular=loss.margin.angular)
    return {f"{_NAME}.{name}": value for name, value in statistics.items()}
