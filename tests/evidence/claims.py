"""How often verdicts are wrong, and how often right ones are found: whole sweeps, thousands of times.

Each repetition is a sweep through search and confirmation on the simulated backend, judged by the product
(`report.claims`), ledger, looks and stored predictions included. Only training is replaced by this model.
Test image e is classified correctly by a trial of arm a at seed s with probability

    q(a, lr) + noise(a, s) + taste(a, s's replicate, e),

where q is the quality of the arm at the learning rate found, ``noise`` the luck of a seed and ``taste`` how
well a configuration suits an image beside others (so that two equally good ones disagree on single images).
Under the null all arms have the same distribution of all three, independent of one another. What was found
stays in `runs/evidence-claims/`, so that a check cut short goes on where it was.

A false verdict is "better" or "worse" between arms that are equal. Where the unit is the seed, the claim is
on two configurations, and these are equal only if the search cannot make them differ: the space is flat
there. Where the unit is the replicate the learning rate matters, so that the luck of a search is part of the
noise. Differences of arms with one and the same noise are symmetric whatever that noise is; they are skewed
where the noise of one arm is, and the other has none.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from ablate.ledger.memory import MemoryLedger
from ablate.report.claims import Claims, claims_of
from ablate.spec.identity import digest
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.statistics import alphas
from ablate.statistics.power import minimum_detectable
from ablate.sweep.curves import Curve, End, Lap, played
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock, run_simulated
from tests.evidence.harness import ROOT, Finding, check

VAL, TEST = "probe.h.val", "probe.h.test"
REPETITIONS = 1_000
ALLOWED = 0.07  # upper 95% bound of the share of false verdicts, symmetric noise
POWER = 0.8
_BASE = 0.6  # accuracy of the baseline

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
HEAVY, ONE_SIDED = "heavy-tailed (t, 3 degrees)", "skewed, in one arm only"
NOISES: dict[str, Draw] = {  # mean 0, variance 1
    "normal": lambda rng, n: rng.standard_normal(n),
    HEAVY: lambda rng, n: rng.standard_t(3, n) / math.sqrt(3),
    "skewed (exponential)": lambda rng, n: rng.exponential(1, n) - 1,
    ONE_SIDED: lambda rng, n: rng.exponential(1, n) - 1,
}


@dataclass(frozen=True)
class World:
    """What is repeated: the sweep's shape, and what is true in it. Accuracies are shares, not percent."""

    arms: int = 2
    seeds: int = 8
    looks: tuple[int, ...] = ()
    replicates: int = 1
    trials: int = 4
    noise: str = "normal"
    spread: float = 0.01  # of the luck of a seed
    images: int | None = 1000  # None: no predictions are stored, and the test set is as good as endless
    taste: float = 0.1
    steep: float = 0.0  # how much of quality a factor of ten in the learning rate costs, at the worst
    effect: float = 0.0  # of the second arm
    margin: float | None = None

    def __str__(self) -> str:
        seeds = f"{self.seeds} seeds"
        unit = f"{self.replicates} replicates x {seeds}" if self.replicates > 1 else seeds
        looks = f", looks {'/'.join(map(str, self.looks))}" if self.looks else ""
        images = f"{self.images} images" if self.images else "endless test set"
        return f"{self.arms} arms, {unit}{looks}, {self.noise}, {images}"


def sweep(world: World) -> SweepSpec:
    names = [f"arm-{i}" for i in range(world.arms)]
    return SweepSpec.model_validate(
        {
            "name": "null",
            "question": "Do equal arms stay equal?",
            "base": {
                "data": {"kind": "digits"},
                "head": {"kind": "mlp", "hidden": 64},
                "optim": {"kind": "sgd", "epochs": 1, "warmup_epochs": 0.0},
            },
            "arms": {
                "baseline": names[0],
                "each": {name: {"head.hidden": 64 + i} for i, name in enumerate(names)},
                "replicates": world.replicates,
            },
            "space": {"optim.lr": {"float": [0.01, 1.0], "log": True, "role": "nuisance"}},
            "search": {"trials": world.trials, "sampler": {"kind": "random"}},
            "confirm": {
                "seeds": world.seeds, "looks": world.looks, "controls": (), "margin": world.margin,
            },
        }
    )  # fmt: skip


