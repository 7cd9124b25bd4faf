"""What earlier sweeps tell of one that is planned: how noisy its differences are, how long an epoch takes.

A pilot is the ledger of any sweep. Its *noise* is the standard deviation of the difference between two arms
that share a seed. With scores y [seeds, arms] it is estimated from the residuals of the two-way layout,

    sd^2 = 2 sum_sa (y_sa - y_s. - y_.a + y_..)^2 / ((seeds - 1) (arms - 1)),

which is the mean over all pairs of arms of the sample variance of their differences; with two arms it is the
usual paired variance. Were the noise alike in all arms, the degrees of freedom would be the divisor. Where a
pilot has no confirmation, trials of its search stand in: arms that share the number of a draw, or without
arms any two configurations. Their differences hold the effects of the configurations as well.

Its *pace* is the wall time that a trial held its slot for each epoch it trained: start, probes and artifacts
of the trial are in it. Time of a driver that died counts up to its last record, repeated epochs count again.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ablate.ledger import Event
from ablate.report.correctness import Correctness
from ablate.report.machines import machines_of
from ablate.report.trials import TrialRecord, ending, fold_trials, opening, slot_seconds

FloatArray = NDArray[np.float64]
Unit = Literal["seed", "replicate"]
Source = Literal["given", "confirm", "search"]
Scores = dict[str, dict[int, float]]  # arm -> block (a seed, a replicate, the number of a draw) -> score

LEVEL = 0.95  # of the interval of sd that is shown
CAUTION = 0.8  # the chance that the sd planned with is not below the true one
_SPREAD = (10.0, 90.0)


@dataclass(frozen=True)
class Timing:
    """A trial that did not fail: ``epochs`` it trained, ``seconds`` that it held a slot for them, and on what
    type of ``machine``, "" where it is not known: of trials that were stopped."""

    stage: str
    arm: str
    epochs: int
    seconds: float
    machine: str = ""


@dataclass(frozen=True)
class Pilot:
    """One sweep as its ledger tells it; ``sweep`` is its file, resolved, by whatever version ran it.

    ``folder`` holds what its trials stored, None if that is not at hand. ``numbers`` are those of trials in
    their search: arms draw alike for the same number. ``wall`` is seconds during which a driver
    was at work, ``busy`` those of all trials in their slots, ``startup`` those before the first trial began.
    """

    name: str
    folder: Path | None
    sweep: dict[str, Any]
    records: dict[str, TrialRecord]
    numbers: dict[str, int]
    timings: dict[str, Timing]
    trained: dict[str, int]  # search or confirm -> epochs
    wall: float
    busy: float
    startup: float | None
    ended: bool

    @property
    def controls(self) -> tuple[str, ...]:
        """Arms of confirm that train nothing."""
        return tuple((self.sweep.get("confirm") or {}).get("controls", ()))

    def run(self, stage: str) -> list[TrialRecord]:
        """Trials of a stage that were run: without those that took the result of another."""
        return [r for r in self.records.values() if r.stage == stage and not r.duplicate_of]


@dataclass(frozen=True)
class Noise:
    """Standard deviation of the paired differences of one unit.

    ``freedom`` is None where it was given and not estimated. ``alike`` are the smallest and the largest that
    any two arms showed. With the source ``search`` it is an upper bound: see the module.
    """

    sd: float
    freedom: int | None
    source: Source
    unit: Unit
    arms: int = 2
    blocks: int = 0  # seeds, replicates or draws that it was estimated from
    alike: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Chi-square interval of the sd at 95%, for normal differences; None where it was given."""
        if self.freedom is None:
            return None
        return self.bound((1 - LEVEL) / 2), self.bound((1 + LEVEL) / 2)

    @property
    def cautious(self) -> float:
        """What to plan with: the upper 80% bound, or the sd itself where it was given."""
        return self.sd if self.freedom is None else self.bound(CAUTION)

    def bound(self, chance: float) -> float:
        """What the sd is below with this chance, in (0, 1); the sd itself where it was given."""
        if self.freedom is None:
            return self.sd
        from scipy import stats

        return self.sd * math.sqrt(self.freedom / float(stats.chi2.ppf(1 - chance, self.freedom)))


@dataclass(frozen=True)
class Pace:
    """Seconds an epoch: the median over ``epochs`` epochs, and the middle 80% of them; ``whose`` they are,
    and on what type of ``machine``, "" where no trial tells."""

    seconds: float
    low: float
    high: float
    epochs: int
    whose: str
    machine: str = ""


def read_pilot(events: list[Event], folder: Path | None = None) -> Pilot:
    """Fold the ledger of the sweep in ``folder``. Raises ValueError if it is not the record of a sweep."""
    sweep = opening(events)["sweep"]
    records = fold_trials(events)
    clock, held = _Clock(), slot_seconds(events)
    machines = {} if folder is None else machines_of(folder, records)
    for event in events:
        clock.see(event)
    asked = [e for e in events if e["event"] == "asked"]
    trained: Counter[str] = Counter()
    for trial, epochs in clock.epochs.items():
        trained[records[trial].stage] += epochs
    return Pilot(
        name=str(sweep["name"]),
        folder=folder,
        sweep=sweep,
        records=records,
        numbers={e["trial"]: e["number"] for e in asked},
        timings={
            r.trial: Timing(r.stage, r.arm, clock.epochs[r.trial], held[r.trial], machines.get(r.trial, ""))
            for r in records.values()
            if r.finished and r.state != "FAILED" and held.get(r.trial, 0.0) > 0
        },
        trained=dict(trained),
        wall=clock.wall,
        busy=sum(held.values()),
        startup=clock.startup,
        ended=ending(events) is not None,
    )


