"""A claim with what was expected of it, what was observed, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Places = Sequence[str | int | float]


@dataclass(frozen=True)
class Claim:
    """``numbers``: what was observed in full, such as a list of one value a seed."""

    claim: str
    expected: str
    observed: str
    holds: bool
    numbers: dict[str, list[float]]


def at_most(claim: str, values: Tensor, bound: float, *, each: str = "seed") -> Claim:
    """Holds if every one of ``values`` [M] is at most ``bound``; one that is not a number breaks it."""
    return Claim(
        claim, f"at most {bound:g} ({_every(values, each)})", shown(values), *_all(values, values <= bound)
    )


def at_least(claim: str, values: Tensor, bound: float, *, each: str = "seed") -> Claim:
    """Holds if every one of ``values`` [M] is at least ``bound``."""
    return Claim(
        claim, f"at least {bound:g} ({_every(values, each)})", shown(values), *_all(values, values >= bound)
    )


def falls(claim: str, values: Tensor, over: Places, *, by: float = 0.0) -> Claim:
    """Holds if every seed's values [S, M] fall by more than ``by`` from a place of ``over`` to the next."""
    steps = values[:, :-1] - values[:, 1:]
    more = f" by more than {by:g}" if by else ""
    return Claim(
        claim,
        f"falls at each step{more} (every seed)",
        curve(values, over),
        *_along(values, over, steps > by),
    )


def falls_on_average(claim: str, values: Tensor, over: Places) -> Claim:
    """Holds if the mean over seeds of the values [S, M] falls from each place of ``over`` to the next."""
    mean = values.mean(0)
    return Claim(
        claim,
        "falls at each step (mean of seeds)",
        curve(values, over),
        *_along(values, over, mean[:-1] > mean[1:]),
    )


def with_curve(claim: Claim, values: Tensor, over: Places, *, by: str) -> Claim:
    """The claim, and beside it means over seeds of values [S, M] at the places of ``over``, called ``by``."""
    observed = f"{claim.observed}; by {by} {curve(values, over)}"
    return replace(claim, observed=observed, numbers={**claim.numbers, **_columns(values, over)})


def shown(values: Tensor) -> str:
    """``0.077 (0.075 to 0.079)``: mean, lowest and highest."""
    if values.numel() == 1:
        return f"{values.item():.3g}"
    return f"{values.mean().item():.3g} ({values.min().item():.3g} to {values.max().item():.3g})"


def curve(values: Tensor, over: Places) -> str:
    """``1: 14.6, 2: 6.3``: means over seeds of values [S, M] at the places of ``over``."""
    return ", ".join(f"{place}: {v:.3g}" for place, v in zip(over, values.mean(0).tolist(), strict=True))


def _every(values: Tensor, each: str) -> str:
    return f"every {each}" if values.numel() > 1 else each


def _all(values: Tensor, ok: Tensor) -> tuple[bool, dict[str, list[float]]]:
    return bool(ok.all()), {"values": values.double().flatten().tolist()}


def _along(values: Tensor, over: Places, ok: Tensor) -> tuple[bool, dict[str, list[float]]]:
    return bool(ok.all()) and bool(torch.isfinite(values).all()), _columns(values, over)


def _columns(values: Tensor, over: Places) -> dict[str, list[float]]:
    return {str(place): column.tolist() for place, column in zip(over, values.double().T, strict=True)}