class Model:
    """One repetition's truth; every number follows from its seed and the trial's spec."""

    def __init__(self, world: World, repetition: int) -> None:
        self.world, self.repetition = world, repetition

    def quality(self, spec: TrialSpec) -> float:
        found = _BASE - self.world.steep * abs(math.log10(spec.optim.lr) + 1)
        return found + (self.world.effect if _arm(spec) == 1 else 0.0)

    def score(self, spec: TrialSpec) -> float:
        """As on an endless test set: quality and the luck of the seed."""
        if self.world.noise == ONE_SIDED and _arm(spec) == 0:
            return self.quality(spec)
        rng = np.random.default_rng([self.repetition, _arm(spec), spec.seed, int(spec.optim.lr * 1e9)])
        return self.quality(spec) + self.world.spread * float(NOISES[self.world.noise](rng, 1)[0])

    def correct(self, spec: TrialSpec) -> NDArray[np.float64]:
        """Per test image whether it was classified correctly, [images]."""
        world = self.world
        assert world.images is not None
        own = np.random.default_rng([self.repetition, _arm(spec), int(spec.optim.lr * 1e9)])
        taste = world.taste * own.standard_normal(world.images)  # of the configuration, the same at all seeds
        rng = np.random.default_rng([self.repetition, _arm(spec), spec.seed, 7])
        chance = np.clip(self.score(spec) + taste, 0, 1)
        return (rng.random(world.images) < chance).astype(np.float64)


def _arm(spec: TrialSpec) -> int:
    return int(spec.head.hidden) - 64  # type: ignore[union-attr]


def claims(world: World, repetition: int, scratch: Path) -> Claims:
    """One sweep of the world, judged."""
    model, clock = Model(world, repetition), VirtualClock()
    ledger = MemoryLedger(clock)
    with Driver(sweep(world), scratch / str(repetition), clock=clock, open_log=lambda _: ledger) as driver:
        run_simulated(driver, played(partial(_curve, model)), clock, slots=1)
        folder = driver.folder
    events = ledger.events()
    specs = {e["trial"]: e["spec"] for e in events if e["event"] == "asked" and e["stage"] == "confirm"}
    for trial, spec in specs.items() if world.images else ():
        (folder / "trials" / trial).mkdir(parents=True)
        path = folder / "trials" / trial / "correct.npz"
        np.savez(path, **{"probe.h": model.correct(TrialSpec.model_validate(spec))})
    found = claims_of(folder, events)
    shutil.rmtree(scratch / str(repetition))
    assert found is not None
    return found


def _curve(model: Model, spec: TrialSpec) -> Curve:
    luck = np.random.default_rng([model.repetition, _arm(spec), spec.seed, int(spec.optim.lr * 1e9), 1])
    val = model.quality(spec) + model.world.spread * float(luck.standard_normal())
    test = model.score(spec) if model.world.images is None else float(model.correct(spec).mean())
    return Curve({1: Lap(1.0, {VAL: val})}, End("COMPLETE", metrics={TEST: test}))


def outcome(world: World, scratch: Path, repetition: int) -> tuple[bool, bool, float, bool, bool]:
    """Any verdict of better or worse; arm 1 better; seeds used; its t and its BCa interval hold the truth."""
    found = claims(world, repetition, scratch)
    words = [v.word for v in found.verdicts]
    first = found.verdicts[0]
    held = [i is not None and i.low <= world.effect <= i.high for i in (first.interval, first.bca)]
    any_ = any(word in ("better", "worse") for word in words)
    return any_, words[0] == "better", found.seeds_used, held[0], held[1]


@dataclass(frozen=True)
class Rates:
    repetitions: int
    any_verdict: float
    bound: float  # upper 95% (Clopper-Pearson, one-sided) of any_verdict
    better: float
    mean_seeds: float
    t_covers: float
    bca_covers: float


def rates(world: World, scratch: Path, repetitions: int = REPETITIONS) -> Rates:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_without_fsync) as pool:
        found = list(pool.map(partial(outcome, world, scratch), range(repetitions), chunksize=20))
    any_, better, seeds, t_covers, bca_covers = np.array(found, float).T
    hits = int(any_.sum())
    bound = 1.0 if hits == repetitions else float(beta.ppf(0.95, hits + 1, repetitions - hits))
    return Rates(
        repetitions, any_.mean(), bound, better.mean(), seeds.mean(), t_covers.mean(), bca_covers.mean()
    )


def kept(world: World, scratch: Path) -> Rates:
    """`rates`, from an earlier run of this very code if it was cut short."""
    folder = ROOT / "runs" / "evidence-claims" / digest([_code(), REPETITIONS])
    path = folder / f"{digest(asdict(world))}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(rates(world, scratch))))
        part.rename(path)
    found = Rates(**json.loads(path.read_text()))
    print(f"{world}: {found.any_verdict:.3f} (at most {found.bound:.3f})", flush=True)
    return found


def _code() -> list[str]:
    """Digests of all files that decide what a sweep comes to."""
    rooms = ("statistics", "search", "ledger", "report", "spec")
    files = [Path(__file__), *(f for room in rooms for f in sorted((ROOT / "ablate" / room).rglob("*.py")))]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def _without_fsync() -> None:
    """Durability is not what is measured; two processes share two cores."""
    os.fsync = lambda _: None  # type: ignore[assignment]
    torch.set_num_threads(1)


