"""Trials of earlier sweeps that the sampler is to know: those that are trials of the present space too.

An earlier trial fits if the present base and space could have drawn it and everything else about it is the
same, its seed aside: a value from other data, or after other epochs, would mislead. What fits is written into
the ledger's opening, complete, so that nothing is ever read from the earlier sweeps again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger, LedgerError
from ablate.spec.base import flatten
from ablate.spec.draw import apply, contains, draw, lookup
from ablate.spec.explain import show
from ablate.spec.front import missing, needed
from ablate.spec.space import Distribution, Scalar
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec


class WarmStartError(ValueError):
    """A folder named by ``search.warm_start`` is no sweep that can be read."""


@dataclass(frozen=True)
class Warm:
    """``trials`` as ``opened`` records them; ``notes`` say what of each folder fits, and why the rest not."""

    trials: list[dict[str, Any]]
    notes: list[str]


class _Unfit(Exception):
    """Why one earlier trial is left out."""


def read_warm(sweep: SweepSpec, code: str) -> Warm:
    """Read every sweep named in ``search.warm_start``. Raises WarmStartError.

    ``code`` is the digest of the code that runs now; a sweep of other code is taken, with a note.
    """
    trials: list[dict[str, Any]] = []
    notes: list[str] = []
    for folder in sweep.search.warm_start:
        events = _events(Path(folder))
        fit: list[dict[str, Any]] = []
        left_out: Counter[str] = Counter()
        for trial in _finished(events):
            try:
                fit.append({**_fit(trial, sweep), "from": f"{events[0]['sweep']['name']}/{trial['trial']}"})
            except _Unfit as reason:
                left_out[str(reason)] += 1
        notes.append(_note(folder, len(fit), left_out))
        if events[0]["made_by"].get("code") != code:
            notes.append(f"{folder}: was made by other code, so its values may not compare with today's")
        trials += fit
    return Warm(trials, notes)


def _events(folder: Path) -> list[Event]:
    try:
        events = Ledger.read(folder / "ledger.jsonl")
    except FileNotFoundError:
        raise WarmStartError(f"search.warm_start: {folder} is no sweep: it has no ledger.jsonl") from None
    except LedgerError as error:
        raise WarmStartError(f"search.warm_start: {error}") from None
    if not events or events[0]["event"] != "opened":
        raise WarmStartError(f"search.warm_start: the ledger of {folder} is empty")
    return events


def _finished(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Each finished search trial: what was asked, how it ended, and its curve."""
    asked: dict[str, Event] = {}
    curves: dict[str, dict[int, dict[str, float]]] = {}
    last: dict[str, Event] = {}
    for event in events:
        if event["event"] == "asked" and event["stage"] == "search":
            asked[event["trial"]], curves[event["trial"]] = event, {}
        elif event["event"] == "started" and event["trial"] in asked:
            asked[event["trial"]] = {**asked[event["trial"]], "duplicate_of": None}  # it was run after all
        elif event["event"] == "reported" and event["trial"] in curves:
            curves[event["trial"]][event["epoch"]] = event["metrics"]
        elif event["event"] == "finished" and event["trial"] in asked:
            last[event["trial"]] = event  # a FAILED one may finish again
    for trial, end in last.items():
        curve = {epoch: row for epoch, row in sorted(curves[trial].items()) if epoch <= end["epochs"]}
        yield {**asked[trial], "state": end["state"], "metrics": end["metrics"], "curve": curve}


def _fit(trial: dict[str, Any], sweep: SweepSpec) -> dict[str, Any]:
    """Params, state and values. Raises _Unfit."""
    search = sweep.search
    if trial["spec"] is None:
        raise _Unfit("its configuration was impossible")
    if trial["state"] == "FAILED":
        raise _Unfit("FAILED")
    if trial.get("duplicate_of") is not None:
        raise _Unfit("a duplicate of another")
    if trial.get("parent") is not None:
        raise _Unfit("went on from the weights of another")
    known = {"params": _params(trial["spec"], sweep), "state": trial["state"]}
    if trial["state"] == "COLLAPSED":
        return known
    if trial["state"] == "PRUNED":
        metric = search.objective.metric
        curve = {e: {metric: row[metric]} for e, row in trial["curve"].items() if metric in row}
        if not curve or search.tradeoffs:
            raise _Unfit(f"was stopped without a curve of {metric} that can be used")
        return {**known, "curve": curve}
    if names := missing(search, trial["metrics"]):
        raise _Unfit(f"has no {names[0]}")
    return {**known, "metrics": {name: trial["metrics"][name] for name in needed(search)}}


def _params(spec: dict[str, Any], sweep: SweepSpec) -> dict[str, Scalar]:
    """What the present space would have drawn to make this trial. Raises _Unfit if it could not have."""

    def taken(key: str, entry: Distribution) -> Scalar:
        value: Scalar = lookup(tree, key)
        if not contains(entry, value):
            raise _Unfit(f"{key} is {show(value)}, outside of the space")
        return value

    try:
        tree = TrialSpec.model_validate(spec).as_dict()
    except ValueError:
        raise _Unfit("is no trial of this version of ablate") from None
    params = draw(sweep.space, taken, sweep.base)
    here = dict(flatten(apply(sweep.base, {**params, "seed": tree["seed"]}).as_dict()))
    there = dict(flatten(tree))
    for key in dict.fromkeys([*there, *here]):
        if key not in there or key not in here or there[key] != here[key]:
            raise _Unfit(f"{key} is {show(there.get(key))}, here {show(here.get(key))}")
    return params


def _note(folder: str, fit: int, left_out: Counter[str]) -> str:
    total = fit + sum(left_out.values())
    reasons = "; ".join(f"{count} left out: {reason}" for reason, count in left_out.most_common())
    return f"{folder}: the sampler knows {fit} of its {total} trials" + (f" ({reasons})" if reasons else "")
