"""Sweeps of real, tiny trials, and the processes that run them until something befalls one.

Each sweep is run inline in a process of its own, forked from a server that has the libraries loaded, so that
a real SIGKILL can end it at any record. Several run at a time; within one all is in one slot.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger
from ablate.ledger.record import encode, stamped
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.curves import played, recordings
from ablate.sweep.driver import LEDGER, Driver
from ablate.sweep.inline import run_inline
from ablate.sweep.requests import Request
from ablate.sweep.signals import two_stages
from ablate.sweep.simulated import VirtualClock, run_simulated
from ablate.trial import Checkpoint, EpochReport, TrialRun, run_trial
from tests.sweep.small_disk import Disk

PATIENCE = 300.0  # seconds for a process that takes about ten
NAN, SPREADLESS = 1e30, 1e6  # learning rates after which a trial FAILED, and COLLAPSED
PAGE = os.sysconf("SC_PAGE_SIZE")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["ffcv", "sympy", "sklearn.datasets", __name__])


def sweep(name: str, *, rates: Iterable[float] = (), resources: dict[str, Any], **search: Any) -> SweepSpec:
    """A sweep of trials that take a second or less; ``rates`` are further choices of the learning rate."""
    return SweepSpec.model_validate(
        {
            "name": name,
            "question": "is anything lost?",
            "base": {
                "data": {"kind": "digits", "train": 120, "test": 40},
                "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1]},
                "head": {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8},
                "optim": {"kind": "sgd", "epochs": 3, "batch": 32, "warmup_epochs": 0.0},
            },
            "space": {
                "optim.lr": {"choice": [0.05, 0.1, 0.2, 0.4, *rates]},
                "loss.temperature": {"float": [0.1, 1.0], "log": True},
            },
            "search": {"sampler": {"kind": "tpe", "startup": 3}, "seed": 1, **search},
            "confirm": {"seeds": 2, "controls": ["untrained"]},
            "resources": resources,
        }
    )


def _point(rate: float) -> dict[str, float]:
    return {"optim.lr": rate, "loss.temperature": 0.5}


ASHA = {"kind": "asha", "rungs": [1, 2], "reduction": 2}
# A good trial, one that fails and is retried, one that collapses, one met before, one that is cancelled, ...
OPERATED = sweep(
    "operated",
    rates=(NAN, SPREADLESS),
    resources={},
    trials=20,
    scheduler=ASHA,
    points=[_point(0.2), _point(NAN), _point(SPREADLESS), _point(0.2)],
)
WORDS = (
    ("finished", 2, Request("retry", "t0001")),
    ("asked", 5, Request("cancel", "t0004")),
    ("finished", 9, Request("stop", confirm=True)),
)
POPULATION = sweep(
    "population",
    resources={},
    trials=4,
    sampler={"kind": "random"},
    scheduler={"kind": "pbt", "every": 1, "mutate": ["optim.lr", "loss.temperature"]},
)
PLAIN = sweep("plain", resources={}, trials=5, scheduler=ASHA)
GANGS = sweep("gangs", resources={"slots": 2, "workers": 2}, trials=5, scheduler=ASHA)
TWO_SLOTS = sweep(
    "two-slots",
    rates=(NAN, SPREADLESS),
    resources={"slots": 2},
    trials=8,
    sampler={"kind": "random"},
    scheduler={"kind": "none"},
)


@dataclass(frozen=True)
class Fault:
    """``kind``: "kill" (at the ``number``-th record of ``at``, with half of the next one written), "disk"
    (full before ``at`` is written), "interrupt" (``number`` SIGINTs after the report ``at``)."""

    kind: str
    at: str
    number: int = 1
    disk: Path | None = None


class Deadly:
    """A ledger whose process is killed once a certain record is on the disk, amid its batch if need be."""

    def __init__(self, log: Ledger, fault: Fault) -> None:
        self._log, self._fault, self._seen = log, fault, 0

    def extend(self, events: Iterable[Event]) -> list[Event]:
        events = list(events)
        records = stamped(events, self._log.end.sequence, 0.0)
        for i, record in enumerate(records, 1):
            self._seen += record["event"] == self._fault.at
            if self._seen == self._fault.number:
                self._log.extend(events[:i])
                if i < len(records):
                    line = encode(records[i])
                    with self._log.path.open("ab") as file:
                        file.write(line[: len(line) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        return self._log.extend(events)

    def append(self, event: Event) -> int:
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def events(self) -> list[Event]:
        return self._log.events()

    def close(self) -> None:
        self._log.close()


class Operator:
    """Says each of ``WORDS`` when the ledger holds so many events of a kind; a crash does not repeat it."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    def take(self) -> list[Request]:
        counts = Counter(e["event"] for e in Ledger.read(self._ledger))
        told = counts["retried"] + counts["cancelled"] + counts["halted"]
        return [word for kind, count, word in WORDS[told : told + 1] if counts[kind] >= count]


def filling(fault: Fault, ledger: Path) -> Callable[..., TrialRun]:
    """Real trials; from the third on, the first that comes to it fills the disk before its checkpoint or its
    artifacts. For the ledger, whichever makes a report that does not fit in what is left of the ledger's last
    page."""
    made: list[TrialRun] = []

    def make(spec: TrialSpec, **seam: Any) -> TrialRun:
        trial = TrialRun(spec, **seam)
        made.append(trial)
        if fault.at == "ledger":
            trial.step = partial(_step_on_a_full_page, fault.disk, ledger, trial.step)  # type: ignore[method-assign]
        elif len(made) >= 3:
            before = {"checkpoint": "save", "artifacts": "finish"}[fault.at]
            setattr(trial, before, partial(_after_filling, fault.disk, getattr(trial, before)))
        return trial

    return make


