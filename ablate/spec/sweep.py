"""A sweep: one question, a base trial, a space around it, and how it is searched and confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ablate.spec.arms import RESERVED, ArmsSpec, touches
from ablate.spec.base import Spec, flatten, wrong
from ablate.spec.draw import RIVALS, SPARSITY, SWITCH, always, apply, contains, deciders, why_not
from ablate.spec.paths import keys
from ablate.spec.scheduler import SchedulerSpec
from ablate.spec.scheduler_check import budget_conflicts, scheduler_conflicts
from ablate.spec.search import SearchSpec
from ablate.spec.search_check import search_conflicts
from ablate.spec.space import Distribution
from ablate.spec.trial import MeasureSpec, OptimSpec, TrialSpec

ONLY = "search"  # the arm of a sweep without arms
_LAST_SEED = 2**31 - 1


class ConfirmSpec(Spec):
    """Re-train the best configuration, and what it is compared with, on seeds the search never saw."""

    seeds: int = Field(8, ge=1, le=100, description="of each arm, and with replicates of each of those")
    first_seed: int = Field(1000, ge=0, lt=2**31)
    looks: Annotated[tuple[int, ...], Field(strict=False)] = Field(
        (),
        description="numbers of seeds after which the comparisons are looked at, and confirmation stops if "
        "all are settled; empty: once, after all seeds",
    )
    alpha: float = Field(
        0.05, gt=0, le=0.5, description="chance of any false verdict, over all comparisons and looks"
    )
    margin: float | None = Field(
        None,
        gt=0,
        description="the largest difference of the test metric that does not matter; without it nothing is "
        "ever called equivalent",
    )
    references: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="name -> dotted keys replaced in the best configuration (`head` replaces the whole head)",
    )
    controls: Annotated[tuple[Literal["pixels", "untrained"], ...], Field(strict=False)] = (
        "pixels",
        "untrained",
    )

    @model_validator(mode="after")
    def _looks_in_order(self) -> ConfirmSpec:
        looks = self.looks
        if looks and (looks[0] < 2 or any(b <= a for a, b in pairwise(looks)) or looks[-1] != self.seeds):
            found = ", ".join(map(str, looks))
            raise wrong("looks", f"must grow from 2 or more to confirm.seeds ({self.seeds}), found {found}")
        return self


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
    arms: ArmsSpec | None = Field(
        None, description="scientific settings to compare, each with a search of its own"
    )
    space: dict[str, Distribution] = Field(
        description="dotted keys of the trial and what each is drawn from; with arms it may be empty",
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
        compared = arm_conflicts(self.arms, base, self.space, search, self.confirm)
        budget = budget_conflicts(search, self.resources.gpus)
        impossible = impossible_arms(self.arms, base)
        for at, message in chain(impossible, found, budget, compared):
            raise wrong(at, message)
        for at, message in conflicts_of_searches(search, self.space, self.bases):
            raise wrong(at, message)
        return self

    @property
    def bases(self) -> dict[str, TrialSpec]:
        """The trial around which each arm searches, the baseline's first; without arms one, "search"."""
        if self.arms is None:
            return {ONLY: self.base}
        return {name: apply(self.base, changes) for name, changes in self.arms.settings.items()}

    @property
    def replicates(self) -> int:
        """Searches of each arm."""
        return 1 if self.arms is None else self.arms.replicates


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
            if name in RESERVED:
                yield f"confirm.references.{name}", f"the names {', '.join(RESERVED)} are taken"
    if scheduler is not None and optim is not None:
        yield from scheduler_conflicts(scheduler, optim, measure, space)
    if resources is not None and optim is not None and "optim.batch" not in space:
        workers = resources.workers
        if optim.batch % workers:
            yield (
                "resources.workers",
                f"base.optim.batch ({optim.batch}) must divide by the {workers} workers",
            )


