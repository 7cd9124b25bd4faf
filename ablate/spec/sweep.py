"""A sweep: one question, a base trial, a space around it, and how it is searched and confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ablate.spec.base import Spec, wrong
from ablate.spec.paths import keys
from ablate.spec.space import Distribution
from ablate.spec.trial import MeasureSpec, OptimSpec, TrialSpec

# What a trial reports as it trains. Metrics of the test split are read once, at the end, never searched on.
METRICS = (
    "loss", "views_per_second", "probe.h.val", "probe.z.val", "knn.h.val", "knn.z.val", "rank.h.effective",
    "rank.h.rankme", "rank.z.effective", "rank.z.rankme", "alignment", "uniformity", "spread.z", "head.zeros",
    "head.active_inputs", "head.hoyer",
)  # fmt: skip
TEST_METRICS = ("probe.h.test", "probe.z.test", "knn.h.test", "knn.z.test")
RESERVED_ARMS = ("best", "pixels", "untrained")


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
            raise wrong("rungs", f"must increase from at least 1, found {list(self.rungs)}")
        return self


class NoScheduler(Spec):
    kind: Literal["none"] = "none"


SchedulerSpec = Annotated[ASHA | NoScheduler, Field(discriminator="kind")]


class Objective(Spec):
    """What a search makes large or small."""

    metric: str = Field("probe.h.val", json_schema_extra={"enum": [*METRICS]})
    mode: Literal["max", "min"] = "max"

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric in TEST_METRICS:
            raise wrong("", f"{metric!r} is read once, at the end; search on a validation metric")
        if metric not in METRICS:
            near = get_close_matches(metric, METRICS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise wrong("", f"unknown metric {metric!r}{hint} (allowed: {', '.join(METRICS)})")
        return metric


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
    workers: int = Field(
        1, ge=1, le=1024, description="Ray Train workers a trial; above 1 each is one process"
    )
    cpus: int = Field(1, ge=1, le=1024, description="CPUs, and threads, of each worker")
    gpus: float = Field(0.0, ge=0, le=16, description="GPUs of each worker; a fraction packs trials")
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints: what a crash can cost")

    @model_validator(mode="after")
    def _whole_gpus_for_gangs(self) -> Resources:
        if self.workers > 1 and self.gpus != int(self.gpus):
            raise wrong(
                "gpus", "several workers on one GPU fail under NCCL: with workers > 1 give whole gpus"
            )
        return self


class TrackingSpec(Spec):
    uri: str | None = Field(
        None, description="MLflow; null: MLFLOW_TRACKING_URI, or SQLite in the runs folder"
    )
    experiment: str | None = Field(None, description="null: the sweep's name")


def _dotted_keys_in_schema(schema: dict[str, Any]) -> None:
    schema["propertyNames"] = {"enum": sorted(set(keys(TrialSpec)))}


class SweepSpec(Spec):
    """A sweep file, every default written out."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = Field(
        description="names the folder of the run: 1 to 64 of a-z 0-9 . _ -, the first a letter or digit"
    )
    question: str = Field(description="what the sweep is to answer, in words")
    base: TrialSpec = Field(description="the trial around which the space lies")
    space: dict[str, Distribution] = Field(
        min_length=1,
        description="dotted keys of the trial and what each is drawn from",
        json_schema_extra=_dotted_keys_in_schema,
    )
    search: SearchSpec
    confirm: ConfirmSpec | None = None
    resources: Resources = Resources()
    tracking: TrackingSpec = TrackingSpec()

    @model_validator(mode="after")
    def _consistent(self) -> SweepSpec:
        base, search = self.base, self.search
        for at, message in conflicts(
            base.seed, base.optim, base.measure, self.space, search.scheduler, self.confirm, self.resources
        ):
            raise wrong(at, message)
        return self


def conflicts(
    seed: int | None,
    optim: OptimSpec | None,
    measure: MeasureSpec | None,
    space: dict[str, Distribution],
    scheduler: SchedulerSpec | None,
    confirm: ConfirmSpec | None,
    resources: Resources | None,
) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) where parts of a sweep contradict each other; None: not known."""
    if confirm is not None and seed is not None:
        last = confirm.first_seed + confirm.seeds - 1
        if confirm.first_seed <= seed <= last:
            yield (
                "confirm.first_seed",
                f"seeds must be fresh, but {confirm.first_seed}..{last} hold base.seed ({seed})",
            )
    if "seed" in space:
        yield "space.seed", "a seed is not searched: it would be chosen for its luck; confirm.seeds repeats"
    if confirm is not None:
        for name in confirm.references:
            if name in RESERVED_ARMS:
                yield f"confirm.references.{name}", f"the names {', '.join(RESERVED_ARMS)} are taken"
    if isinstance(scheduler, ASHA) and optim is not None:
        yield from _rungs_out_of_reach(scheduler, optim, measure, space)
    if resources is not None and optim is not None and "optim.batch" not in space:
        workers = resources.workers
        if optim.batch % workers:
            yield (
                "resources.workers",
                f"base.optim.batch ({optim.batch}) must divide by the {workers} workers",
            )


def _rungs_out_of_reach(
    scheduler: ASHA, optim: OptimSpec, measure: MeasureSpec | None, space: dict[str, Distribution]
) -> Iterator[tuple[str, str]]:
    rungs = list(scheduler.rungs)
    if "optim.epochs" not in space and rungs[-1] >= optim.epochs:
        yield "search.scheduler.rungs", f"must be below base.optim.epochs ({optim.epochs}), found {rungs}"
    if measure is not None and "measure.every" not in space and any(r % measure.every for r in rungs):
        yield (
            "search.scheduler.rungs",
            f"must be epochs that base.measure.every ({measure.every}) measures, found {rungs}",
        )
