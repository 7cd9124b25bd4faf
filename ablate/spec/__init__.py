"""What a YAML file may say: typed, frozen, strict values of a trial, a sweep and a space."""

from ablate.spec.draw import apply, draw, order
from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.identity import spec_hash
from ablate.spec.load import load_sweep, load_trial
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec

__all__ = [
    "Mistake",
    "Place",
    "SpecError",
    "SweepSpec",
    "TrialSpec",
    "apply",
    "draw",
    "load_sweep",
    "load_trial",
    "order",
    "spec_hash",
]
