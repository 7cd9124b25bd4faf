"""What of a sweep may change while it is under way, and why the rest may not.

Results of one sweep must belong together: its question, base, space, way of searching and confirmation are
what they are results of. How long it may take and what it runs on are not, as far as no number depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.spec.base import flatten
from ablate.spec.sweep import SweepSpec

_MAY = ("search.trials", "search.budget.", "resources.", "tracking.")
_MAY_NOT = ("resources.workers", "resources.cpus", "resources.gpus")
_MACHINE = "a trial's numbers may depend on workers, threads and devices, and its trials would not compare"
_RESULTS = "its results would not belong together"
ADVICE = (
    "What may change: search.trials, search.budget.*, tracking.* and resources.* but workers, cpus and gpus. "
    "Resume it as it was, or start the new one under another name (with `search.warm_start` it knows the "
    "trials of this one)."
)


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The new value of every dotted key whose value differs between two resolved sweeps, sorted by key.

    A mapping that one of them does not have (such as ``confirm``, null in the other) is one key.
    """
    old, new = dict(flatten(dict(was))), dict(flatten(dict(now)))
    return {key: new.get(key) for key in sorted({**old, **new}) if old.get(key, ...) != new.get(key, ...)}


def forbidden(changes: Mapping[str, Any]) -> dict[str, str]:
    """Those keys of ``changes`` that may not change while a sweep is under way, each with the reason."""
    return {key: reason for key in changes if (reason := _why_not(key))}


def changed(sweep: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved sweep with new values at dotted keys; ``sweep`` is left as it is."""
    result = dict(sweep)
    for key, value in changes.items():
        name, _, rest = key.partition(".")
        result[name] = changed(result[name], {rest: value}) if rest else value
    return result


def with_changes(sweep: SweepSpec, changes: Mapping[str, Any]) -> SweepSpec:
    """Raises pydantic's ValidationError if the result is no sweep."""
    return SweepSpec.model_validate(changed(sweep.as_dict(), changes)) if changes else sweep


def as_measured(sweep: SweepSpec, recorded: SweepSpec) -> SweepSpec:
    """``sweep`` with ``resources.gpus: auto`` replaced by the number that ``recorded`` runs with.

    What was measured once stays, so a file that still says ``auto`` changes nothing.
    """
    if sweep.resources.gpus != "auto":
        return sweep
    return with_changes(sweep, {"resources.gpus": recorded.resources.gpus})


def _why_not(key: str) -> str | None:
    if key in _MAY_NOT:
        return _MACHINE
    return None if key.startswith(_MAY) else _RESULTS
