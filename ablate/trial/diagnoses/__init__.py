"""What is looked into besides, once, when a trial's last epoch is measured: ``measure.diagnose`` names them.

One file each, a function of the trained model, its data and the spec, to metrics named
``<diagnosis>.<what>``. The model is left as it was, and is run in eval mode only: workers that share batch
statistics would wait for each other otherwise, and rank 0 alone measures. About 1,024 images and a few
seconds on two cores each, of the training and validation splits unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from ablate.data import Dataset
from ablate.model import ContrastiveModel
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.augmentation import augmentation
from ablate.trial.diagnoses.factors import factors
from ablate.trial.diagnoses.generalisation import generalisation
from ablate.trial.diagnoses.head import head
from ablate.trial.diagnoses.inner import inner
from ablate.trial.diagnoses.layers import layers
from ablate.trial.diagnoses.margins import margins
from ablate.trial.diagnoses.subset import subset

Diagnosis = Callable[[ContrastiveModel, Dataset, TrialSpec], dict[str, float]]

DIAGNOSES: dict[str, Diagnosis] = {
    "augmentation": augmentation,
    "factors": factors,
    "generalisation": generalisation,
    "head": head,
    "inner": inner,
    "layers": layers,
    "margins": margins,
    "subset": subset,
}
