"""What a figure is, and how figures are taken.

A contender does the work in one way and returns what it measured, by name. Each repetition runs every
contender once, in a new process, forwards and backwards in turn (A B C, C B A, ...), so that a machine that
gets slower strikes all alike. A figure is the ratio of two measurements of the same repetition; its value is
the median over the repetitions, its spread their least and greatest.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

_LIBRARIES = ("ablate-ssl", "ray", "torch", "optuna", "mlflow", "numpy")

Measured = dict[str, float]


class BenchError(Exception):
    """A contender could not do the work; the message says which and why."""


@dataclass(frozen=True)
class Contender:
    """``run`` is given an empty folder and does all of the work. It is called in a process of its own, so it
    must be importable by name: a module's function, or a ``functools.partial`` of one."""

    name: str
    run: Callable[[Path], Measured]


@dataclass(frozen=True)
class Figure:
    """``ours`` and ``theirs`` are ``contender/measurement``. The target is what the ratio has to reach:
    ``at_least``, or stay ``below``; with neither, the figure only informs."""

    name: str
    peer: str
    ours: str
    theirs: str
    unit: str
    ratio: Literal["theirs/ours", "ours/theirs"] = "theirs/ours"
    at_least: float | None = None
    below: float | None = None

    def holds(self, ratio: float) -> bool | None:
        """Whether ``ratio`` reaches the target; None: there is none."""
        if self.at_least is not None:
            return ratio >= self.at_least
        return None if self.below is None else ratio < self.below

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.below is None else f"< {self.below:g}"


@dataclass(frozen=True)
class Suite:
    """``about``: what the work is, and how the peers were set up, for the reader of the figures."""

    name: str
    about: str
    contenders: tuple[Contender, ...]
    figures: tuple[Figure, ...]

    def without_targets(self) -> Suite:
        """The same, judging nothing: for runs too short to be judged by."""
        figures = tuple(replace(figure, at_least=None, below=None) for figure in self.figures)
        return replace(self, figures=figures)

    def __post_init__(self) -> None:
        known = {contender.name for contender in self.contenders}
        for figure in self.figures:
            for side in (figure.ours, figure.theirs):
                if side.split("/")[0] not in known:
                    raise ValueError(f"{figure.name}: {side} names none of {', '.join(sorted(known))}")


@dataclass(frozen=True)
class Record:
    """A figure taken: medians over ``repeats`` repetitions, and every repetition's ratio."""

    name: str
    peer: str
    ratio: float
    ratios: tuple[float, ...]
    ours: float
    theirs: float
    unit: str
    target: str
    held: bool | None
    repeats: int
    machine: str
    versions: Mapping[str, str]
    command: str


def take(
    suite: Suite, *, repeats: int, command: str, say: Callable[[str], None] = lambda _: None
) -> list[Record]:
    """Run the suite. ``say`` is told of every run of a contender. Raises BenchError if one fails."""
    found: dict[str, list[float]] = {}
    for repetition in range(repeats):
        for contender in _in_turn(suite.contenders, repetition):
            measured = run_alone(contender)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
            say(f"{repetition + 1}/{repeats} {contender.name}: {shown}")
            for name, value in measured.items():
                found.setdefault(f"{contender.name}/{name}", []).append(value)
    return [_record(figure, found, command) for figure in suite.figures]


def _in_turn(contenders: Sequence[Contender], repetition: int) -> Iterable[Contender]:
    return contenders if repetition % 2 == 0 else reversed(contenders)


def run_alone(contender: Contender) -> Measured:
    """Run one contender in a new process and an empty folder. Raises BenchError."""
    with (
        tempfile.TemporaryDirectory(prefix="ablate-bench-") as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        try:
            return process.submit(contender.run, Path(folder)).result()
        except Exception as error:
            raise BenchError(f"{contender.name} failed: {type(error).__name__}: {error}") from error


def _record(figure: Figure, found: Mapping[str, list[float]], command: str) -> Record:
    for side in (figure.ours, figure.theirs):
        if side not in found:
            raise BenchError(f"{figure.name}: nobody measured {side}; measured: {', '.join(sorted(found))}")
    ours, theirs = found[figure.ours], found[figure.theirs]
    pairs = zip(ours, theirs, strict=True)
    ratios = tuple(b / a if figure.ratio == "theirs/ours" else a / b for a, b in pairs)
    return Record(
        name=figure.name,
        peer=figure.peer,
        ratio=median(ratios),
        ratios=ratios,
        ours=median(ours),
        theirs=median(theirs),
        unit=figure.unit,
        target=figure.target,
        held=figure.holds(median(ratios)),
        repeats=len(ratios),
        machine=machine(),
        versions=versions(),
        command=command,
    )


def machine() -> str:
    """In words: processor, cores that this process may use, memory, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = platform.python_version()
    return f"{_processor()}, {cores} CPUs, {memory:.0f} GiB, {platform.system()}, Python {python}"


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Of the libraries that matter for the figures, as far as they are installed."""
    found: dict[str, Any] = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