SHAPES = [World(seeds=8), World(seeds=12, looks=(8, 12)), World(replicates=8, seeds=2, steep=0.05)]
MORE = [
    World(seeds=6), World(seeds=8, images=200), World(seeds=8, images=None),
    World(replicates=6, seeds=2, steep=0.05),
    World(arms=6, seeds=9), World(arms=6, seeds=9, noise=HEAVY),
    World(arms=4, replicates=8, seeds=1, trials=2, steep=0.05),
]  # fmt: skip
# One search an arm, its verdict told as one on kinds of head: what the product never says, and why.
NAIVE = World(seeds=8, steep=0.05, images=None)
POWERED = [
    World(seeds=8), World(seeds=12, looks=(8, 12)), World(seeds=8, images=None), World(arms=6, seeds=10),
]  # fmt: skip


def nulls() -> list[World]:
    """Some shapes under every noise, others under the normal one."""
    return [*(replace(world, noise=noise) for world in SHAPES for noise in NOISES), *MORE]


def pilot(world: World) -> tuple[float, NDArray[np.float64] | None]:
    """Noise of the differences and their predictions, as a pilot of 40 seeds shows them."""
    model = Model(world, 10**6)
    base = sweep(world).bases
    one, other = (base[f"arm-{i}"] for i in (1, 0))
    pairs = [(one.model_copy(update={"seed": s}), other.model_copy(update={"seed": s})) for s in range(40)]
    if world.images is None:
        return float(np.std([model.score(a) - model.score(b) for a, b in pairs], ddof=1)), None
    cells = np.stack([model.correct(a) - model.correct(b) for a, b in pairs])
    return float(cells.mean(1).std(ddof=1)), cells


def declared(world: World) -> float:
    """The effect that is said to be found with probability .8."""
    sd, cells = pilot(world)
    looks = world.looks or (world.seeds,)
    found = minimum_detectable(sd, looks, alphas(looks, 0.05), world.arms - 1, POWER, cells=cells)
    assert found is not None
    return found


@check("claims")
def verdicts_that_hold(scratch: Path) -> Finding:
    null = {world: kept(world, scratch) for world in nulls()}
    naive = kept(NAIVE, scratch)
    effects = {world: declared(world) for world in POWERED}
    power = {w: (effect, kept(replace(w, effect=effect), scratch)) for w, effect in effects.items()}
    symmetric = [r for world, r in null.items() if world.noise != ONE_SIDED]
    held = all(r.bound <= ALLOWED for r in symmetric) and all(r.better >= POWER for _, r in power.values())
    figures = {
        "null": {str(world): asdict(r) for world, r in null.items()},
        "naive": {str(NAIVE): asdict(naive)},
        "power": {str(world): {"effect": effect, **asdict(r)} for world, (effect, r) in power.items()},
    }
    return Finding(
        f"Of {REPETITIONS:,} whole sweeps with equal arms, through search and confirmation, at most 7% "
        "(upper 95% bound) end in any verdict of better or worse, over all comparisons and looks, if "
        "differences are symmetric; an effect of the size that planning declares is found in at least 80%.",
        held,
        figures,
        _text(null, naive, power),
    )


def _text(null: dict[World, Rates], naive: Rates, power: dict[World, tuple[float, Rates]]) -> str:
    lines = [
        "Equal arms: share of sweeps with any verdict of better or worse, its upper 95% bound, mean seeds "
        "used, and how often the nominal 95% intervals (t, BCa) of the first comparison hold 0.", "",
        "| equal arms | any verdict | at most | seeds used | t | BCa |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for world, r in null.items():
        cells = (f"{r.any_verdict:.3f}", f"{r.bound:.3f}", f"{r.mean_seeds:.2f}", f"{r.t_covers:.3f}",
                 f"{r.bca_covers:.3f}")  # fmt: skip
        lines.append(f"| {world} | {' | '.join(cells)} |")
    lines += [
        "", "The learning rate matters (the best of four differs from search to search), there is one search "
        "an arm, and its verdict is told as one on the arms, which the report never does: "
        f"{naive.any_verdict:.3f} (at most {naive.bound:.3f}) of sweeps with equal arms.", "",
        "Power at the effect that planning declares for .8, from a pilot of 40 seeds:", "",
        "| arms | effect (points) | found | seeds used |", "|---|---|---|---|",
    ]  # fmt: skip
    for world, (effect, r) in power.items():
        lines.append(f"| {world} | {100 * effect:.2f} | {r.better:.3f} | {r.mean_seeds:.2f} |")
    return "\n".join(lines)
