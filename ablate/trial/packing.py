"""Packing: how many trials one GPU trains best at a time.

Copies of a trial are trained at once, each in a process of its own, as packed trials are: one, two, four and
so on, while that gains something and the memory suffices. Each takes some steps to warm up; then all begin
together and are timed for a few seconds. What is timed are whole training steps (loading, views, forward,
loss, backward, update). The memory of a trial is the most that training and one measurement hold beside the
images of an earlier seed, which a process keeps; so the one that runs alone also reads these and fits its
probes.

    packing = measure_packing(spec, device=torch.device("cuda"), cache=cache, threads=4)
    packing.choice.gpus  # 0.25: four at a time
"""

from __future__ import annotations

import math
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ablate.data.dataset import device_memory
from ablate.durable import in_words
from ablate.spec.identity import library_versions, spec_hash
from ablate.spec.trial import TrialSpec
from ablate.trial.measures import fit_probes, validation_metrics
from ablate.trial.outcome import describe_failure
from ablate.trial.run import TrialRun

MOST = 8  # trials at a time that are tried, unless more are asked for
SECONDS = 5.0  # timed: hundreds of steps of a small encoder at 32 px, several of a large one at 224 px
WARM_UP = 10  # steps before: the first ones allocate, choose kernels and compile
ROOM = 0.9  # of the memory: the rest is for fragmentation over hours, and for trials that differ a little
WORTH = 0.05  # of throughput, for which more trials at a time are taken: fewer, faster ones end earlier


class PackingError(Exception):
    """It cannot be measured how many trials fit; the message says why and what to do."""


@dataclass(frozen=True)
class Measured:
    """``trials`` at a time: the ``views_per_second`` of all together, and the ``memory`` in bytes of the one
    that takes most. ``failure``: why they could not run; the other two are 0 then."""

    trials: int
    views_per_second: float
    memory: int
    failure: str = ""


@dataclass(frozen=True)
class Choice:
    """``trials`` at a time, which are ``gpus`` of a GPU each, and the sentence that says why."""

    trials: int
    gpus: float
    reason: str


@dataclass(frozen=True)
class Packing:
    """What was measured, and on what. ``device`` is "cpu" or the model of the GPU, ``memory`` its bytes."""

    device: str
    memory: int
    versions: dict[str, str]
    trial: str  # hash of its spec
    threads: int  # of each copy
    seconds: float
    measured: tuple[Measured, ...]
    choice: Choice