def arm_conflicts(
    arms: ArmsSpec | None,
    base: TrialSpec | None,
    space: dict[str, Distribution],
    search: SearchSpec | None,
    confirm: ConfirmSpec | None,
) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) where arms contradict the rest of a sweep; None: not known, or none."""
    if confirm is not None and confirm.seeds < 2 and (arms is None or arms.replicates == 1):
        yield "confirm.seeds", "must be at least 2, or there is no spread to judge by; found 1"
    replicates = 1 if arms is None else arms.replicates
    if confirm is not None and (last := confirm.first_seed + confirm.seeds * replicates - 1) > _LAST_SEED:
        yield "confirm.first_seed", f"the last seed would be {last}, and {_LAST_SEED} is the greatest"
    if base is not None and (last := base.seed + replicates - 1) > _LAST_SEED:
        yield "base.seed", f"that of the last replicate would be {last}, and {_LAST_SEED} is the greatest"
    if arms is None:
        if not space:
            yield "space", "is empty: there is nothing to search, and no arms to compare"
        return
    yield from _not_nuisance(arms, space)
    yield from _undone(arms, base, space)
    if search is not None and search.converged is not None:
        yield "search.converged", "would end the searches of arms at unequal budgets; leave it out"
    if search is not None and search.scheduler.kind != "none":
        for name, changes in arms.settings.items():
            if any(touches(key, "optim.epochs") for key in changes) or _other_epochs(base, changes):
                yield (
                    "search.scheduler",
                    f"the arm {name} has epochs of its own: use none, which stops nobody",
                )
    if search is not None and search.warm_start:
        yield "search.warm_start", "arms begin alike: none may know trials of an earlier sweep"
    if confirm is not None and confirm.references:
        yield "confirm.references", "with arms these are arms themselves: move them to arms.each"
    if confirm is not None and arms.replicates > 1 and len(confirm.looks) > 1:
        yield "confirm.looks", "with replicates the comparisons are looked at once, after all; leave it out"
    if confirm is not None and base is not None:
        searched = range(base.seed, base.seed + arms.replicates)
        last = confirm.first_seed + confirm.seeds * arms.replicates - 1
        if base.seed <= last and searched[-1] >= confirm.first_seed:
            yield (
                "confirm.first_seed",
                f"seeds must be fresh, but {confirm.first_seed}..{last} and the searches' {searched[0]}.."
                f"{searched[-1]} overlap",
            )


def impossible_arms(arms: ArmsSpec | None, base: TrialSpec) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) for arms that are no trials."""
    for name, changes in arms.settings.items() if arms is not None else ():
        try:
            apply(base, changes)
        except ValueError as error:
            at = f"arms.each.{name}" if arms is not None and arms.each else "arms.factors"
            yield at, f"the arm {name} is no trial: {why_not(error)}"


def conflicts_of_searches(
    search: SearchSpec | None, space: dict[str, Distribution], bases: Mapping[str, TrialSpec | None]
) -> Iterator[tuple[str, str]]:
    """``search_conflicts`` around every base; what is wrong in some arms only names them."""
    found = {arm: dict.fromkeys(search_conflicts(search, space, base)) for arm, base in bases.items()}
    first = next(iter(found), None)
    for arm, here in found.items():
        for at, message in here:
            if any((at, message) not in others for others in found.values()):
                yield at, f"in the arm {arm}: {message}"
            elif arm == first:
                yield at, message


def _other_epochs(base: TrialSpec | None, changes: Mapping[str, Any]) -> bool:
    """Whether an arm trains for other epochs than ``base``, if only because its optimiser is of another kind
    and so starts from that kind's defaults."""
    try:
        return base is not None and apply(base, changes).optim.epochs != base.optim.epochs
    except ValueError:
        return False  # told elsewhere


def _undone(
    arms: ArmsSpec, base: TrialSpec | None, space: dict[str, Distribution]
) -> Iterator[tuple[str, str]]:
    """What a draw from the space would take back of an arm: arms would be equal that are named apart."""
    for arm, changes in arms.settings.items():
        try:
            drawn = set() if base is None else set(always(space, apply(base, changes)))
        except ValueError:
            drawn = set()  # told elsewhere
        for key, entry in space.items():
            if key in changes:
                continue  # told by _not_nuisance
            lost = (name for name, value in flatten(changes) if _takes_back(key, entry, name, value, drawn))
            if (name := next(lost, None)) is not None:
                yield f"space.{key}", f"would undo {name}, which the arm {arm} sets; leave out one of the two"


def _takes_back(key: str, entry: Distribution, name: str, value: Any, drawn: set[str]) -> bool:
    """Whether drawing ``key`` loses ``value``, which an arm gives ``name``; ``drawn`` are keys that the arm
    surely draws. A value that is itself drawn is where the arm starts from, unless it is a kind."""
    if key.endswith(".kind"):
        return key == name or key in deciders(name)
    if value is None:
        return key in drawn and key.startswith(f"{name}.")
    removes = key == SWITCH and contains(entry, None) and name.startswith(f"{SPARSITY}.") and name != key
    return removes or RIVALS.get(key) == name


def _not_nuisance(arms: ArmsSpec, space: dict[str, Distribution]) -> Iterator[tuple[str, str]]:
    """Arms set what is compared and the space what is tuned; every key says that it is the latter."""
    for key, entry in space.items():
        if entry.role != "nuisance":
            yield (
                f"space.{key}",
                f"with arms a key of the space is tuned within each arm: say role: nuisance, or set {key} in "
                f"the arms (found {'no role' if entry.role is None else 'role: ' + entry.role})",
            )
        for name, changes in arms.settings.items():
            if key in changes:
                yield f"space.{key}", f"is set by the arm {name} and searched as well; do one of the two"
