"""What confirmation declares before it begins, and the looks at it that may end it.

The chance of a false verdict is divided among the looks beforehand (``statistics.sequential``), and each look
has its part whatever the others found. A look goes by the score on the test set as it is; that the test
images are a sample too is judged in the end, by the report, which reads the result of every image. A look
waits until all its trials have a score, and one that failed for good leaves it out, as it leaves a hole in
the ladder: no verdict comes of it before the trial is run again.
"""

from __future__ import annotations

import hashlib
import math

from ablate.ledger import Event, canonical
from ablate.search import confirm
from ablate.search.state import SearchState
from ablate.spec.objective import test_metric
from ablate.spec.sweep import ConfirmSpec
from ablate.statistics import alphas, settled


def declaration(state: SearchState, plan: ConfirmSpec | None, impossible: dict[str, str]) -> Event:
    """The event ``declared``. Its digest is of everything that the verdicts will depend on."""
    metric, mode = test_metric(state.sweep.search.objective)
    declared: Event = {
        "event": "declared",
        "arms": list(dict.fromkeys(arm for arm, _ in state.arms)),
        "seeds": [] if plan is None else confirm.seeds(plan),
        "replicates": state.sweep.replicates,
        "comparisons": _comparisons(state, plan),
        "metric": metric,
        "mode": mode,
        "looks": [] if plan is None else _looks(plan),
        "margin": None if plan is None else plan.margin,
        "impossible": impossible,
    }
    specs = {f"{arm} {replicate}": spec.as_dict() for (arm, replicate), spec in state.arms.items()}
    text = canonical({**declared, "specs": specs})
    return {**declared, "digest": hashlib.sha256(text.encode()).hexdigest()}


def next_look(state: SearchState) -> Event | None:
    """The event ``looked`` if the next look is due; None if not, or if none is left."""
    declared, place = state.declared, len(state.looked)
    if declared is None or not declared["comparisons"] or place == len(declared["looks"]):
        return None
    if state.looked and state.looked[-1]["stop"]:
        return None
    look = declared["looks"][place]
    differences = _differences(state, declared, look["seeds"])
    if differences is None:
        return None
    found = settled(differences, alpha=look["alpha"], margin=declared["margin"])
    last = place == len(declared["looks"]) - 1
    return {
        "event": "looked",
        "look": place + 1,
        "seeds": look["seeds"],
        "alpha": look["alpha"],
        "comparisons": found,
        "stop": last or all(each["settled"] for each in found.values()),
    }


def seeds_of(state: SearchState, looked: Event) -> set[int]:
    """The seeds of all replicates that a look has looked at; the controls have them too."""
    plan = state.sweep.confirm
    assert plan is not None
    replicates = range(state.sweep.replicates)
    return {seed for r in replicates for seed in confirm.seeds(plan, r)[: looked["seeds"]]}


def _comparisons(state: SearchState, plan: ConfirmSpec | None) -> list[list[str]]:
    """[arm, what it is compared with]; controls are no part of what is claimed."""
    if plan is None:
        return []
    names = list(dict.fromkeys(arm for arm, _ in state.arms if arm not in plan.controls))
    first, *others = names
    if state.sweep.arms is None:
        return [[first, other] for other in others]
    return [[other, first] for other in others]


def _looks(plan: ConfirmSpec) -> list[dict[str, float]]:
    counts = plan.looks or (plan.seeds,)
    return [{"seeds": n, "alpha": a} for n, a in zip(counts, alphas(counts, plan.alpha), strict=True)]


def _differences(state: SearchState, declared: Event, seeds: int) -> dict[str, tuple[float, ...]] | None:
    """For each comparison the differences of its units, after ``seeds`` seeds; None if any is missing.

    A unit is a seed, or with replicates the mean of a replicate's seeds.
    """
    plan = state.sweep.confirm
    assert plan is not None
    found: dict[str, tuple[float, ...]] = {}
    metric = declared["metric"]
    sign = 1 if declared["mode"] == "max" else -1
    for arm, against in declared["comparisons"]:
        units: list[float] = []
        for replicate in range(declared["replicates"]):
            each: list[float] = []
            for seed in confirm.seeds(plan, replicate)[:seeds]:
                a = _score(state, confirm.Step(arm, replicate, seed), metric)
                b = _score(state, confirm.Step(against, replicate, seed), metric)
                if a is None or b is None:
                    return None
                each.append(sign * (a - b))
            units += each if declared["replicates"] == 1 else [math.fsum(each) / len(each)]
        found[_name(arm, against)] = tuple(units)
    return found


def _name(arm: str, against: str) -> str:
    return f"{arm} - {against}"


def _score(state: SearchState, step: confirm.Step, metric: str) -> float | None:
    """What the trial of a step has scored; None if it has no score that is finite, as in the report."""
    trial = state.trials.get(state.climbed.get(step, ""))
    if trial is None or trial.state not in ("COMPLETE", "COLLAPSED"):
        return None
    value = trial.metrics.get(metric)
    return value if value is not None and math.isfinite(value) else None
