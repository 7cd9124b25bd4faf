"""Searches that nobody ran: their events, from trials written down or drawn at random."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ablate.ledger import Event
from ablate.report.analysis.pools import Pool, Searched, SearchTrial, read_search
from ablate.spec.draw import apply, draw
from ablate.spec.grid import value_at
from ablate.spec.sweep import SweepSpec
from tests.search.synthetic import METRIC

LR: dict[str, Any] = {"optim.lr": {"float": [0.01, 1.0], "log": True}}
TWO: dict[str, Any] = {**LR, "loss.temperature": {"float": [0.05, 1.0]}}
MADE_BY: dict[str, str] = {}


@dataclass(frozen=True)
class Made:
    """A search trial: {epoch: objective}, and how it ended."""

    curve: Mapping[int, float]
    params: Mapping[str, Any] = field(default_factory=dict)
    state: str = "COMPLETE"
    arm: str = "search"
    replicate: int = 0
    number: int | None = None  # None: its place among those of its arm and replicate
    by_rule: bool = True  # a PRUNED one was stopped by the scheduler
    duplicate_of: str | None = None
    parent: str | None = None
    more: Mapping[str, float] = field(default_factory=dict)  # reported at every epoch beside the objective


def search(trials: Sequence[Made], *, specs: bool = False, **sweep: Any) -> Searched:
    """What is read of such a search. ``specs``: its trials have their whole spec, which takes time."""
    return read_search(made_events(sweep_of(**sweep), trials, specs=specs))


def sweep_of(*, space: dict[str, Any] | None = None, sampler: str = "random", **parts: Any) -> SweepSpec:
    """``tests.search.synthetic.sweep`` with arms, and a random sampler unless another is named."""
    from tests.search.synthetic import sweep

    arms = parts.pop("arms", None)
    kind = parts.pop("sampler_spec", {"kind": sampler})
    made = sweep(space=LR if space is None else space, sampler=kind, **{"trials": 400, **parts})
    return made if arms is None else SweepSpec.model_validate({**made.as_dict(), "arms": arms})


def made_events(sweep: SweepSpec, trials: Sequence[Made], *, specs: bool = False) -> list[Event]:
    """The ledger of a sweep that has ended."""
    tree = json.loads(json.dumps(sweep.as_dict()))
    found: list[Event] = [{"event": "opened", "sweep": tree, "fence": 1, "made_by": MADE_BY}]
    counts: dict[tuple[str, int], int] = {}
    for place, trial in enumerate(trials):
        key = (trial.arm, trial.replicate)
        counts[key] = counts.get(key, -1) + 1
        number = counts[key] if trial.number is None else trial.number
        found += _events(sweep, trial, f"t{place:04d}", number, specs=specs)
    found.append({"event": "ended", "reason": "", "states": {}})
    return [{**event, "sequence": i, "time": float(i)} for i, event in enumerate(found)]


def _events(sweep: SweepSpec, made: Made, name: str, number: int, *, specs: bool) -> list[Event]:
    spec = None
    if specs:
        spec = json.loads(json.dumps(apply(sweep.bases[made.arm], made.params).as_dict()))
    checkpoint = {"epoch": 1, "path": "p", "digest": "0", "fence": 1} if made.parent else None
    asked = {
        "event": "asked", "trial": name, "number": number, "stage": "search", "arm": made.arm,
        "replicate": made.replicate, "seed": 0, "params": dict(made.params), "spec": spec,
        "spec_hash": None, "duplicate_of": made.duplicate_of, "parent": made.parent,
        "checkpoint": checkpoint,
    }  # fmt: skip
    rows = {epoch: {METRIC: value, **made.more} for epoch, value in sorted(made.curve.items())}
    found: list[Event] = [asked]
    found += [{"event": "reported", "trial": name, "epoch": e, "metrics": row} for e, row in rows.items()]
    last = max(rows, default=0)
    if made.state == "PRUNED" and made.by_rule:
        found.append({"event": "stopped", "trial": name, "epoch": last, "rung": last, "reason": "worse"})
    final = {name: value for row in rows.values() for name, value in row.items()}
    found.append(
        {
            "event": "finished", "trial": name, "state": made.state, "reason": "", "epochs": last,
            "metrics": final,
        }
    )  # fmt: skip
    return found


def drawn(
    sweep: SweepSpec,
    score: Callable[[dict[str, Any]], float],
    count: int,
    *,
    seed: int = 0,
    arm: str = "search",
    epochs: int = 3,
) -> list[Made]:
    """``count`` points drawn evenly over the space; their objective is ``score`` at every epoch."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        params = draw(sweep.space, lambda _, entry: value_at(entry, rng.random()), sweep.bases[arm])
        value = score(params)
        found.append(Made(dict.fromkeys(range(1, epochs + 1), value), params, arm=arm))
    return found


def pool_of(scores: Sequence[float | None], costs: Sequence[int] | None = None, **sweep: Any) -> Searched:
    """A search of which nothing is known but scores (None: not completed) and epochs: no ledger needed."""
    costs = [3] * len(scores) if costs is None else costs
    trials = [
        SearchTrial(
            trial=f"t{i:04d}", arm="search", replicate=0, number=i, params={}, spec={},
            state="COLLAPSED" if score is None else "COMPLETE", score=score, feasible=score is not None,
            epochs=cost, curve={}, rows={}, stopped=None, repeat=False, inherited=False,
        )
        for i, (score, cost) in enumerate(zip(scores, costs, strict=True))
    ]  # fmt: skip
    return Searched(sweep_of(**sweep), (Pool("search", 0, tuple(trials)),), True)
