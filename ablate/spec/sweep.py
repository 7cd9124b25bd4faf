"""A sweep: one question, a base trial, a space around it, and how it is searched and confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ablate.spec.base import Spec, wrong
from ablate.spec.paths import keys
from ablate.spec.scheduler import SchedulerSpec
from ablate.spec.scheduler_check import budget_conflicts, scheduler_conflicts
from ablate.spec.search import SearchSpec
from ablate.spec.search_check import search_conflicts
from ablate.spec.space import Distribution
from ablate.spec.trial import MeasureSpec, OptimSpec, TrialSpec

RESERVED_ARMS = ("best", "pixels", "untrained")


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


def _number_or_auto(value: Any) -> str | None:
    if value == "auto":
        return "auto"
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else None


GPUs = Annotated[
    Annotated[float, Field(ge=0, le=16), Tag("number")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(
        _number_or_auto, custom_error_type="gpus", custom_error_message="expected a number, or auto"
    ),
]


class Resources(Spec):
    slots: int = Field(1, ge=1, le=10_000, description="trials at a time")
    workers: int = Field(
        1, ge=1, le=1024, description="Ray Train workers a trial; above 1 each is one process"
    )
    cpus: int = Field(1, ge=1, le=1024, description="CPUs, and threads, of each worker")
    gpus: GPUs = Field(
        0.0,
        description="GPUs of each worker, at most 16; a fraction packs trials; auto measures which is best, "
        "once, before the first trial",
    )
    checkpoint_every: int = Field(1, ge=1, description="epochs between checkpoints: what a crash can cost")
    keep: Annotated[tuple[Literal["best", "last"], ...], Field(strict=False)] = Field(
        ("last",), description="checkpoints that stay once a trial has finished"
    )
    stall_minutes: float = Field(
        30.0, gt=0, description="a trial without a step of training for so long is given up and started again"
    )
    trial_hours: float | None = Field(None, gt=0, description="longest time a trial may run; then it FAILED")

    @model_validator(mode="after")
    def _whole_gpus_for_gangs(self) -> Resources:
        if self.workers > 1 and (self.gpus == "auto" or self.gpus != int(self.gpus)):
            raise wrong(
                "gpus", "several workers on one GPU fail under NCCL: with workers > 1 give whole gpus"
            )
        return self

    @property
    def gpu_share(self) -> float:
        """``gpus`` as a number, which it is in a sweep that runs; raises ValueError while it is ``auto``."""
        if self.gpus == "auto":
            raise ValueError("resources.gpus is auto: it has not been measured yet")
        return self.gpus


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
        found = conflicts(
            base.seed, base.optim, base.measure, self.space, search.scheduler, self.confirm, self.resources
        )
        budget = budget_conflicts(search, self.resources.gpus)
        for at, message in chain(found, budget, search_conflicts(search, self.space, base)):
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
    if scheduler is not None and optim is not None:
        yield from scheduler_conflicts(scheduler, optim, measure, space)
    if resources is not None and optim is not None and "optim.batch" not in space:
        workers = resources.workers
        if optim.batch % workers:
            yield (
                "resources.workers",
                f"base.optim.batch ({optim.batch}) must divide by the {workers} workers",
            )