def _step_on_a_full_page(disk: Path, ledger: Path, step: Callable[[], EpochReport]) -> EpochReport:
    report = step()
    if -ledger.stat().st_size % PAGE < len(json.dumps(report.metrics)):
        Disk(disk).leave(0)
    return report


def _after_filling(disk: Path, action: Callable[..., Any], *words: Any, **more: Any) -> Any:
    Disk(disk).leave(0)
    return action(*words, **more)


def drive(spec: SweepSpec, runs: Path, cache: Path, fault: Fault | None, curves: Path | None) -> None:
    """The body of a process: begin or go on with ``spec`` in ``runs``. Exits with 0 if it came to its end.

    With ``curves``, a ledger, nothing is trained: two slots play what it recorded, under a virtual clock.
    """
    log = os.open(runs / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO)
    try:
        finished = _drive(spec, runs, cache, fault, curves)
    except BaseException:
        traceback.print_exc()
        finished = False
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if finished else 3)


def _drive(spec: SweepSpec, runs: Path, cache: Path, fault: Fault | None, curves: Path | None) -> bool:
    ledger = runs / spec.name / LEDGER
    clock = VirtualClock(Ledger.read(ledger)[-1]["time"] if curves and ledger.exists() else 0.0)
    opened: Callable[[Path], Any] = partial(Ledger.open, clock=clock) if curves else Ledger.open
    if fault is not None and fault.kind == "kill":
        opened = partial(_deadly, opened, fault)
    more: dict[str, Any] = {"requests": Operator(ledger).take} if spec.name == OPERATED.name else {}
    more |= {"clock": clock} if curves else {}
    with Driver(spec, runs, resuming=ledger.exists(), open_log=opened, **more) as driver:
        if fault is not None and fault.kind == "interrupt":
            driver.subscribe(_interrupting(fault))
        with two_stages(driver.drain):
            if curves is not None:
                run_simulated(driver, played(recordings(Ledger.read(curves))), clock)
            else:
                run_inline(driver, cache, 1, filling(fault, ledger) if fault and fault.disk else TrialRun)
        return driver.finished


def _deadly(opened: Callable[[Path], Ledger], fault: Fault, path: Path) -> Deadly:
    return Deadly(opened(path), fault)


def _interrupting(fault: Fault) -> Callable[[Event], None]:
    reports: list[Event] = []

    def subscriber(event: Event) -> None:
        reports.extend([event] if event["event"] == "reported" else [])
        if event["event"] == "reported" and len(reports) == int(fault.at):
            for _ in range(fault.number):
                signal.raise_signal(signal.SIGINT)

    return subscriber


def run(
    spec: SweepSpec,
    runs: Path,
    cache: Path,
    fault: Fault | None = None,
    curves: Path | None = None,
    kept: Path | None = None,
) -> None:
    """Run ``drive`` in a process. If it is not to come to the end, what it leaves is kept as
    ``before-N.jsonl`` in ``kept`` or else in ``runs``. Raises RuntimeError if it
    neither ended nor was ended as ``fault`` says."""
    runs.mkdir(parents=True, exist_ok=True)
    process = SERVER.Process(target=drive, args=(spec, runs, cache, fault, curves))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise RuntimeError(f"no end after {PATIENCE:.0f} s: {_last_words(runs)}")
    expected = 0 if fault is None else -signal.SIGKILL if fault.kind == "kill" else 3
    if process.exitcode != expected:
        raise RuntimeError(f"exit status {process.exitcode} under {fault}: {_last_words(runs)}")
    if fault is not None:
        keep(runs / spec.name / LEDGER, kept or runs)


def keep(ledger: Path, runs: Path) -> None:
    """Keep a copy of what a driver left in ``runs``, to compare with what comes of it."""
    shutil.copy(ledger, runs / f"before-{len(list(runs.glob('before-*.jsonl')))}.jsonl")


def _last_words(runs: Path) -> str:
    text = (runs / "log.txt").read_text().strip() if (runs / "log.txt").exists() else ""
    return text.splitlines()[-1] if text else "it said nothing"


Stage = tuple[str, int | None]  # the spec as JSON, and the epoch up to which it is trained (None: its end)


def alone(stages: tuple[Stage, ...], cache: Path, scratch: Path) -> dict[str, float]:
    """What `ablate train` makes of a spec: the last of each metric. More stages: each goes on from the
    weights of the one before, as a child of a population does."""
    *parents, own = [(TrialSpec.model_validate_json(text), until) for text, until in stages]
    if not parents:
        return run_trial(own[0], cache=cache).metrics
    checkpoint: Checkpoint | None = None
    for number, (spec, until) in enumerate(parents):
        trial = _restored(spec, checkpoint, cache)
        while trial.epoch != until:
            trial.step()
        checkpoint = trial.save(scratch / f"{os.getpid()}-{number}")
    trial, metrics = _restored(own[0], checkpoint, cache), {}
    while not trial.done:
        metrics |= trial.step().metrics
    return metrics | trial.finish(None)


def _restored(spec: TrialSpec, checkpoint: Checkpoint | None, cache: Path) -> TrialRun:
    trial = TrialRun(spec, cache=cache)
    if checkpoint is not None:
        trial.restore(checkpoint)
    return trial
