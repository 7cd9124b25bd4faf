"""What a sweep will cost: its trials, epochs, hours and money, from its file and the pace of pilots.

Every amount is *expected* and *at most*. They differ where the sweep may do less: by early stopping (expected
from a pilot with the same rungs; else as if one trial in ``reduction`` went on at each rung, which is few:
the first arrivals always go on, or, under promotion, some that were among the best only for a time), and by
looks at which confirmation may stop. A budget of the file cuts both. What is not known is None, and is never
filled in.

Hours are those of slots kept busy without a gap, one trial after the other in the order of the ladder, search
and confirmation apart, after the start-up that the pilots had.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ablate.report.planning.pilot import (
    Pace,
    Pilot,
    epochs_by_machine,
    pace_of,
    seconds_untrained,
    startup_of,
)
from ablate.spec.draw import apply
from ablate.spec.grid import combinations, levels
from ablate.spec.sampler import Grid
from ablate.spec.scheduler import ASHA, PBT, HyperBand, epochs_where_they_wait, promotes
from ablate.spec.space import FloatRange
from ablate.spec.sweep import ConfirmSpec, SweepSpec
from ablate.spec.trial import TrialSpec

TRIALS, EPOCHS = "trials", "epochs"
WALL, SLOT, CPU, GPU, MONEY = "wall hours", "slot hours", "CPU hours", "GPU hours", "money"
BEST = "best"
_MANY = 1_000_000  # trials above which slots are taken to be shared evenly


@dataclass(frozen=True)
class Amount:
    """None: unknown."""

    expected: float | None
    most: float | None


@dataclass(frozen=True)
class Prices:
    """Of an hour in use; None: not given."""

    cpu_hour: float | None = None
    gpu_hour: float | None = None

    @property
    def given(self) -> bool:
        return self.cpu_hour is not None or self.gpu_hour is not None


@dataclass(frozen=True)
class Cost:
    """``amounts`` by name: trials and epochs of each stage, then the constants of this module. ``paces`` are
    those of each stage's arms; ``unknown`` says what no pilot tells, ``notes`` what to make of the rest."""

    amounts: dict[str, Amount]
    paces: dict[str, Pace]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
    """Trials that are alike: each trains ``epochs`` and holds its slot for ``seconds`` (None: unknown)."""

    stage: str
    arm: str
    trials: float
    epochs: float
    seconds: float | None

    @property
    def busy(self) -> float:
        return self.trials * (self.seconds or 0.0)


def cost_of(sweep: SweepSpec, pilots: Sequence[Pilot], prices: Prices, used: float) -> Cost:
    """``used`` is the expected share of the planned seeds, in (0, 1]: looks may stop confirmation before."""
    expected, most = (_blocks(sweep, pilots, share, at_most=m) for share, m in ((used, False), (1.0, True)))
    columns = [_amounts(sweep, pilots, prices, blocks) for blocks in (expected, most)]
    paces = {f"{b.stage} {b.arm}": pace_of(pilots, b.stage, b.arm) for b in most if b.epochs}
    return Cost(
        amounts={name: Amount(columns[0][name], columns[1][name]) for name in columns[0]},
        paces={name: pace for name, pace in paces.items() if pace is not None},
        unknown=tuple(_unknown(sweep, pilots, paces, prices)),
        notes=tuple(_notes(sweep, pilots, prices, most)),
    )


def confirm_arms(sweep: SweepSpec) -> tuple[str, ...]:
    """Arms of confirmation that train, the baseline or the best first; empty without confirmation."""
    if sweep.confirm is None:
        return ()
    return tuple(sweep.bases) if sweep.arms is not None else (BEST, *sweep.confirm.references)


# --- trials and epochs -----------------------------------------------------------------------------------


def _blocks(sweep: SweepSpec, pilots: Sequence[Pilot], used: float, *, at_most: bool) -> list[_Block]:
    search = [_search_block(sweep, pilots, arm, base, at_most) for arm, base in sweep.bases.items()]
    return [*_within_budget(sweep, search), *_confirm_blocks(sweep, pilots, used, at_most)]


