"""What type of machine each trial ran on, as it recorded: times compare only where that is the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

UNLIKE = "workers on machines of several types"


def machine_of(identity: Mapping[str, Any]) -> str:
    """The GPU, or on CPUs their model, that ``identity.json`` tells of; "" where it does not.

    Trials of earlier versions did not record the model of a CPU.
    """
    timing = identity.get("timing") or {}
    device, cpu = str(identity.get("device") or ""), str(timing.get("cpu") or "")
    if timing.get("machines", 1) > 1:
        return UNLIKE
    return cpu if device == "cpu" else device


def machines_of(folder: Path, trials: Iterable[str]) -> dict[str, str]:
    """By trial of the sweep in ``folder``, of those that finished and tell."""
    found = {}
    for trial in trials:
        try:
            identity = json.loads((folder / "trials" / trial / "identity.json").read_text())
            if machine := machine_of(identity):
                found[trial] = machine
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # it did not finish, or its artifacts are not here
    return found


def machines_in(folder: Path) -> set[str]:
    """The types that trials of the sweep in ``folder`` ran on, as far as they tell."""
    trials = (path.parent.name for path in folder.glob("trials/*/identity.json"))
    return set(machines_of(folder, trials).values())
