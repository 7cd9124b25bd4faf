"""What a search's objectives and constraints say of the metrics that trials ended with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ablate.spec.search import SearchSpec

Metrics = Mapping[str, float]


def needed(search: SearchSpec) -> list[str]:
    """The metrics that a search trial must report: of the objective, the tradeoffs and the constraints."""
    objectives = [objective.metric for objective in (search.objective, *search.tradeoffs)]
    return list(dict.fromkeys([*objectives, *(constraint.metric for constraint in search.constraints)]))


def missing(search: SearchSpec, metrics: Metrics) -> list[str]:
    """Those of the needed metrics that are absent or not finite."""
    return [name for name in needed(search) if not math.isfinite(metrics.get(name, math.nan))]


def violations(search: SearchSpec, metrics: Metrics) -> list[float]:
    """By how much each bound of each constraint is exceeded; 0 or less where it holds. Needs its metrics."""
    found = []
    for constraint in search.constraints:
        value = metrics[constraint.metric]
        found += [] if constraint.at_least is None else [constraint.at_least - value]
        found += [] if constraint.at_most is None else [value - constraint.at_most]
    return found


def feasible(search: SearchSpec, metrics: Metrics) -> bool:
    """Whether every constraint holds; False also where a metric that one needs is absent or not finite."""
    names = {constraint.metric for constraint in search.constraints}
    return names.isdisjoint(missing(search, metrics)) and all(v <= 0 for v in violations(search, metrics))


def losses(search: SearchSpec, metrics: Metrics) -> tuple[float, ...]:
    """The objective and the tradeoffs, each so turned that smaller is better."""
    objectives = (search.objective, *search.tradeoffs)
    return tuple(metrics[o.metric] if o.mode == "min" else -metrics[o.metric] for o in objectives)


def front(search: SearchSpec, trials: Mapping[str, Metrics]) -> list[str]:
    """The feasible trials that no other feasible one beats, in the order given; equals stay side by side.

    One trial beats another if it is no worse in any objective and better in one. With one objective these are
    the best, ties included. Trials that lack a needed metric are left out.
    """
    fit = {
        trial: losses(search, metrics)
        for trial, metrics in trials.items()
        if not missing(search, metrics) and feasible(search, metrics)
    }
    return [trial for trial, mine in fit.items() if not any(_beats(other, mine) for other in fit.values())]


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
