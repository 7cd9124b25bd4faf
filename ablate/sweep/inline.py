"""The `inline` backend: the trials of a sweep one after another in this process. For tests and debugging."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Assignment, Driver, DriverError, Order
from ablate.trial import (
    Checkpoint,
    CheckpointError,
    EpochReport,
    TrialFailure,
    TrialRun,
    describe_failure,
)
from ablate.trial.checkpoint import set_aside

SLOT = "inline"


class Trial(Protocol):
    """What a backend needs of a trial; ``TrialRun`` is one."""

    @property
    def done(self) -> bool: ...
    @property
    def epoch(self) -> int: ...
    def step(self) -> EpochReport: ...
    def save(self, folder: Path) -> Checkpoint | None: ...
    def restore(self, checkpoint: Checkpoint) -> None: ...
    def finish(
        self, folder: Path, *, arm: str, stage: str, lineage: tuple[dict[str, Any], ...]
    ) -> dict[str, float]: ...


T = TypeVar("T")
AnyTrial = TypeVar("AnyTrial", bound=Trial, covariant=True)


class MakeTrial(Protocol[AnyTrial]):
    def __call__(
        self, spec: TrialSpec, *, cache: Path | None, threads: int, through_collapse: bool
    ) -> AnyTrial: ...


@dataclass
class Watch:
    """How long trials have run, over all their hand-outs: ``spent``, in seconds of ``clock``."""

    clock: Callable[[], float] = time.monotonic
    spent: dict[str, float] = field(default_factory=dict)


def run_inline(
    driver: Driver, cache: Path | None, threads: int, make_trial: MakeTrial[Trial] = TrialRun
) -> None:
    """Run what the driver hands out, until it is finished or draining.

    Whatever a trial raises becomes its outcome; only what the driver raises ends the sweep. A trial beyond
    ``resources.trial_hours`` is ended between two epochs; nothing can end one within an epoch, so that
    ``resources.stall_minutes`` has no effect here. Raises DriverError if the sweep asks for several workers
    a trial.
    """
    if driver.sweep.resources.workers > 1:
        raise DriverError(
            f"resources.workers is {driver.sweep.resources.workers}, but the inline backend runs every trial "
            "in one process; use the ray backend, or --set resources.workers=1"
        )
    watch = Watch()
    while not driver.draining and (assignment := driver.next(SLOT)) is not None:
        for _ in carry_out(driver, assignment, cache, threads, make_trial, watch):
            driver.tick()


def carry_out(
    driver: Driver,
    assignment: Assignment,
    cache: Path | None,
    threads: int,
    make_trial: MakeTrial[AnyTrial],
    watch: Watch,
) -> Generator[AnyTrial, None, None]:
    """One trial, from its hand-out until it has left its slot, as far as driver and trial speak.

    Yields the trial before each part that takes time: an epoch, or its end. Closed there, it leaves the trial
    as it stands.
    """
    name, began = assignment.trial, watch.clock()
    before = watch.spent.get(name, 0.0)
    try:
        trial = _attempt(lambda: _begin(assignment, cache, threads, make_trial))
        while not trial.done:
            yield trial
            report = _attempt(trial.step)
            order = driver.reported(name, report.epoch, report.metrics)
            if order is Order.STOP:
                return
            if not trial.done:
                _check_time(before + watch.clock() - began, driver.sweep.resources.trial_hours)
                leaving = order is Order.PAUSE or driver.draining
                if leaving or trial.epoch % driver.sweep.resources.checkpoint_every == 0:
                    checkpoint = _attempt(lambda: trial.save(assignment.folder / str(assignment.fence)))
                    if checkpoint is not None and driver.checkpointed(name, checkpoint) is Order.STOP:
                        return
                if leaving:
                    return
        yield trial
        metrics = _attempt(lambda: _finish(trial, assignment))
    except CheckpointError as error:
        driver.abandoned(name, f"checkpoint: {error}")
    except TrialFailure as failure:
        driver.ended(name, failure.state, failure.reason, {})
    else:
        driver.ended(name, "COMPLETE", "", metrics)
    finally:
        watch.spent[name] = before + watch.clock() - began


def _begin(
    assignment: Assignment, cache: Path | None, threads: int, make_trial: MakeTrial[AnyTrial]
) -> AnyTrial:
    confirming = assignment.stage == "confirm"  # a collapsed seed keeps its real score there
    trial = make_trial(assignment.spec, cache=cache, threads=threads, through_collapse=confirming)
    if assignment.checkpoint is not None:
        try:
            trial.restore(assignment.checkpoint)
        except CheckpointError:
            set_aside(Path(assignment.checkpoint.path))
            raise
    return trial


def _finish(trial: Trial, assignment: Assignment) -> dict[str, float]:
    return trial.finish(
        assignment.folder, arm=assignment.arm, stage=assignment.stage, lineage=assignment.lineage
    )


def _attempt(action: Callable[[], T]) -> T:
    """Whatever the trial does wrong is its outcome; what the driver does wrong never is."""
    try:
        return action()
    except (DriverError, CheckpointError):
        raise
    except Exception as error:
        raise describe_failure(error) from error


def _check_time(seconds: float, limit: float | None) -> None:
    if limit is not None and seconds > limit * 3600:
        reason = f"time-out: after {seconds / 3600:.3g} h (resources.trial_hours {limit:g})"
        raise TrialFailure("FAILED", reason)
