"""A plan compared with what happened: each forecast beside the number that came of it.

The forecasts are the expected amounts of the plan, the sd of its pilots, and the units it expected to use.
The ledger of the sweep that was run gives the rest, and ``report.claims`` the verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.ledger import Event
from ablate.report.claims import claims_of, name_of
from ablate.report.confirm import declaration
from ablate.report.machines import UNLIKE
from ablate.report.planning.cost import CPU, EPOCHS, GPU, SLOT, TRIALS, WALL
from ablate.report.planning.pilot import Noise, Pilot, epochs_by_machine, noise_of, read_pilot
from ablate.report.planning.plan import Plan
from ablate.spec.changes import differences
from ablate.statistics.verdict import Verdict

PACE, SD, UNITS, VERDICTS = "seconds an epoch", "sd of differences", "units used", "verdicts"
_TIMES = (WALL, SLOT, CPU, GPU, PACE)
_NEAR = 1.1  # a ratio up to this, or its inverse, is no gap
_IDLE = ("tracking.", "resources.keep", "resources.stall_minutes")  # keys on which no forecast depends


@dataclass(frozen=True)
class Row:
    """None: not forecast, or not known. ``compares``: both are of one type of machine, if they are times."""

    name: str
    forecast: float | None
    happened: float | None
    compares: bool = True

    @property
    def ratio(self) -> float | None:
        """What happened over the forecast; None where one is unknown, nothing was forecast, or they do not
        compare."""
        if not self.forecast or self.happened is None or not self.compares:
            return None
        return self.happened / self.forecast


@dataclass(frozen=True)
class Check:
    """``changed`` are keys of the sweep that are not as planned; ``gap`` explains the largest ratio;
    ``elsewhere`` says why times do not compare, "" if they do."""

    name: str
    ended: bool
    rows: tuple[Row, ...]
    verdicts: tuple[str, ...]
    changed: tuple[str, ...]
    gap: str
    elsewhere: str = ""


def check_plan(plan: Plan, folder: Path, events: list[Event]) -> Check:
    """Compare ``plan`` with the sweep in ``folder``. Raises ValueError if it has no ledger of a sweep."""
    pilot = read_pilot(events, folder)
    claims = claims_of(folder, events)
    noise = noise_of([pilot], plan.design.unit, plan.design.metric)
    verdicts = () if claims is None else claims.verdicts
    elsewhere = _elsewhere(plan, pilot)
    rows = {row.name: row for row in _rows(plan, pilot, noise, verdicts)}
    if elsewhere:
        rows |= {name: replace(row, compares=False) for name, row in rows.items() if name in _TIMES}
    return Check(
        name=plan.name,
        ended=pilot.ended,
        rows=tuple(rows.values()),
        verdicts=tuple(f"{name_of(v.comparison)}: {v.word}, {v.why}" for v in verdicts),
        changed=tuple(_changed(plan, pilot)),
        gap=_gap(plan, pilot, rows, events, noise),
        elsewhere=elsewhere,
    )


def _elsewhere(plan: Plan, pilot: Pilot) -> str:
    """Why the times of the sweep do not compare with those that were forecast."""
    forecast = {pace.machine for pace in plan.cost.paces.values()} - {""}
    ran = set(epochs_by_machine([pilot]))
    if not forecast or not ran or (forecast == ran and UNLIKE not in ran):
        return ""
    return (
        f"the sweep ran on {' and '.join(sorted(ran))}, the pilots of the plan on "
        f"{' and '.join(sorted(forecast))}: hours and seconds compare on one type of machine only"
    )


def _rows(plan: Plan, pilot: Pilot, noise: Noise | None, verdicts: Sequence[Verdict]) -> list[Row]:
    forecast = {name: amount.expected for name, amount in plan.cost.amounts.items()}
    happened = _happened(pilot)
    rows = [Row(name, forecast.get(name), happened[name]) for name in happened]
    rows.append(Row(PACE, _pace(forecast), _pace(happened)))
    if plan.design.family:
        expected = plan.promise.mean_units or float(plan.design.units)
        used = max((len(v.comparison.differences) for v in verdicts), default=0)
        reached = sum(v.word not in ("inconclusive", "blocked") for v in verdicts)
        rows += [
            Row(SD, None if plan.noise is None else plan.noise.sd, None if noise is None else noise.sd),
            Row(UNITS, expected, float(used)),
            Row(VERDICTS, float(plan.design.family), float(reached)),
        ]
    return rows


def _happened(pilot: Pilot) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for stage in ("search", "confirm"):
        found[f"{stage} {TRIALS}"] = len(pilot.run(stage))
        found[f"{stage} {EPOCHS}"] = pilot.trained.get(stage, 0)
    resources, busy = pilot.sweep["resources"], pilot.busy / 3600
    gpus = resources["gpus"]
    return found | {
        WALL: pilot.wall / 3600,
        SLOT: busy,
        CPU: busy * resources["workers"] * resources["cpus"],
        GPU: None if gpus == "auto" else busy * resources["workers"] * gpus,
    }


def _pace(amounts: dict[str, float | None]) -> float | None:
    """Slot seconds of the whole sweep for each epoch, controls included."""
    epochs = (amounts[f"search {EPOCHS}"] or 0.0) + (amounts[f"confirm {EPOCHS}"] or 0.0)
    hours = amounts[SLOT]
    return None if hours is None or not epochs else hours * 3600 / epochs


def _changed(plan: Plan, pilot: Pilot) -> list[str]:
    keys = differences(plan.sweep, pilot.sweep)
    measured = {"resources.gpus"} if plan.sweep["resources"]["gpus"] == "auto" else set()
    return [key for key in keys if not key.startswith(_IDLE) and key not in measured]


# --- the largest gap -------------------------------------------------------------------------------------


def _gap(plan: Plan, pilot: Pilot, rows: dict[str, Row], events: list[Event], noise: Noise | None) -> str:
    """One line on the forecast that was furthest off, and why, as far as the ledger tells."""
    known = {name: row.ratio for name, row in rows.items() if row.ratio is not None and name != VERDICTS}
    if not known:
        return "nothing that was forecast can be compared yet"
    name, ratio = max(known.items(), key=lambda item: round(_distance(item[1]), 2))  # the first of equal ones
    if _distance(ratio) <= math.log(_NEAR):
        return f"no forecast was off by more than {_NEAR - 1:.0%}"
    why = _why(name, plan, pilot, rows, events, noise)
    if not why and _changed(plan, pilot):
        why = "it was not run as planned"
    return f"the largest gap: {name}, {ratio:.2g} times the forecast" + (f": {why}" if why else "")


def _why(
    name: str,
    plan: Plan,
    pilot: Pilot,
    rows: dict[str, Row],
    events: list[Event],
    noise: Noise | None,
) -> str:
    if name in (WALL, SLOT, CPU, GPU):
        return _why_hours(name, rows)
    if name == PACE:
        return "trials ran at another pace than those of the pilot"
    if name == SD:
        return _why_sd(plan, noise)
    if not pilot.ended:
        return "the sweep has not ended"
    if name.endswith(EPOCHS) and (again := _again(pilot, name.split()[0])):
        return f"{again} of them were trained again after a slot was lost"
    if name.startswith("search"):
        return _why_search(name, pilot, rows, events)
    return _why_confirm(events)


def _again(pilot: Pilot, stage: str) -> int:
    """Epochs of a stage beyond those that its trials have come to."""
    return max(0, pilot.trained.get(stage, 0) - sum(r.own_epochs for r in pilot.run(stage)))


def _why_hours(name: str, rows: dict[str, Row]) -> str:
    """The factor of the hours that was furthest off: how many epochs, how long each, how idle the slots."""
    epochs = [rows[f"{stage} {EPOCHS}"] for stage in ("search", "confirm")]
    trained = Row("", sum(r.forecast or 0.0 for r in epochs), sum(r.happened or 0.0 for r in epochs))
    pace, wall, slot = rows[PACE], rows[WALL], rows[SLOT]
    factors = {
        f"{trained.happened:.0f} epochs were trained, not {trained.forecast:.0f}": trained.ratio,
        f"an epoch took {_seconds(pace.happened)}, not {_seconds(pace.forecast)}": pace.ratio,
    }
    if name == WALL and wall.ratio is not None and slot.ratio is not None:
        factors["slots stood idle longer or shorter than forecast"] = wall.ratio / slot.ratio
    known = {said: ratio for said, ratio in factors.items() if ratio is not None}
    return max(known, key=lambda said: _distance(known[said]), default="")


def _distance(ratio: float) -> float:
    return abs(math.log(ratio)) if ratio else math.inf


def _seconds(value: float | None) -> str:
    return "an unknown time" if value is None else f"{value:.3g} s"


def _why_sd(plan: Plan, noise: Noise | None) -> str:
    if plan.noise is None or noise is None:
        return ""
    if plan.noise.interval is None:
        return "the plan took the sd that it was given"
    low, high = plan.noise.interval
    inside = low <= noise.sd <= high
    return f"{'inside' if inside else 'outside'} the pilot's 95% interval, {low:.2g} to {high:.2g}"


def _why_search(name: str, pilot: Pilot, rows: dict[str, Row], events: list[Event]) -> str:
    closed = [str(event["reason"]) for event in events if event["event"] == "closed"]
    if closed:
        return closed[-1]
    repeats = sum(r.duplicate_of is not None for r in pilot.records.values())
    trials = rows[f"search {TRIALS}"].ratio
    if repeats and trials is not None and trials < 1:
        return f"{repeats} trials repeated a configuration and were not run"
    return "early stopping went otherwise than expected" if name.endswith(EPOCHS) else ""


def _why_confirm(events: list[Event]) -> str:
    declared = declaration(events)
    if declared is None:
        return "nothing was confirmed"
    looks = [event for event in events if event["event"] == "looked"]
    if looks and looks[-1]["stop"] and looks[-1]["seeds"] < len(declared["seeds"]):
        return f"the look after {looks[-1]['seeds']} seeds ended it"
    impossible = declared["impossible"]
    return f"{', '.join(impossible)} could not be made of the choice" if impossible else ""