@dataclass
class _Clock:
    """Seconds that drivers ran and took to start their first trial, and the epochs that trials reported."""

    epochs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    wall: float = 0.0
    startup: float | None = None
    _opened: float = 0.0
    _last: float | None = None

    def see(self, event: Event) -> None:
        """Take in one record, in order."""
        name, now = event["event"], float(event["time"])
        if name in ("opened", "resumed"):
            self._opened = now
        elif self._last is not None:
            self.wall += now - self._last
        if name == "started":
            self.startup = now - self._opened if self.startup is None else self.startup
        elif name == "reported" and event["epoch"] > 0:
            self.epochs[event["trial"]] += 1
        self._last = now


# --- noise -----------------------------------------------------------------------------------------------


def noise_of(pilots: Sequence[Pilot], unit: Unit, metric: str, objective: str | None = None) -> Noise | None:
    """The noise that pilots tell of, all together; None if no two arms share two seeds in any of them.

    ``metric`` is what confirmation compares, ``objective`` what the search improves: its trials count only
    where no pilot has a confirmation, and never for replicates, which a search does not repeat.
    """
    tables = [t for pilot in pilots for t in _confirmed(pilot, unit, metric)]
    found = _pooled(tables, "confirm", unit)
    if found is not None or objective is None or unit == "replicate":
        return found
    tables = [t for pilot in pilots for t in _searched(pilot, objective)]
    return _pooled(tables, "search", unit) or _any_two(pilots, objective)


def cells_of(pilots: Sequence[Pilot], unit: Unit, metric: str) -> FloatArray | None:
    """Differences of correctness [units, images] of two arms of a pilot; None if no pilot stored any.

    Of each pilot's first arm against the others it is the pair that disagrees most from image to image.
    """
    from ablate.statistics.power import image_variances

    found = [cells for pilot in pilots for cells in _cells(pilot, unit, metric)]
    return max(found, key=lambda cells: sum(image_variances(cells)) / cells.shape[1], default=None)


def _cells(pilot: Pilot, unit: Unit, metric: str) -> Iterator[FloatArray]:
    if pilot.folder is None:
        return
    correct, scored = Correctness(pilot.folder, metric), _scored(pilot, metric)
    first, *others = dict.fromkeys(r.arm for r in scored) or (None,)
    trials = {(r.arm, r.replicate, r.seed): r.trial for r in scored}
    for other in others:
        units: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
        for (arm, replicate, seed), trial in trials.items():
            if arm == other and (pair := trials.get((str(first), replicate, seed))) is not None:
                units[replicate, seed if unit == "seed" else 0].append((trial, pair))
        cells = correct.differences(list(units.values()))
        if cells is not None and min(cells.shape) > 1:
            yield cells


def _scored(pilot: Pilot, metric: str) -> list[TrialRecord]:
    """Trials of confirmation that have a score, of the arms that train."""
    trained = [r for r in pilot.run("confirm") if r.finished and r.arm not in pilot.controls]
    return [r for r in trained if math.isfinite(r.metrics.get(metric, math.nan))]


def _confirmed(pilot: Pilot, unit: Unit, metric: str) -> list[FloatArray]:
    """Scores [units, arms], a table for every replicate, or one of them all."""
    by_replicate: dict[int, Scores] = defaultdict(lambda: defaultdict(dict))
    for r in _scored(pilot, metric):
        by_replicate[r.replicate][r.arm][r.seed] = r.metrics[metric]
    if unit == "seed":
        return [t for scores in by_replicate.values() if (t := _rectangle(scores)) is not None]
    means: Scores = defaultdict(dict)
    for replicate, scores in by_replicate.items():
        shared = set.intersection(*map(set, scores.values()))
        for arm, row in scores.items() if shared else ():
            means[arm][replicate] = float(np.mean([row[seed] for seed in sorted(shared)]))
    table = _rectangle(means)
    return [] if table is None else [table]


def _searched(pilot: Pilot, objective: str) -> list[FloatArray]:
    """Scores [draws, arms] of completed search trials of several arms, a table for every replicate."""
    by_replicate: dict[int, Scores] = defaultdict(lambda: defaultdict(dict))
    for r in _completed(pilot, objective):
        by_replicate[r.replicate][r.arm][pilot.numbers[r.trial]] = r.metrics[objective]
    return [t for scores in by_replicate.values() if (t := _rectangle(scores)) is not None]


def _completed(pilot: Pilot, objective: str) -> list[TrialRecord]:
    complete = [r for r in pilot.run("search") if r.state == "COMPLETE" and not r.parent]
    return [r for r in complete if math.isfinite(r.metrics.get(objective, math.nan))]


