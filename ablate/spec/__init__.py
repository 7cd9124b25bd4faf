"""What a YAML file may say: typed, frozen, strict values of a trial, a sweep and a space.

Each name is loaded when first used, so that a plugin can import ``ablate.spec.base`` while the specs, which
take the plugin up, are not yet whole.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    "load_sweep",
    "load_trial",
    "spec_hash",
]

_MODULES = {
    "errors": ("Mistake", "Place", "SpecError"),
    "identity": ("spec_hash",),
    "load": ("load_sweep", "load_trial"),
    "sweep": ("SweepSpec",),
    "trial": ("TrialSpec",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
