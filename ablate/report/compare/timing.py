"""How fast the sweeps trained, as far as that compares: on one type of machine, shared in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ablate.report.compare.side import Side, shared
from ablate.report.machines import UNLIKE

METRIC = "views_per_second"
_NO_MODEL = "a CPU of unknown model"


@dataclass(frozen=True)
class Pace:
    """Views a second of the trials of an arm in one sweep; ``where`` is what all of them ran on."""

    arm: str
    side: str
    where: str
    trials: int
    median: float
    low: float
    high: float
    ratio: float | None  # to that of the first sweep, where both ran on the same


@dataclass(frozen=True)
class Timing:
    """``notes`` say what is not compared, and what the ratios hold for."""

    paces: tuple[Pace, ...]
    notes: tuple[str, ...]


def timing(sides: Sequence[Side]) -> Timing:
    """Of the arms that all confirmed, from the trials that count."""
    paces: list[Pace] = []
    notes: list[str] = []
    for arm in shared([side.arms for side in sides]):
        first: Pace | None = None
        for side in sides:
            found = _pace(side, arm, first)
            if isinstance(found, str):
                notes.append(found)
                continue
            paces.append(found)
            first = first or found
    notes += _notes(paces, len(sides))
    return Timing(tuple(paces), tuple(note for note in dict.fromkeys(notes) if note))


def _pace(side: Side, arm: str, first: Pace | None) -> Pace | str:
    """Or why there is none; a control that does not train has no pace, and no reason is needed."""
    records = [r for r in side.confirmed if r.arm == arm and r.metrics.get(METRIC, 0.0) > 0]
    if not records:
        return f"{side.letter} recorded no {METRIC} of what it confirmed." if _trained(side, arm) else ""
    where = {_where(side, record.trial) for record in records}
    unlike = len(where) > 1 or any(UNLIKE in each for each in where)
    if unlike or "" in where:
        unknown = "is not recorded" if "" in where else "is not the same for all of its trials"
        return f"{arm} in {side.letter} is left out: what it ran on {unknown}."
    paces = [record.metrics[METRIC] for record in records]
    here, middle = where.pop(), median(paces)
    alike = first is not None and first.where == here and _NO_MODEL not in here
    ratio = middle / first.median if first is not None and alike else None
    return Pace(arm, side.letter, here, len(paces), middle, min(paces), max(paces), ratio)


def _trained(side: Side, arm: str) -> bool:
    return any(r.arm == arm and r.epochs > 0 for r in side.confirmed)


def _where(side: Side, trial: str) -> str:
    """The type of machine and how it was shared; on CPUs all slots share the machine."""
    made = side.made.get(trial)
    if made is None or not made.device:
        return ""
    shared_by = (
        f"slots: {side.spec.resources.slots}" if made.device == "cpu" else f"{made.gpus:g} of it a trial"
    )
    machine = made.machine or (_NO_MODEL if made.device == "cpu" else made.device)
    return f"{machine}, {shared_by}, {made.workers} x {made.threads} threads"


def _notes(paces: Sequence[Pace], sides: int) -> list[str]:
    notes = []
    if any(_NO_MODEL in pace.where for pace in paces):
        notes.append(
            "No ratio to or from a CPU of unknown model, as earlier versions recorded it: how fast trials "
            "ran compares on one type of machine only."
        )
    if any("slots: " in pace.where and pace.ratio is not None for pace in paces):
        notes.append("On CPUs a ratio holds only if nothing else was at work on the machines.")
    places = {pace.where for pace in paces}
    if len(places) > 1:
        notes.append(f"No ratio between what ran differently: {'; '.join(sorted(places))}.")
    if sides > 1 and any(pace.ratio is not None for pace in paces):
        notes.append("A ratio of medians over trials, with no test: how fast a trial runs was not repeated.")
    return notes
