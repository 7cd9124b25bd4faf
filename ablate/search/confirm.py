"""Confirmation: the chosen configurations and what they are compared with, on seeds the search never saw.

Paired ladder: every arm gets one seed before any arm gets the next, so that after any number of steps the
arms can be compared seed by seed. Each replicate of the searches has seeds of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ablate.spec.draw import apply, why_not
from ablate.spec.sweep import ConfirmSpec
from ablate.spec.trial import TrialSpec

BEST = "best"
SearchKey = tuple[str, int]  # arm, replicate
Arms = dict[SearchKey, TrialSpec]


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


def around_best(best: TrialSpec, confirm: ConfirmSpec) -> tuple[Arms, dict[str, str]]:
    """The arms of the ladder in its order, and the references that ``best`` does not admit, with the reason.

    For example, a reference that sets only ``head.depth`` has no meaning if the best head is DirectCLR.
    """
    possible, impossible = _with_controls({(BEST, 0): best}, best, confirm.references, confirm)
    return possible, impossible


def of_searches(
    chosen: Mapping[SearchKey, TrialSpec], baseline: str, confirm: ConfirmSpec
) -> tuple[Arms, dict[str, str]]:
    """As ``around_best`` where every arm, in each replicate, has a choice of its own. The controls are those
    of the baseline's first choice, which must be there."""
    return _with_controls(dict(chosen), chosen[baseline, 0], {}, confirm)


def _with_controls(
    possible: Arms, model: TrialSpec, references: Mapping[str, Mapping[str, Any]], confirm: ConfirmSpec
) -> tuple[Arms, dict[str, str]]:
    impossible: dict[str, str] = {}
    changes: dict[str, Mapping[str, Any]] = {**references}
    changes |= {name: CONTROLS[name] for name in confirm.controls}
    for name, change in changes.items():
        try:
            possible[name, 0] = apply(model, change)
        except ValueError as error:
            impossible[name] = why_not(error)
    return possible, impossible


def seeds(confirm: ConfirmSpec, replicate: int = 0) -> list[int]:
    """The fresh seeds of one replicate, in the order of the ladder."""
    first = confirm.first_seed + replicate * confirm.seeds
    return list(range(first, first + confirm.seeds))


def ladder(keys: Iterable[SearchKey], confirm: ConfirmSpec) -> list[Step]:
    """In the order they are run."""
    in_order = sorted(keys, key=lambda key: key[1])
    return [Step(arm, r, seeds(confirm, r)[i]) for i in range(confirm.seeds) for arm, r in in_order]