def _search_block(
    sweep: SweepSpec, pilots: Sequence[Pilot], arm: str, base: TrialSpec, at_most: bool
) -> _Block:
    """All trials of one arm's searches, of every replicate."""
    trials, last = _distinct(sweep, base), _last_epoch(sweep, base, at_most)
    each = last if at_most else _epochs_a_trial(sweep, last, trials, pilots)
    if isinstance(scheduler := sweep.search.scheduler, PBT):
        born = trials + int(scheduler.quantile * trials) * (max(0, round(last) - 1) // scheduler.every)
        trials, each = born, each * trials / born  # who is replaced trains no further
    pace = pace_of(pilots, "search", arm)
    seconds = None if pace is None else each * pace.seconds
    return _Block("search", arm, trials * sweep.replicates, each, seconds)


def _confirm_blocks(
    sweep: SweepSpec, pilots: Sequence[Pilot], used: float, at_most: bool
) -> Iterator[_Block]:
    if sweep.confirm is None:
        return
    seeds, bases = sweep.confirm.seeds * used, _confirm_bases(sweep, sweep.confirm)
    for arm, base in bases.items():
        epochs = _last_epoch(sweep, base, at_most)
        pace = pace_of(pilots, "confirm", arm)
        seconds = None if pace is None else epochs * pace.seconds
        yield _Block("confirm", arm, seeds * sweep.replicates, epochs, seconds)
    any_pace = pace_of(pilots, "confirm", BEST)
    for arm in sweep.confirm.controls:
        untrained = seconds_untrained(pilots, arm)
        if untrained is None and any_pace is not None:
            untrained = any_pace.seconds
        yield _Block("confirm", arm, seeds, 0.0, untrained)


def _confirm_bases(sweep: SweepSpec, plan: ConfirmSpec) -> dict[str, TrialSpec]:
    """The trial that each arm of confirmation is made of, as far as it is known before the search."""
    if sweep.arms is not None:
        return sweep.bases
    changes = {BEST: {}, **plan.references}
    return {arm: _changed(sweep.base, change) for arm, change in changes.items()}


def _changed(base: TrialSpec, change: dict[str, Any]) -> TrialSpec:
    """``base`` itself where it does not admit the change, which the best configuration may."""
    try:
        return apply(base, change)
    except ValueError:
        return base


def _distinct(sweep: SweepSpec, base: TrialSpec) -> int:
    """Trials of one search that are run: a configuration that comes again is not."""
    sampler, trials = sweep.search.sampler, sweep.search.trials
    if isinstance(sweep.search.scheduler, PBT):
        return trials
    steps = sampler.steps if isinstance(sampler, Grid) else None
    reals = {key for key, e in sweep.space.items() if isinstance(e, FloatRange) and e.float[0] < e.float[1]}
    found = 0
    for params in islice(combinations(sweep.space, steps or 2, base), trials):
        if steps is None and reals & set(params):
            return trials
        found += 1
    return found


def _last_epoch(sweep: SweepSpec, base: TrialSpec, at_most: bool) -> float:
    """Epochs of a trial that nothing stops; the mean, or the most, of those that the space draws."""
    entry = sweep.space.get("optim.epochs")
    if entry is None or not base.optim.epochs:
        return base.optim.epochs
    drawn = [float(value) for value in levels(entry, 2) if isinstance(value, (int, float))]
    return max(drawn) if at_most else sum(drawn) / len(drawn)


def _epochs_a_trial(sweep: SweepSpec, last: float, trials: int, pilots: Sequence[Pilot]) -> float:
    """Expected of one of the ``trials`` of a search, early stopping included."""
    scheduler = sweep.search.scheduler
    if scheduler.kind in ("none", "pbt"):
        return last
    seen = [r.own_epochs for p in pilots if _stops_alike(sweep, p) for r in p.run("search") if r.finished]
    if seen:
        return sum(seen) / len(seen)
    if promotes(scheduler):
        return epochs_where_they_wait(scheduler, last, trials)
    if isinstance(scheduler, ASHA):
        return _up_the_ladder(scheduler.rungs, scheduler.reduction, last)
    if isinstance(scheduler, HyperBand):
        rungs = (scheduler.rungs[s:] for s in range(scheduler.brackets))
        each = [_up_the_ladder(r, scheduler.reduction, last) for r in rungs]
        return len(each) / sum(1 / epochs for epochs in each)  # brackets share the epochs, not the trials
    return last


def _stops_alike(sweep: SweepSpec, pilot: Pilot) -> bool:
    ours = sweep.as_dict()
    theirs, epochs = pilot.sweep["search"]["scheduler"], pilot.sweep["base"]["optim"]["epochs"]
    return bool(ours["search"]["scheduler"] == theirs and ours["base"]["optim"]["epochs"] == epochs)


def _up_the_ladder(rungs: Sequence[int], reduction: int, last: float) -> float:
    """Epochs of a trial, if of those at each rung one in ``reduction`` goes on."""
    total, share, before = 0.0, 1.0, 0.0
    for rung in (*(float(r) for r in rungs if r < last), last):
        total += share * (rung - before)
        share, before = share / reduction, rung
    return total


def _within_budget(sweep: SweepSpec, search: list[_Block]) -> list[_Block]:
    """Fewer trials where a budget ends the searches before."""
    budget, replicates = sweep.search.budget, sweep.replicates
    cut = []
    for block in search:
        share = _share(budget.epochs, block.trials * block.epochs / replicates)
        hours = None if block.seconds is None else block.busy / replicates / 3600
        share = min(share, _share(budget.arm_hours, hours))
        cut.append(replace(block, trials=block.trials * share))
    if any(block.seconds is None for block in cut):
        return cut
    hours = sum(block.busy for block in cut) / 3600
    gpus = sweep.resources.workers * (0.0 if sweep.resources.gpus == "auto" else sweep.resources.gpus)
    share = min(_share(budget.hours, hours / sweep.resources.slots), _share(budget.gpu_hours, hours * gpus))
    return [replace(block, trials=block.trials * share) for block in cut]


def _share(allowed: float | None, wanted: float | None) -> float:
    return 1.0 if not allowed or not wanted else min(1.0, allowed / wanted)


# --- hours and money -------------------------------------------------------------------------------------


def _amounts(
    sweep: SweepSpec, pilots: Sequence[Pilot], prices: Prices, blocks: Sequence[_Block]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    stages = {stage: [b for b in blocks if b.stage == stage] for stage in ("search", "confirm")}
    for stage, own in stages.items():
        found[f"{stage} {TRIALS}"] = sum(round(b.trials) for b in own)
        found[f"{stage} {EPOCHS}"] = sum(b.trials * b.epochs for b in own)
    if any(b.seconds is None for b in blocks):
        return found | dict.fromkeys((WALL, SLOT, CPU, GPU, MONEY))
    slots, workers, gpus = sweep.resources.slots, sweep.resources.workers, sweep.resources.gpus
    wall = startup_of(pilots) + sum(_makespan(own, slots) for own in stages.values())
    busy = sum(b.busy for b in blocks) / 3600
    cpu_hours = busy * workers * sweep.resources.cpus
    gpu_hours = None if gpus == "auto" else busy * workers * gpus
    found |= {WALL: wall / 3600, SLOT: busy, CPU: cpu_hours, GPU: gpu_hours}
    return {**found, MONEY: _money(prices, cpu_hours, gpu_hours)}


def _makespan(blocks: Sequence[_Block], slots: int) -> float:
    """Seconds until the last trial ends, if each slot takes the next trial of the ladder when it is free."""
    trials = sum(round(b.trials) for b in blocks)
    if not trials or trials > _MANY:
        return sum(b.busy for b in blocks) / slots
    rounds = max(round(b.trials) for b in blocks)
    free = [0.0] * min(slots, trials)
    for step in range(rounds):
        for block in blocks:
            if step < round(block.trials):
                heapq.heapreplace(free, free[0] + (block.seconds or 0.0))
    return max(free)


def _money(prices: Prices, cpu_hours: float, gpu_hours: float | None) -> float | None:
    """None unless every kind of hour that is used and known to be priced has a price."""
    if not prices.given:
        return None
    if prices.gpu_hour is not None and gpu_hours is None:
        return None
    return (prices.cpu_hour or 0.0) * cpu_hours + (prices.gpu_hour or 0.0) * (gpu_hours or 0.0)


# --- words -----------------------------------------------------------------------------------------------


def _unknown(
    sweep: SweepSpec, pilots: Sequence[Pilot], paces: dict[str, Pace | None], prices: Prices
) -> Iterator[str]:
    if not pilots:
        yield "how long an epoch takes, and so hours and money: give --pilot SWEEP_FOLDER, a short run"
    elif None in paces.values():
        yield "how long an epoch takes: no trial of a pilot trained one in a time that its ledger shows"
    if sweep.resources.gpus == "auto" and pilots:
        yield "GPU hours: resources.gpus is auto, and is measured where the sweep runs"
    if prices.given and prices.gpu_hour is None and sweep.resources.gpus:
        yield "what GPU hours cost: --price-gpu-hour; the money is that of CPU hours alone"


def _notes(
    sweep: SweepSpec, pilots: Sequence[Pilot], prices: Prices, most: Sequence[_Block]
) -> Iterator[str]:
    if not pilots:
        return
    types = epochs_by_machine(pilots).most_common()
    if len(types) > 1:
        ran = ", ".join(f"{machine} ({epochs} epochs)" for machine, epochs in types)
        yield f"pilots ran on several types of machine, {ran}: paces and hours are of {types[0][0]} alone"
    untimed = [b.arm for b in most if not b.epochs and seconds_untrained(pilots, b.arm) is None]
    if untimed and any(b.seconds for b in most):
        yield f"{' and '.join(untimed)}: not timed by a pilot, each trial counted as one epoch"
    searches = {b.arm: b.trials for b in most if b.stage == "search"}
    planned = {arm: _distinct(sweep, base) * sweep.replicates for arm, base in sweep.bases.items()}
    cut = [arm for arm, trials in searches.items() if round(trials) < planned[arm]]
    if cut:
        yield f"search.budget allows about {round(searches[cut[0]])} trials of {planned[cut[0]]} ({cut[0]})"
    if prices.given:
        yield "money is hours in use times their price; a rented machine is paid while it idles, too"
