"""Before a sweep is run: what it will cost, what it can conclude, and what it must not promise.

The design follows from the sweep's file. Whether any verdict can be reached at all follows from the design
alone: n units cannot give a p below 2^(1-n), and Holm multiplies the smallest p by the number of comparisons.
How large a difference is found, with which probability, and whether equality can be shown, follow from the
noise as well, which pilots tell or the caller gives. An estimated sd is itself uncertain; everything is
planned with its upper 80% bound. The procedure of looks and verdicts is simulated (``statistics.power``): one
arm differs and the others are equal. What is not known is said to be unknown, and nothing is promised of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ablate.report.claims import LEAST_REPLICATES
from ablate.report.planning.cost import BEST, Cost, Prices, cost_of
from ablate.report.planning.design import Design, design_of
from ablate.report.planning.pilot import Noise, Pilot, cells_of, noise_of
from ablate.report.planning.promise import Promise, Study
from ablate.spec.base import flatten
from ablate.spec.sweep import SweepSpec
from ablate.statistics import seeds_needed, smallest_p

_SHOWN = 4  # keys in which a pilot differs


@dataclass(frozen=True)
class Plan:
    """Everything that `ablate plan` says; ``sweep`` is the file, resolved, and ``pilots`` are names.

    ``refusals`` are what cannot be concluded as planned, and what would help; ``unknown`` what nobody told;
    ``notes`` what else limits the claim. ``target`` is the power asked for.
    """

    kind: Literal["ablate plan 1"]
    name: str
    sweep: dict[str, Any]
    pilots: tuple[str, ...]
    target: float
    design: Design
    cost: Cost
    noise: Noise | None
    promise: Promise
    refusals: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


def make_plan(
    sweep: SweepSpec,
    pilots: Sequence[Pilot] = (),
    *,
    sd: float | None = None,
    effect: float | None = None,
    target: float = 0.8,
    prices: Prices | None = None,
) -> Plan:
    """Plan ``sweep``; ``sd`` (above 0) of the paired differences of its units replaces that of the pilots.

    ``effect`` (above 0) is a difference of the test metric whose power is asked for, ``target`` the power
    to plan with, in (0, 1).
    """
    design = design_of(sweep)
    noise = Noise(sd, None, "given", design.unit) if sd is not None else _noise(sweep, design, pilots)
    cells = cells_of(pilots, design.unit, design.metric) if noise is not None else None
    study = Study(design, noise, cells, target)
    promise = study.promise(effect)
    used = 1.0 if promise.mean_units is None else promise.mean_units / design.units
    cost = cost_of(sweep, pilots, prices or Prices(), used)
    return Plan(
        kind="ablate plan 1",
        name=sweep.name,
        sweep=sweep.as_dict(),
        pilots=tuple(pilot.name for pilot in pilots),
        target=target,
        design=design,
        cost=cost,
        noise=noise,
        promise=promise,
        refusals=tuple(study.refusals(promise)),
        unknown=(*_unknown(sweep, design, noise, pilots), *cost.unknown),
        notes=(*_notes(design, noise, promise), *cost.notes, *_unlike(sweep, pilots)),
    )


def _noise(sweep: SweepSpec, design: Design, pilots: Sequence[Pilot]) -> Noise | None:
    if not design.looks:
        return None
    return noise_of(pilots, design.unit, design.metric, sweep.search.objective.metric)


# --- words -----------------------------------------------------------------------------------------------


def _unknown(sweep: SweepSpec, design: Design, noise: Noise | None, pilots: Sequence[Pilot]) -> Iterator[str]:
    if not design.family or noise is not None:
        return
    what = "the noise, and so what difference can be detected" + (
        "" if design.margin is None else f" and whether equivalence within {design.margin:g} can be shown"
    )
    if not pilots:
        yield f"{what}: give --pilot SWEEP_FOLDER or --sd"
    elif design.unit == "seed":
        yield f"{what}: no two arms of a pilot share two seeds with {design.metric}"
    else:
        yield f"{what}: no pilot confirmed two arms in two replicates with {design.metric}"
        seeds = noise_of(pilots, "seed", design.metric, sweep.search.objective.metric)
        if seeds is not None and seeds.source == "confirm":
            yield (
                "how much independent searches differ: seeds alone give the difference of a replicate an sd "
                f"of {seeds.sd / math.sqrt(design.seeds):.2g}, and the true one is larger"
            )


def _notes(design: Design, noise: Noise | None, promise: Promise) -> Iterator[str]:
    if not design.family:
        return
    if design.unit == "seed":
        searched = "one search chose the best" if design.arms[0] == BEST else "each arm is searched once"
        yield (
            f"at most this can be claimed: these configurations differ ({searched}). That a {design.subject} "
            f"is better takes arms with replicates, {_replicates_needed(design)} or more"
        )
    elif design.replicates < LEAST_REPLICATES:
        yield f"a claim on a {design.subject} takes {LEAST_REPLICATES} replicates or more"
    for n, alpha in design.idle_looks if design.attainable else ():
        yield (
            f"the look after {n} {design.unit}s can call nothing better or worse: the smallest p times "
            f"{design.family} is {smallest_p(n) * design.family:.3g}, above its alpha, {alpha:.3g}"
        )
    if design.margin is None:
        yield "without confirm.margin nothing is called equivalent: arms that are equal end as inconclusive"
    if noise is None:
        return
    if noise.source == "search":
        yield (
            "the noise is that of search trials, whose configurations differ too, on the validation metric: "
            "rather an upper bound, and weaker than a pilot with confirm"
        )
    if promise.effect is not None and design.margin is not None and promise.effect < design.margin:
        yield f"{promise.effect:g} lies within the margin {design.margin:g}: such a difference is not sought"
    if promise.images is None:
        yield "no pilot stored which test images were right: what is found holds for these test images only"


def _replicates_needed(design: Design) -> int:
    try:
        return max(LEAST_REPLICATES, seeds_needed(design.alpha or 0.05, design.family))
    except ValueError:
        return LEAST_REPLICATES


def _unlike(sweep: SweepSpec, pilots: Sequence[Pilot]) -> Iterator[str]:
    """Where a pilot differs from the plan in what noise and pace depend on."""
    ours = {key: value for key, value in flatten(sweep.as_dict()) if _matters(key, sweep.replicates)}
    for pilot in pilots:
        theirs = dict(flatten(pilot.sweep))
        other = [key for key in ours if key in theirs and theirs[key] != ours[key]]
        if other:
            shown = ", ".join(f"{key} ({theirs[key]}, here {ours[key]})" for key in other[:_SHOWN])
            more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
            yield f"the pilot {pilot.name} differs in {shown}{more}: its noise and pace may not hold here"


def _matters(key: str, replicates: int) -> bool:
    if key.startswith("resources."):
        return key.split(".")[1] in ("slots", "workers", "cpus", "gpus")
    if key == "confirm.seeds":
        return replicates > 1  # the difference of a replicate is a mean over so many
    return key.startswith("base.") and key != "base.seed"
