"""The `inline` backend: the trials of a sweep one after another in this process. For tests and debugging."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ablate.ledger import LedgerError
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Assignment, Driver, DriverError
from ablate.trial import Checkpoint, EpochReport, TrialRun, describe_failure

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
    def finish(self, folder: Path, *, arm: str, stage: str) -> dict[str, float]: ...


class MakeTrial(Protocol):
    def __call__(
        self, spec: TrialSpec, *, cache: Path | None, threads: int, through_collapse: bool
    ) -> Trial: ...


def run_inline(driver: Driver, cache: Path | None, threads: int, make_trial: MakeTrial = TrialRun) -> None:
    """Run everything the driver hands out, to the end of the sweep.

    Whatever a trial raises becomes its outcome; only what the driver raises ends the sweep. Raises
    DriverError if the sweep asks for several workers a trial.
    """
    if driver.sweep.resources.workers > 1:
        raise DriverError(
            f"resources.workers is {driver.sweep.resources.workers}, but the inline backend runs every trial "
            "in one process; use the ray backend, or --set resources.workers=1"
        )
    while (assignment := driver.next(SLOT)) is not None:
        _run(driver, assignment, cache, threads, make_trial)


def _run(
    driver: Driver, assignment: Assignment, cache: Path | None, threads: int, make_trial: MakeTrial
) -> None:
    try:
        confirming = assignment.stage == "confirm"  # a collapsed seed keeps its real score there
        trial = make_trial(assignment.spec, cache=cache, threads=threads, through_collapse=confirming)
        if assignment.checkpoint is not None:
            trial.restore(assignment.checkpoint)
        while not trial.done:
            report = trial.step()
            if not driver.reported(assignment.trial, report.epoch, report.metrics):
                return
            if not trial.done and trial.epoch % driver.sweep.resources.checkpoint_every == 0:
                checkpoint = trial.save(assignment.folder / str(assignment.fence))
                if checkpoint is not None:
                    driver.checkpointed(assignment.trial, checkpoint)
        metrics = trial.finish(assignment.folder, arm=assignment.arm, stage=assignment.stage)
    except (DriverError, LedgerError):
        raise
    except Exception as error:
        failure = describe_failure(error)
        driver.ended(assignment.trial, failure.state, failure.reason, {})
    else:
        driver.ended(assignment.trial, "COMPLETE", "", metrics)
