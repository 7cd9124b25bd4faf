"""`ablate bench sweep`: what a sweep costs beside the training, against Ray Tune, and against doing nothing.

What exactly is run is said where it is: ``empty`` (ours), ``tune_peers`` (theirs), ``real`` (real trials).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ablate.bench.empty import FIRST, SLOTS, run_empty
from ablate.bench.figures import Contender, Figure, Suite, run_alone
from ablate.bench.real import find_epochs, run_alone_in_turn, run_in_slots
from ablate.bench.tune_peers import run_functions, run_trainers


@dataclass(frozen=True)
class Sizes:
    """How many trials each contender runs; ``seconds``: what a real one lasts at least."""

    empty: int = 1000
    mirrored: int = 300
    functions: int = 20
    reused: int = 200
    trainers: int = 8
    real: int = 6
    seconds: float = 20.0


QUICK = Sizes(empty=60, mirrored=20, functions=6, reused=20, trainers=4, real=2, seconds=1.0)

_ABOUT = f"""\
Empty trials: {SLOTS} at a time, one epoch, one report, no training; cost a trial once all are warm.
Ours: asked, started, reported, finished and told, written to the ledger with three syncs a trial; no
checkpoint, no artifacts. Random sampler unless said otherwise, eight keys, some conditional; live view on.
Peers: Ray Tune, random search over the same eight keys (all of them unconditional), one report a trial. In
its favour: no loggers or output, local storage, Ray Train looking every 0.2 s (its default is 2 s), no
preemption watcher or metrics. Its experiment snapshot, as often as it chooses, stands against our ledger.
Real trials: scattered digits, the default encoder and head, checkpoint every epoch, artifacts at the end.
"""


def sweep_suite(sizes: Sizes, say: Callable[[str], None] = lambda _: None) -> Suite:
    """Contenders and figures. Times a few epochs first, to know how many a real trial needs."""
    timed = run_alone(Contender("timing an epoch", partial(find_epochs, seconds=sizes.seconds)))
    epochs = int(timed["epochs"])
    say(f"a real trial of {sizes.seconds:g} s has {epochs} epochs here")
    contenders = (
        Contender("random", partial(run_empty, trials=sizes.empty)),
        Contender("tpe", partial(run_empty, trials=sizes.empty, sampler="tpe")),
        Contender("mlflow", partial(run_empty, trials=sizes.mirrored, mirrored=True)),
        Contender("functions", partial(run_functions, trials=sizes.functions)),
        Contender("reused functions", partial(run_functions, trials=sizes.reused, reuse=True)),
        Contender("trainers", partial(run_trainers, trials=sizes.trainers)),
        Contender("slots", partial(run_in_slots, trials=sizes.real, epochs=epochs, slots=SLOTS)),
        Contender("alone", partial(run_alone_in_turn, trials=sizes.real, epochs=epochs)),
    )
    return Suite("sweep", _ABOUT, contenders, (*_cost(sizes), *_growth(sizes), *_real(sizes)))


def _cost(sizes: Sizes) -> tuple[Figure, ...]:
    random, trial = "random/cost", "empty trial"
    return (
        Figure(trial, "Tuner, a fresh TorchTrainer a trial", random, "trainers/cost", "s", at_least=100),
        Figure(trial, "Tuner, plain function trials", random, "functions/cost", "s", at_least=10),
        Figure(trial, "Tuner, function trials, reuse_actors", random, "reused functions/cost", "s"),
        Figure(f"{trial}, TPE", "random sampler", "tpe/cost", random, "s", "ours/theirs"),
        Figure(f"{trial}, MLflow beside it", "no MLflow", "mlflow/cost", random, "s", "ours/theirs"),
        Figure(f"{trial}, until MLflow has all {sizes.mirrored}", "no MLflow", "mlflow/mirror", random, "s",
               "ours/theirs"),
        Figure("start-up to the first trial's end", "Tuner, plain function trials", "random/start-up",
               "functions/start-up", "s"),
    )  # fmt: skip


def _growth(sizes: Sizes) -> tuple[Figure, ...]:
    first = min(FIRST, sizes.empty // 2)
    peer = f"the first {first}"
    later = f"empty trial, {first} to {sizes.empty}"
    return (
        Figure(later, peer, "random/typical rest", "random/typical first", "s", "ours/theirs", below=1.3),
        Figure(f"{later}, mean", peer, "random/rest", "random/first", "s", "ours/theirs"),
        Figure(f"empty trial, the last {first}", peer, "random/last", "random/first", "s", "ours/theirs"),
        Figure(f"{later}, TPE", peer, "tpe/rest", "tpe/first", "s", "ours/theirs"),
    )


def _real(sizes: Sizes) -> tuple[Figure, ...]:
    name = f"{sizes.real} real trials"
    slots = f"{SLOTS} slots x wall time"
    return (
        Figure(f"{name}: epochs", slots, "slots/steps", "slots/slots", "s", "ours/theirs", at_least=0.9),
        Figure(f"{name}: alone on the machine", slots, "alone/whole", "slots/slots", "s", "ours/theirs"),
        Figure("the shortest of them", "alone on the machine", "slots/shortest", "alone/shortest", "s",
               "ours/theirs"),
    )  # fmt: skip
