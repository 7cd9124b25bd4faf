"""What the searches of each arm really had, and where two arms did not have the same.

Arms are given equal budgets: of trials, or of epochs or hours a search if the sweep's file says so. What is
realised may differ: trials fail, and a search may be ended early. A verdict on arms that were not tuned alike
must say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ablate.ledger import Event
from ablate.report.machines import UNLIKE
from ablate.report.trials import TrialRecord, slot_seconds

Matched = Literal["trials", "epochs", "arm_hours"]
_FAR = 1.1  # of epochs and hours a tenth more is as good as equal: trials are not cut short in the middle
_GAVE_A_RESULT = ("COMPLETE", "PRUNED", "COLLAPSED")


@dataclass(frozen=True)
class Spent:
    """The searches of one arm together. ``states`` counts trials; ``epochs`` were trained for them alone;
    ``hours`` are those that its trials held slots, summed; ``closed`` maps replicates to why their search
    asked for no more although trials were left; ``chosen`` maps replicates to the trial chosen; ``machines``
    are the types that its trials ran on, as far as they are known."""

    arm: str
    searches: int
    states: dict[str, int]
    epochs: int
    hours: float
    closed: dict[int, tuple[str, str]]  # (by, reason)
    chosen: dict[int, str]
    machines: tuple[str, ...] = ()

    @property
    def useful(self) -> int:
        """Trials that told the search something."""
        return sum(self.states.get(state, 0) for state in _GAVE_A_RESULT)


def matched_by(sweep: Mapping[str, Any]) -> Matched:
    """What the sweep gives each search the same amount of."""
    budget = sweep["search"].get("budget") or {}
    if budget.get("arm_hours") is not None:
        return "arm_hours"
    return "epochs" if budget.get("epochs") is not None else "trials"


def spent(
    events: Sequence[Event], records: Iterable[TrialRecord], machines: Mapping[str, str] | None = None
) -> dict[str, Spent]:
    """By arm, in the order in which they first asked; without arms there is one, "search".

    ``machines`` are types by trial (see ``report.machines``).
    """
    closed: dict[tuple[str, int], tuple[str, str]] = {}
    chosen: dict[tuple[str, int], str] = {}
    for event in events:
        match event["event"]:
            case "closed":
                closed[_key(event)] = (event["by"], event["reason"])
            case "chosen":
                chosen[_key(event)] = event["trial"]
            case "asked" if event["stage"] == "search":  # a raised budget opened it again
                closed.pop(_key(event), None)
                chosen.pop(_key(event), None)
    held = slot_seconds(events)
    search = [record for record in records if record.stage == "search"]
    return {
        arm: _spent(arm, [r for r in search if r.arm == arm], held, closed, chosen, machines or {})
        for arm in dict.fromkeys(r.arm for r in search)
    }


def _spent(
    arm: str,
    records: list[TrialRecord],
    held: Mapping[str, float],
    closed: Mapping[tuple[str, int], tuple[str, str]],
    chosen: Mapping[tuple[str, int], str],
    machines: Mapping[str, str],
) -> Spent:
    return Spent(
        arm=arm,
        searches=len({r.replicate for r in records}),
        states=dict(sorted(Counter(r.state for r in records).items())),
        epochs=sum(r.own_epochs for r in records),
        hours=sum(held.get(r.trial, 0.0) for r in records) / 3600,
        closed={replicate: why for (name, replicate), why in closed.items() if name == arm},
        chosen={replicate: trial for (name, replicate), trial in chosen.items() if name == arm},
        machines=tuple(sorted({machines[r.trial] for r in records if r.trial in machines})),
    )


def _key(event: Event) -> tuple[str, int]:
    return event.get("arm", "search"), event.get("replicate", 0)


def unequal(one: Spent, other: Spent, matched: Matched) -> tuple[list[str], list[str]]:
    """Where two arms did not have the same: what the sweep promised to match, and what it did not."""
    found: dict[str, str | None] = {
        "trials": _trials(one, other),
        "epochs": _amounts(one, other, one.epochs, other.epochs, "epochs"),
        "arm_hours": _amounts(one, other, one.hours, other.hours, "hours"),
    }
    if matched != "arm_hours":
        del found["arm_hours"]  # what a trial costs differs between arms, and nothing else was promised
    promised = [found.pop(matched), _closings(one, other)]
    if matched == "arm_hours":
        promised.append(_machines(one, other))
    return [each for each in promised if each], [each for each in found.values() if each]


def _trials(one: Spent, other: Spent) -> str | None:
    if one.useful == other.useful:
        return None
    counts = [f"{arm.useful} of {sum(arm.states.values())} of {arm.arm}" for arm in (one, other)]
    return f"search trials that ended without failing: {', '.join(counts)}"


def _amounts(one: Spent, other: Spent, a: float, b: float, what: str) -> str | None:
    if max(a, b) <= _FAR * min(a, b):
        return None
    return f"the searches of {one.arm} took {a:.4g} {what}, those of {other.arm} {b:.4g}"


def _machines(one: Spent, other: Spent) -> str | None:
    types = {*one.machines, *other.machines}
    if len(types) < 2 and UNLIKE not in types:
        return None
    ran = ((arm.arm, " and ".join(arm.machines) or "a type unknown") for arm in (one, other))
    said = ", ".join(f"those of {arm} are of {types}" for arm, types in ran)
    return f"hours compare on one type of machine only: {said}"


def _closings(one: Spent, other: Spent) -> str | None:
    ways = [Counter(by for by, _ in arm.closed.values()) for arm in (one, other)]
    if ways[0] == ways[1]:
        return None
    return "; ".join(_closing(arm) for arm in (one, other))


def _closing(arm: Spent) -> str:
    if not arm.closed:
        return f"{arm.arm} asked for all its trials"
    reasons = ", ".join(dict.fromkeys(reason for _, reason in arm.closed.values()))
    share = "" if len(arm.closed) == arm.searches == 1 else f" ({len(arm.closed)} of {arm.searches} searches)"
    return f"{arm.arm} was ended before all its trials{share}: {reasons}"
