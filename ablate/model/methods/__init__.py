"""Methods: what is put around encoder and head in training, and what that gives the loss. One a file."""

from __future__ import annotations

import torch

from ablate.model.contrastive import build_model, drawing_from
from ablate.model.methods.method import Embedded, Keyed, Logits, Method, TwoViews
from ablate.model.methods.registered import BUILDERS, Sizes, register_method
from ablate.spec.plugins import registered
from ablate.spec.trial import TrialSpec

# isort: split
from ablate.model.methods import moco, predicting, simsiam, supervised  # noqa: F401 (they register)
from ablate.model.methods.siamese import Siamese

__all__ = [
    "Embedded",
    "Keyed",
    "Logits",
    "Method",
    "Siamese",
    "Sizes",
    "TwoViews",
    "build_method",
    "register_method",
]


def build_method(trial: TrialSpec, *, classes: int) -> Method:
    """The trial's method around its model, on the CPU; ``classes`` of the data.

    What a method adds (predictor, queue, classifier) is drawn from the stream "method": trials with equal
    seed, encoder and head start from the same model whatever their method.
    """
    model = build_model(trial)
    with torch.no_grad():
        width = model.eval().head(torch.zeros(2, trial.width)).shape[1]
    with drawing_from("method", trial.seed):
        apart = trial.compute.view_stats == "apart"
        build = registered(BUILDERS, type(trial.method), "method")
        method: Method = build(trial.method, model, Sizes(width, classes), apart)
    return method.train()
