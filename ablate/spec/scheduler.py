"""What becomes of trials under way: which are stopped, and which go on from another's weights."""

from __future__ import annotations

from typing import Annotated, Literal, TypeGuard

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong

Rungs = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


def _check_rungs(rungs: tuple[int, ...]) -> None:
    if any(r < 1 for r in rungs) or sorted(set(rungs)) != list(rungs):
        raise wrong("rungs", f"must increase from at least 1, found {list(rungs)}")


class NoScheduler(Spec):
    kind: Literal["none"] = "none"


class ASHA(Spec):
    """Li et al., arXiv 1810.05934: at each rung only the best 1/reduction of the trials so far go on."""

    kind: Literal["asha"] = "asha"
    rungs: Rungs = Field(
        description="epochs at which a trial must be among the best 1/reduction seen there so far"
    )
    reduction: int = Field(2, ge=2, le=16)
    variant: Literal["stopping", "promotion", "patient"] = Field(
        "stopping",
        description="what becomes of the others. stopping: they end at once, but the first reduction - 1 to "
        "arrive go on, whatever their value. promotion: they save a checkpoint and wait until they are among "
        "the best or can no longer be; nobody goes on without having been compared. patient: all wait, and "
        "only a slot that has nothing else to do promotes before the last has arrived; for a planned number "
        "of trials: a search that a budget ends before completes one, or little more",
    )

    @model_validator(mode="after")
    def _increasing(self) -> ASHA:
        _check_rungs(self.rungs)
        return self


class HyperBand(Spec):
    """Asynchronous HyperBand (1810.05934, section 3.3): ASHA in brackets, each with a later first rung.

    Bracket ``s`` of ``brackets`` leaves out the first ``s`` rungs; the last may have none left and then stops
    nobody. Trials are dealt to brackets so that each bracket gets about the same number of epochs.
    """

    kind: Literal["hyperband"] = "hyperband"
    rungs: Rungs
    reduction: int = Field(2, ge=2, le=16)
    brackets: int = Field(2, ge=1, le=8)

    @model_validator(mode="after")
    def _consistent(self) -> HyperBand:
        _check_rungs(self.rungs)
        if self.brackets > len(self.rungs) + 1:
            raise wrong("brackets", f"at most {len(self.rungs) + 1} with {len(self.rungs)} rungs")
        return self


class Median(Spec):
    """Golovin et al., 2017 (Vizier), section 3.2.2: a trial whose best value so far is worse than the median
    of the others' running means up to the same epoch is stopped."""

    kind: Literal["median"] = "median"
    grace: int = Field(1, ge=0, description="epochs before which nobody is stopped")
    others: int = Field(4, ge=2, description="trials that must have come as far before anyone is stopped")


class PBT(Spec):
    """Jaderberg et al., arXiv 1711.09846, by generations: population based training.

    The population is ``search.trials``. After every ``every`` epochs all members wait for one another; those
    in the lowest ``quantile`` end, and in the place of each a new trial goes on from the weights of a member
    of the highest, with its parameters, of which those named in ``mutate`` are changed: drawn anew with
    probability ``resample``, or else multiplied by one of ``factors`` (choices: a neighbour).
    """

    kind: Literal["pbt"] = "pbt"
    every: int = Field(ge=1, description="epochs of a generation")
    quantile: float = Field(0.25, gt=0, le=0.5)
    mutate: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = Field(
        description="keys of the space that may change while a trial trains"
    )
    factors: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] = (0.8, 1.25)
    resample: float = Field(0.25, ge=0, le=1)


SchedulerSpec = Annotated[NoScheduler | ASHA | HyperBand | Median | PBT, Field(discriminator="kind")]


def promotes(scheduler: SchedulerSpec) -> TypeGuard[ASHA]:
    """Whether trials wait at its rungs instead of being stopped there."""
    return isinstance(scheduler, ASHA) and scheduler.variant != "stopping"


def epochs_where_they_wait(plan: ASHA, last: float, trials: int) -> float:
    """Mean epochs of a trial, if exactly ``n // reduction`` of the ``n`` at a rung go on, one at least."""
    total, going, before = 0.0, trials, 0.0
    for rung in (*(float(r) for r in plan.rungs if r < last), last):
        total += going * (rung - before)
        going, before = max(1, going // plan.reduction), rung
    return total / max(1, trials)
