"""The trial of a space that is likely to need most memory and time: what is to fit, if all of them are to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ablate.model import build_encoder
from ablate.model.methods import build_method
from ablate.spec.draw import apply, contains, draw, lookup, why_not
from ablate.spec.space import Choice, Distribution, IntRange, Scalar
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec

_SIZES = ("encoder.", "head.", "optim.batch", "views.size")  # keys that memory and time grow with


def heaviest(sweep: SweepSpec) -> tuple[TrialSpec, str]:
    """The trial of the space that is likely to need most, and what it is, in words.

    It is one point of the space: of encoder, head, ``optim.batch`` and ``views.size`` whole numbers are at
    their greatest; of encoders of several kinds it is the one whose layers give most numbers for an image,
    which training keeps; all else is as in the base, or the first that the space allows. If the space has no
    such trial (some greatest values exclude each other), it is the base, and the words say so. With arms it
    is that of the arm whose encoder's layers give most numbers for a batch, and of equal ones of the arm with
    the most weights. References of confirm are not looked at.
    """
    if sweep.arms is None:
        return _heaviest_around(sweep.base, sweep.space)
    found = {arm: _heaviest_around(base, sweep.space) for arm, base in sweep.bases.items()}
    arm = max(found, key=lambda name: _needed(found[name][0]))
    spec, words = found[arm]
    return spec, f"{words}, of the arm {arm}"


def _heaviest_around(base: TrialSpec, space: Mapping[str, Distribution]) -> tuple[TrialSpec, str]:
    choices = {
        key: entry.choice
        for key, entry in space.items()
        if key.startswith("encoder.") and isinstance(entry, Choice) and _greatest(entry) is None
    }
    points: dict[TrialSpec, dict[str, Scalar]] = {}
    refused = ""
    for encoder in product(*choices.values()):
        try:
            params = _point(base, space, dict(zip(choices, encoder, strict=True)))
            points[apply(base, params)] = params
        except ValueError as error:
            refused = why_not(error)
    if not points:
        return base, f"the base trial, since the greatest of the space is impossible: {refused}"
    spec = max(points, key=_activations) if len(points) > 1 else next(iter(points))
    usual = base.as_dict()
    moved = [f"{key}={value}" for key, value in points[spec].items() if value != lookup(usual, key)]
    return spec, f"the base trial with {', '.join(moved)}" if moved else "the base trial"


def _point(
    base: TrialSpec, space: Mapping[str, Distribution], encoder: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """The point of the space with the greatest sizes, and these values of ``encoder`` where it draws them."""
    usual = base.as_dict()

    def suggest(key: str, entry: Distribution) -> Scalar:
        if key in encoder:
            return encoder[key]
        if key.startswith(_SIZES) and (greatest := _greatest(entry)) is not None:
            return greatest
        own: Scalar = lookup(usual, key)
        if contains(entry, own):
            return own
        if isinstance(entry, Choice):
            return entry.choice[0]
        return entry.int[0] if isinstance(entry, IntRange) else entry.float[0]

    return draw(space, suggest, base)


def _greatest(entry: Distribution) -> int | None:
    """The greatest value of an entry of whole numbers; None for any other."""
    if isinstance(entry, IntRange):
        low, high = entry.int
        return high - (high - low) % entry.step
    if isinstance(entry, Choice):
        numbers = [value for value in entry.choice if type(value) is int]
        return max(numbers) if len(numbers) == len(entry.choice) else None
    return None


def _needed(trial: TrialSpec) -> tuple[int, int]:
    """Numbers that its encoder gives for a batch, and those of its weights, copies with momentum included."""
    weights = build_method(trial, classes=2).state_dict().values()  # the data are not read here
    return _activations(trial) * trial.optim.batch, sum(w.numel() for w in weights)


@torch.no_grad()
def _activations(trial: TrialSpec) -> int:
    """How many numbers the layers of its encoder give for one image."""
    size, counts = trial.views.size, []

    def count(_layer: Any, _given: Any, output: Any) -> None:
        counts.append(output.numel() if isinstance(output, Tensor) else 0)

    encoder = build_encoder(trial.encoder, size=size).eval()
    for layer in encoder.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    encoder(torch.zeros(1, 3, size, size))
    return sum(counts)