def _any_two(pilots: Sequence[Pilot], objective: str) -> Noise | None:
    """Two configurations that a search drew: the sd of the difference of independent scores."""
    groups: dict[tuple[int, str, int], list[float]] = defaultdict(list)
    for i, pilot in enumerate(pilots):
        for r in _completed(pilot, objective):
            groups[i, r.arm, r.replicate].append(r.metrics[objective])
    several = [np.array(scores) for scores in groups.values() if len(scores) > 1]
    freedom = sum(len(scores) - 1 for scores in several)
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
    if squares <= 0:
        return None
    return Noise(math.sqrt(2 * squares / freedom), freedom, "search", "seed", blocks=sum(map(len, several)))


def _rectangle(scores: Mapping[str, Mapping[int, float]]) -> FloatArray | None:
    """Scores [blocks, arms] of the arms and their common blocks that tell most; None below two of each."""
    arms = sorted(scores, key=lambda arm: (-len(scores[arm]), arm))
    best: FloatArray | None = None
    for count in range(2, len(arms) + 1):
        blocks = sorted(set.intersection(*(set(scores[arm]) for arm in arms[:count])))
        table = np.array([[scores[arm][block] for arm in arms[:count]] for block in blocks])
        if len(blocks) > 1 and (best is None or _freedom(table) >= _freedom(best)):
            best = table
    return best


def _freedom(table: FloatArray) -> int:
    blocks, arms = table.shape
    return int((blocks - 1) * (arms - 1))


def _pooled(tables: Sequence[FloatArray], source: Source, unit: Unit) -> Noise | None:
    """None also where all differences are equal: that is no noise, but arms that do the same."""
    freedom = sum(map(_freedom, tables))
    residuals = [t - t.mean(1, keepdims=True) - t.mean(0) + t.mean() for t in tables]
    squares = sum(float((r**2).sum()) for r in residuals)
    if not freedom or squares <= 1e-24 * freedom:
        return None
    pairs = [t[:, i] - t[:, j] for t in tables for i, j in combinations(range(t.shape[1]), 2)]
    spreads = [float(d.std(ddof=1)) for d in pairs]
    return Noise(
        sd=math.sqrt(2 * squares / freedom),
        freedom=freedom,
        source=source,
        unit=unit,
        arms=max(t.shape[1] for t in tables),
        blocks=sum(len(t) for t in tables),
        alike=(min(spreads), max(spreads)),
    )


# --- pace ------------------------------------------------------------------------------------------------


def pace_of(pilots: Sequence[Pilot], stage: str, arm: str) -> Pace | None:
    """Of this arm in this stage; else of this arm, else of this stage, else of any trial that trained; always
    of one type of machine."""
    timings = [t for t in _alike(pilots) if t.epochs > 0]
    for whose, chosen in (
        (arm, [t for t in timings if (t.stage, t.arm) == (stage, arm)]),
        (arm, [t for t in timings if t.arm == arm]),
        (f"other arms of {stage}", [t for t in timings if t.stage == stage]),
        ("other trials", timings),
    ):
        if chosen:
            return _pace(chosen, whose)
    return None


def _pace(timings: Sequence[Timing], whose: str) -> Pace:
    """Every epoch counts once, so that many short trials do not outweigh a few long ones."""
    epochs = [t.epochs for t in timings]
    each = np.repeat([t.seconds / t.epochs for t in timings], epochs)
    low, high = np.percentile(each, _SPREAD)
    machine = max(t.machine for t in timings)
    return Pace(float(np.median(each)), float(low), float(high), sum(epochs), whose, machine)


def epochs_by_machine(pilots: Sequence[Pilot]) -> Counter[str]:
    """How many of the timed epochs each known type of machine ran."""
    found: Counter[str] = Counter()
    for timing in (t for pilot in pilots for t in pilot.timings.values()):
        if timing.machine:
            found[timing.machine] += timing.epochs
    return found


def _alike(pilots: Sequence[Pilot]) -> list[Timing]:
    """Those of the type of machine that ran most epochs. Where only one type is known, the others, which do
    not tell theirs, are taken to be of it."""
    timings = [t for pilot in pilots for t in pilot.timings.values()]
    types = epochs_by_machine(pilots)
    if len(types) < 2:
        return timings
    [(most, _)] = types.most_common(1)
    return [t for t in timings if t.machine == most]


def seconds_untrained(pilots: Sequence[Pilot], arm: str) -> float | None:
    """Seconds of a control's trial, which trains no epoch: the median of those of its name, or of any."""
    controls = {arm for pilot in pilots for arm in pilot.controls}
    timings = [t for t in _alike(pilots) if t.arm in controls]
    chosen = [t.seconds for t in timings if t.arm == arm] or [t.seconds for t in timings]
    return float(np.median(chosen)) if chosen else None


def startup_of(pilots: Sequence[Pilot]) -> float:
    """Seconds before the first trial began: the median of the pilots that began one, or 0."""
    known = [p.startup for p in pilots if p.startup is not None]
    return float(np.median(known)) if known else 0.0
