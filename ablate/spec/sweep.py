"""A sweep: one question, a base trial, a space around it, and how it is searched and confirmed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec
from ablate.spec.space import Distribution
from ablate.spec.trial import TrialSpec


class TPE(Spec):
    """Optuna's tree-structured Parzen estimator."""

    kind: Literal["tpe"] = "tpe"
    startup: int = Field(8, ge=1, description="random trials first")
    multivariate: bool = True
    group: bool = Field(True, description="model conditional branches separately (experimental in Optuna)")


class RandomSampler(Spec):
    kind: Literal["random"] = "random"


SamplerSpec = Annotated[TPE | RandomSampler, Field(discriminator="kind")]


class ASHA(Spec):
    """Li et al., arXiv 1810.05934, the stopping variant: at each rung the worse trials so far are stopped."""

    kind: Literal["asha"] = "asha"
    rungs: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = Field(
        description="epochs at which a trial must be among the best 1/reduction seen there so far"
    )
    reduction: int = Field(2, ge=2, le=16)

    @model_validator(mode="after")
    def _increasing(self) -> ASHA:
        if any(r < 1 for r in self.rungs) or sorted(set(self.rungs)) != list(self.rungs):
            raise ValueError(f"rungs must increase from at least 1, found {list(self.rungs)}")
        return self


class NoScheduler(Spec):
    kind: Literal["none"] = "none"


SchedulerSpec = Annotated[ASHA | NoScheduler, Field(discriminator="kind")]


class Objective(Spec):
    metric: str = "probe.h.val"
    mode: Literal["max", "min"] = "max"


class SearchSpec(Spec):
    trials: int = Field(ge=1, le=100_000)
    sampler: SamplerSpec = TPE()
    scheduler: SchedulerSpec = NoScheduler()
    objective: Objective = Objective()
    seed: int = Field(0, ge=0, lt=2**31)


class ConfirmSpec(Spec):
    """Re-train the best configuration, and what it is compared with, on seeds the search never saw."""

    seeds: int = Field(5, ge=2, le=100)
    first_seed: int = Field(1000, ge=0, lt=2**31)
    references: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="name -> dotted keys replaced in the best configuration (`head` replaces the whole head)",
    )
    controls: Annotated[tuple[Literal["pixels", "untrained"], ...], Field(strict=False)] = (
        "pixels",
        "untrained",
    )


class Resources(Spec):
    slots: int = Field(1, ge=1, le=10_000, description="trials at a time")
    workers: int = Field(1, ge=1, le=1024, description="Ray Train workers a trial; above 1 each is one process")
    cpus: int = Field(1, ge=1, le=1024, description="CPUs, and threads, of each worker")
    gpus: float = Field(0.0, ge=0, le=16, description="GPUs of each worker; a fraction packs trials")
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints: what a crash can cost")

    @model_validator(mode="after")
    def _whole_gpus_for_gangs(self) -> Resources:
        if self.workers > 1 and self.gpus != int(self.gpus):
            raise ValueError("several workers on one GPU fail under NCCL: with workers > 1 give whole gpus")
        return self


class TrackingSpec(Spec):
    uri: str | None = Field(None, description="MLflow; null: MLFLOW_TRACKING_URI, or SQLite in the runs folder")
    experiment: str | None = Field(None, description="null: the sweep's name")


class SweepSpec(Spec):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    question: str
    base: TrialSpec
    space: dict[str, Distribution] = Field(min_length=1)
    search: SearchSpec
    confirm: ConfirmSpec | None = None
    resources: Resources = Resources()
    tracking: TrackingSpec = TrackingSpec()

    @model_validator(mode="after")
    def _seeds_are_fresh(self) -> SweepSpec:
        if self.confirm is not None:
            first = self.confirm.first_seed
            if first <= self.base.seed < first + self.confirm.seeds:
                raise ValueError(f"confirm's seeds must be fresh, but they contain base.seed ({self.base.seed})")
        return self