def counts_to(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and ``most`` at last: the numbers of trials to try where more cannot run."""
    powers = (2**i for i in range(most.bit_length()))
    return (*(n for n in powers if n < most), most)


def choose(measured: Sequence[Measured], memory: int) -> Choice:
    """How many trials share a device of so many bytes. Pure.

    Of the counts whose trials together take at most ``ROOM`` of the memory (one alone always may), the one
    with the greatest total throughput, unless a smaller one comes within ``WORTH`` of that: a search with
    early stopping learns more from few fast trials than from many slow ones. ``gpus`` is 1/n, rounded down to
    the four decimals that Ray counts in. Raises PackingError if not even one trial alone could run.
    """
    ran = [m for m in measured if not m.failure]
    fitting = [m for m in ran if m.trials == 1 or m.trials * m.memory <= ROOM * memory]
    if not fitting:
        raise PackingError(
            f"not even one trial alone runs on this device ({measured[0].failure}): make it smaller, or "
            "write a number for resources.gpus"
        )
    greatest = max(m.views_per_second for m in fitting)
    best = min((m for m in fitting if m.views_per_second >= (1 - WORTH) * greatest), key=lambda m: m.trials)
    others = "; ".join(_against(m, best, memory) for m in measured if m != best)
    reason = f"{_trials(best.trials)} at a time: {best.views_per_second:,.0f} views/s together"
    gpus = math.floor(1e4 / best.trials) / 1e4
    return Choice(best.trials, gpus, f"{reason} ({others})" if others else reason)


def _against(other: Measured, best: Measured, memory: int) -> str:
    """How ``other`` compares, and why it is not chosen where it is as fast."""
    if other.failure:
        return f"{other.trials}: {other.failure}"
    ratio = other.views_per_second / best.views_per_second
    said = f"{other.trials}: {ratio:.2f} of that"
    if other.trials < best.trials or ratio < 1:
        return said
    if other.trials * other.memory > ROOM * memory:
        return f"{said}, but {in_words(other.trials * other.memory)} held of {in_words(memory)}"
    return f"{said}, and fewer, faster trials end earlier"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def measure_packing(
    spec: TrialSpec,
    *,
    device: torch.device,
    cache: Path,
    threads: int,
    counts: Sequence[int] = counts_to(MOST),
    seconds: float = SECONDS,
    beton: str | None = None,
) -> Packing:
    """Train ``counts`` copies of ``spec`` at a time on ``device``, and choose (``choose``).

    ``threads`` are those of each copy, as ``resources.cpus``. Goes up while ``WORTH`` is gained at least and
    the memory of one, times the next count, leaves room; a count whose processes fail ends it as well, for
    running out of memory is a measurement. Memory on CUDA is the most that the allocator reserved and what
    the process holds besides (its context), and on a CPU the peak of resident memory. The device must be
    otherwise idle. ``beton``: see ``data.load``. Raises PackingError if ``spec`` trains nothing or one copy
    alone fails.
    """
    if spec.optim.epochs == 0:
        raise PackingError("optim.epochs is 0: nothing is trained, and so nothing can be timed")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())  # as slots name it
    memory = device_memory(device)
    make = partial(TrialRun, cache=cache, device=device, threads=threads, beton=beton)
    measured: list[Measured] = []
    for trials in counts:
        if measured and trials * measured[-1].memory > ROOM * memory:
            need = in_words(trials * measured[-1].memory)
            measured.append(Measured(trials, 0.0, 0, f"not tried: {need} needed of {in_words(memory)}"))
            break
        found = _together(trials, spec, device, make, seconds)
        if measured and not found.failure:  # only the first fitted probes
            found = replace(found, memory=max(found.memory, measured[0].memory))
        measured.append(found)
        if found.failure or not _gains(measured):
            break
    return Packing(
        device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        memory=memory,
        versions={**library_versions(), "cuda": torch.version.cuda or ""},
        trial=spec_hash(spec),
        threads=threads,
        seconds=seconds,
        measured=tuple(measured),
        choice=choose(measured, memory),
    )


def _gains(measured: Sequence[Measured]) -> bool:
    """Whether the last count was worth it over the one before."""
    speeds = [m.views_per_second for m in measured]
    return len(speeds) < 2 or speeds[-1] >= (1 + WORTH) * speeds[-2]


class _CopyFailed(Exception):
    """A copy could not train; the message is its reason."""


def _together(
    trials: int, spec: TrialSpec, device: torch.device, make: Callable[..., TrialRun], seconds: float
) -> Measured:
    """What ``trials`` copies of ``spec`` do at once, each made by ``make`` on ``device``."""
    context = multiprocessing.get_context("spawn")
    free = _free(device)  # makes this process's own context first, which so counts for nobody
    pipes: list[Connection[Any, Any]] = []
    processes: list[BaseProcess] = []
    try:
        for _ in range(trials):
            ours, theirs = context.Pipe()
            options = (theirs, spec, device, make, seconds, trials)
            process = context.Process(target=_copy, args=options, daemon=True)
            process.start()
            theirs.close()  # so that its death is the end of the pipe
            pipes.append(ours)
            processes.append(process)
        _hear(pipes, processes)  # they have warmed up
        _tell(pipes)
        paces = _hear(pipes, processes)
        taken = free - _free(device)  # while all are at work
        _tell(pipes)
        peaks = _hear(pipes, processes)
    except _CopyFailed as error:
        return Measured(trials, 0.0, 0, str(error))
    finally:
        for copy in processes:
            copy.kill()
            copy.join()
    held = sum(reserved for _, reserved in paces)
    context_each = max(0, taken - held) // trials
    return Measured(trials, sum(speed for speed, _ in paces), max(peaks) + context_each)


def _hear(pipes: Sequence[Connection[Any, Any]], processes: Sequence[BaseProcess]) -> list[Any]:
    """One word of every copy. Raises _CopyFailed for a text, which is a reason, and for a copy that died."""
    words = []
    for pipe, process in zip(pipes, processes, strict=True):
        try:
            word = pipe.recv()
        except (EOFError, ConnectionError):
            process.join()
            raise _CopyFailed(_death(process.exitcode)) from None
        if isinstance(word, str):
            raise _CopyFailed(word)
        words.append(word)
    return words


def _tell(pipes: Sequence[Connection[Any, Any]]) -> None:
    """Let every copy go on; one that has died says so by its silence."""
    for pipe in pipes:
        try:
            pipe.send(None)
        except OSError:
            continue


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "a process was killed, as the kernel does when main memory runs out"
    return f"a process died with status {code}"


def _free(device: torch.device) -> int:
    """Bytes free on a GPU; 0 on a CPU, whose processes tell what they hold themselves."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _copy(
    pipe: Connection[Any, Any],
    spec: TrialSpec,
    device: torch.device,
    make: Callable[..., TrialRun],
    seconds: float,
    trials: int,
) -> None:
    """One of so many processes. It says None once it is warm; (views/s, bytes reserved) once it was timed,
    and trains on, so that the others are timed beside it; at last its peak of memory. Or a text, at any time:
    why it failed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    try:
        make = partial(make, gpus=None if device.type == "cpu" else 1 / trials)
        trial = make(spec)
        trainer, pace = trial.trainer, _Pace(trial, pipe, seconds)
        while not (trainer.advance(pace) is None or pace()):
            trainer.epoch %= spec.optim.epochs  # a short trial begins again
        if trials == 1:
            make(spec.model_copy(update={"seed": spec.seed + 1}))  # its images stay
            validation_metrics(trainer.model, trial.data, spec, fit_probes(trainer.model, trial.data, spec))
        pipe.send(_peak(device))
    except (EOFError, ConnectionError):
        return  # nobody listens any more
    except Exception as error:
        pipe.send(describe_failure(error).reason)


class _Pace:
    """Asked after every step of a copy; true when it is to end. Waits for the others after the warm-up."""

    def __init__(self, trial: TrialRun, pipe: Connection[Any, Any], seconds: float) -> None:
        self._trial, self._pipe, self._seconds = trial, pipe, seconds
        self._first, self._began, self._told = 0, 0.0, False

    def __call__(self) -> bool:
        steps = self._trial.progress
        if not self._first:
            if steps >= WARM_UP:
                self._begin(steps)
        elif self._told:
            return self._pipe.poll()
        elif time.perf_counter() - self._began >= self._seconds:
            self._tell(steps)
        return False

    def _begin(self, steps: int) -> None:
        _wait_for(self._trial.device)
        self._pipe.send(None)
        self._pipe.recv()
        self._first, self._began = steps, time.perf_counter()

    def _tell(self, steps: int) -> None:
        device, batch = self._trial.device, self._trial.spec.optim.batch
        _wait_for(device)  # or steps would count that are only launched
        views = 2 * batch * (steps - self._first)
        reserved = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0
        self._pipe.send((views / (time.perf_counter() - self._began), reserved))
        self._told = True


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    """The most bytes that this process held: of the GPU, by its allocator; or of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    # Not ru_maxrss, which begins with what the parent held.
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) * 1024 if found else 0
