"""What a figure is, and how figures are taken.

A contender does the work in one way and returns what it measured, by name. Each repetition runs every
contender once, in a new process, forwards and backwards in turn (A B C, C B A, ...), so that a machine that
gets slower strikes all alike. A figure is the ratio of two measurements of the same repetition; its value is
the median over the repetitions, its spread their least and greatest. Where only a bound makes sense (a wait,
an error of rounding), it is one measurement.
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
from typing import Literal

from ablate.machine import cpu_model

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
    """``ours`` and ``theirs`` are ``contender/measurement``; without ``theirs`` there is no ratio. The target
    is what the ratio has to reach, ``at_least``, or stay ``below``, or what ours has to stay below by itself,
    ``ours_below``; with none of them the figure only informs."""

    name: str
    peer: str
    ours: str
    theirs: str | None
    unit: str
    ratio: Literal["theirs/ours", "ours/theirs"] = "theirs/ours"
    at_least: float | None = None
    below: float | None = None
    ours_below: float | None = None

    def __post_init__(self) -> None:
        if sum(target is not None for target in (self.at_least, self.below, self.ours_below)) > 1:
            raise ValueError(f"{self.name}: has more than one target")
        if self.theirs is None and not (self.at_least is None and self.below is None):
            raise ValueError(f"{self.name}: has a target for a ratio, but nothing to divide by")

    def holds(self, ratio: float | None, ours: float) -> bool | None:
        """Whether the target is reached; None: there is none."""
        if self.ours_below is not None:
            return ours < self.ours_below
        if ratio is not None and self.at_least is not None:
            return ratio >= self.at_least
        return None if ratio is None or self.below is None else ratio < self.below

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        if self.ours_below is not None:
            return f"< {self.ours_below:g} {self.unit}".rstrip()
        return "" if self.below is None else f"< {self.below:g}"


@dataclass(frozen=True)
class Suite:
    """``about``: what the work is, and how the peers were set up, for the reader of the figures. ``peers``:
    the distributions that the contenders need besides our own, whose versions the records name."""

    name: str
    about: str
    contenders: tuple[Contender, ...]
    figures: tuple[Figure, ...]
    peers: tuple[str, ...] = ()

    def without_targets(self) -> Suite:
        """The same, judging nothing: for runs too short to be judged by."""
        figures = tuple(replace(f, at_least=None, below=None, ours_below=None) for f in self.figures)
        return replace(self, figures=figures)

    def __post_init__(self) -> None:
        known = {contender.name for contender in self.contenders}
        for figure in self.figures:
            for side in (figure.ours, figure.theirs):
                if side is not None and side.split("/")[0] not in known:
                    raise ValueError(f"{figure.name}: {side} names none of {', '.join(sorted(known))}")


@dataclass(frozen=True)
class Record:
    """A figure taken: medians over ``repeats`` repetitions, and of every repetition the ratio and ours."""

    name: str
    peer: str
    ratio: float | None
    ratios: tuple[float, ...]
    ours: float
    each: tuple[float, ...]
    theirs: float | None
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
    """Run the suite. ``say`` is told of every run of a contender.

    Raises BenchError if one fails, or a peer is not installed.
    """
    found: dict[str, list[float]] = {}
    named = versions(suite.peers)
    if missing := [name for name in suite.peers if name not in named]:
        raise BenchError(
            f"not installed, and needed to compare with: {', '.join(missing)}. They come with "
            "pip install 'ablate-ssl[bench]'"
        )
    for repetition in range(repeats):
        for contender in _in_turn(suite.contenders, repetition):
            measured = run_alone(contender)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
            say(f"{repetition + 1}/{repeats} {contender.name}: {shown}")
            for name, value in measured.items():
                found.setdefault(f"{contender.name}/{name}", []).append(value)
    return [_record(figure, found, named, command) for figure in suite.figures]


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


def _record(
    figure: Figure, found: Mapping[str, list[float]], named: Mapping[str, str], command: str
) -> Record:
    for side in (figure.ours, figure.theirs):
        if side is not None and side not in found:
            raise BenchError(f"{figure.name}: nobody measured {side}; measured: {', '.join(sorted(found))}")
    ours, theirs = found[figure.ours], found[figure.theirs] if figure.theirs else []
    pairs = zip(ours, theirs, strict=True) if theirs else ()
    ratios = tuple(b / a if figure.ratio == "theirs/ours" else a / b for a, b in pairs)
    ratio = median(ratios) if ratios else None
    return Record(
        name=figure.name,
        peer=figure.peer,
        ratio=ratio,
        ratios=ratios,
        ours=median(ours),
        each=tuple(ours),
        theirs=median(theirs) if theirs else None,
        unit=figure.unit,
        target=figure.target,
        held=figure.holds(ratio, median(ours)),
        repeats=len(ours),
        machine=machine(),
        versions=named,
        command=command,
    )


def machine() -> str:
    """In words: processor, cores that this process may use, memory, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = platform.python_version()
    return f"{cpu_model()}, {cores} CPUs, {memory:.0f} GiB, {platform.system()}, Python {python}"


def versions(peers: Sequence[str] = ()) -> dict[str, str]:
    """Of ``peers`` and the libraries that always matter, as far as they are installed."""
    found: dict[str, str] = {}
    for name in dict.fromkeys((*_LIBRARIES, *peers)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
