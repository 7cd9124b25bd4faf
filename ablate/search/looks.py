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
    scores = _scores(state, declared["metric"])
    sign = 1 if declared["mode"] == "max" else -1
    for arm, against in declared["comparisons"]:
        units: list[float] = []
        for replicate in range(declared["replicates"]):
            steps = confirm.seeds(plan, replicate)[:seeds]
            pairs = [(scores.get((arm, replicate, s)), scores.get((against, replicate, s))) for s in steps]
            each = [sign * (a - b) for a, b in pairs if a is not None and b is not None]
            if len(each) < len(steps):
                return None
            units += each if declared["replicates"] == 1 else [math.fsum(each) / len(each)]
        found[_name(arm, against)] = tuple(units)
    return found


def _name(arm: str, against: str) -> str:
    return f"{arm} - {against}"


def _scores(state: SearchState, metric: str) -> dict[tuple[str, int, int], float]:
    found = {}
    for trial in state.trials.values():
        value = trial.metrics.get(metric)
        if trial.stage == "confirm" and trial.state in ("COMPLETE", "COLLAPSED") and value is not None:
            found[trial.arm, trial.replicate, trial.seed] = value
    return found
