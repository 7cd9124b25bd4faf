"""Confirmation: the chosen configuration and what it is compared with, on seeds the search never saw.

Paired ladder: every arm gets one seed before any arm gets the next, so that after any number of steps the
arms can be compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ablate.spec.draw import apply, why_not
from ablate.spec.sweep import ConfirmSpec
from ablate.spec.trial import TrialSpec

BEST = "best"


class Step(NamedTuple):
    """One trial of the ladder."""

    arm: str
    replicate: int
    seed: int


_UNTRAINED = {"optim.epochs": 0, "optim.warmup_epochs": 0.0, "inner": None}
CONTROLS: dict[str, dict[str, Any]] = {
    "untrained": _UNTRAINED,
    "pixels": {**_UNTRAINED, "encoder": {"kind": "pixels"}, "head": {"kind": "none"}},
}


def arms(best: TrialSpec, confirm: ConfirmSpec) -> tuple[dict[str, TrialSpec], dict[str, str]]:
    """The arms of the ladder in its order, and the references that ``best`` does not admit, with the reason.

    For example, a reference that sets only ``head.depth`` has no meaning if the best head is DirectCLR.
    """
    possible: dict[str, TrialSpec] = {BEST: best}
    impossible: dict[str, str] = {}
    changes = confirm.references | {name: CONTROLS[name] for name in confirm.controls}
    for name, change in changes.items():
        try:
            possible[name] = apply(best, change)
        except ValueError as error:
            impossible[name] = why_not(error)
    return possible, impossible


def seeds(confirm: ConfirmSpec) -> list[int]:
    """The fresh seeds, in the order of the ladder."""
    return list(range(confirm.first_seed, confirm.first_seed + confirm.seeds))


def ladder(names: Iterable[str], confirm: ConfirmSpec) -> list[Step]:
    """In the order they are run."""
    arms_in_order = list(names)
    return [Step(arm, 0, seed) for seed in seeds(confirm) for arm in arms_in_order]
