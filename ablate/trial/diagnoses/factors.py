"""Group shift: how well last-layer retraining on ``h`` and on ``z`` serves the worst group.

Groups are the combinations of all factors. Metrics, for x in h and z:

- ``factors.<x>.erm.worst``, ``.average``, ``.gap``: a linear probe fitted to (biased) training features;
- ``factors.<x>.dfr.worst``, ``.average``, ``.gap``: one fitted to group-balanced validation features (DFR,
  Kirichenko et al., arXiv 2204.02937; see ``measure/dfr.py``).

Accuracies are on test; ``gap`` is the accuracy with test groups weighed as in training, less the worst
group's. With one factor the groups are its classes. At most 1,024 images of each split; group shares of
training are of all of it.
"""

from __future__ import annotations

from ablate.data import Dataset
from ablate.measure import GroupScores, fit_dfr, fit_probe, group_scores
from ablate.model import ContrastiveModel
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec
from ablate.trial.diagnoses.layers import features_of
from ablate.trial.diagnoses.sample import IMAGES, sample

_NAME = "factors"


def factors(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    splits = [sample(_NAME, split, spec, IMAGES) for split in (data.train, data.val, data.test)]
    features = [features_of(model, split, spec) for split in splits]
    train_groups, classes = data.groups(data.train), len(data.class_names)
    seed, choices = stream_seed("probe", spec.seed), spec.measure.probe_l2
    (train, val, test), metrics = splits, dict[str, float]()
    for name in ("h", "z"):
        of_train, of_val, of_test = (found[name] for found in features)
        probes = {
            "erm": fit_probe(of_train, train.labels, classes=classes, l2_choices=choices, seed=seed),
            "dfr": fit_dfr(
                of_val, val.labels, data.groups(val), classes=classes, l2_choices=choices, seed=seed
            ),
        }
        for kind, probe in probes.items():
            correct = probe.predict(of_test) == test.labels
            metrics |= _named(
                f"factors.{name}.{kind}", group_scores(correct, data.groups(test), train_groups)
            )
    return metrics


def _named(prefix: str, scores: GroupScores) -> dict[str, float]:
    return {
        f"{prefix}.worst": scores.worst,
        f"{prefix}.average": scores.average,
        f"{prefix}.gap": scores.gap,
    }
