"""ablate: does this change to my projection head really help, and why?

The Python API, each name loaded when first used::

    sweep = ablate.load_sweep("search_spaces/sparsehead.yaml")   # raises ablate.SpecError
    folder = ablate.run_sweep(sweep, runs=Path("runs"))
    trial = ablate.load_trial("trial.yaml")
    result = ablate.run_trial(trial)
    loss = ablate.objective.info_nce(z1, z2, temperature=0.2)
    rank = ablate.measure.effective_rank(features)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate import measure, objective
    from ablate.spec import SpecError, SweepSpec, TrialSpec, load_sweep, load_trial
    from ablate.sweep.run import run_sweep
    from ablate.trial import run_trial

__all__ = [
    "SpecError",
    "SweepSpec",
    "TrialSpec",
    "load_sweep",
    "load_trial",
    "measure",
    "objective",
    "run_sweep",
    "run_trial",
]

# Libraries below do not report usage unless the user has said otherwise.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

_ROOMS = {
    "run_sweep": "sweep.run",
    "run_trial": "trial",
    **dict.fromkeys(("SpecError", "SweepSpec", "TrialSpec", "load_sweep", "load_trial"), "spec"),
}


def __getattr__(name: str) -> Any:
    if name in ("measure", "objective"):
        return importlib.import_module(f"ablate.{name}")
    if name in _ROOMS:
        return getattr(importlib.import_module(f"ablate.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'ablate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
