"""Whether a scheduler can do its work: on these epochs, in this space, with this many trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablate.spec.draw import depends_on
from ablate.spec.sampler import Exhaustive, Grid
from ablate.spec.scheduler import ASHA, PBT, HyperBand, Median, SchedulerSpec
from ablate.spec.search import SearchSpec
from ablate.spec.space import Distribution
from ablate.spec.trial import MeasureSpec, OptimSpec

Conflict = tuple[str, str]

_MUTABLE = ("optim.", "loss.", "views.", "head.sparsity.weight", "head.sparsity.shrink")
_FIXED = ("optim.kind", "optim.epochs", "loss.kind", "views.size", "views.preset")


def scheduler_conflicts(
    scheduler: SchedulerSpec, optim: OptimSpec, measure: MeasureSpec | None, space: Mapping[str, Distribution]
) -> Iterator[Conflict]:
    """Yield (dotted key, message) where the scheduler does not fit; ``measure`` None: not known."""
    if isinstance(scheduler, (ASHA, HyperBand)):
        yield from _epochs("rungs", scheduler.rungs, optim, measure, space)
    if isinstance(scheduler, Median) and "optim.epochs" not in space and scheduler.grace >= optim.epochs:
        yield (
            "search.scheduler.grace",
            f"must be below base.optim.epochs ({optim.epochs}), or nobody is ever stopped; "
            f"found {scheduler.grace}",
        )
    if isinstance(scheduler, PBT):
        yield from _epochs("every", (scheduler.every,), optim, measure, space)
        for key in ("optim.epochs", "measure.every", "measure.also"):
            if key in space:
                yield f"space.{key}", "under pbt all trials wait for one another: give it one value in base"
        for key in scheduler.mutate:
            if why := _not_mutable(key, space):
                yield "search.scheduler.mutate", f"{key!r} {why}"


def budget_conflicts(search: SearchSpec, gpus: float | str | None) -> Iterator[Conflict]:
    """Yield (dotted key, message) where what a search may use does not fit what it is to do.

    ``gpus``: those of each worker, or ``auto``, which is some; None: not known.
    """
    if gpus == 0 and search.budget.gpu_hours is not None:
        yield "search.budget.gpu_hours", "counts nothing while resources.gpus is 0; use hours or epochs"
    scheduler = search.scheduler
    if isinstance(scheduler, PBT) and int(scheduler.quantile * search.trials) < 1:
        yield (
            "search.scheduler.quantile",
            f"{scheduler.quantile:g} of {search.trials} trials is less than one, so that none would ever be "
            "replaced; give more search.trials (the population) or a larger quantile",
        )
    if isinstance(scheduler, PBT) and isinstance(search.sampler, (Grid, Exhaustive)):
        yield (
            "search.sampler",
            f"{search.sampler.kind} would be used up by the children of a population, or before it is whole; "
            "under pbt use random or qmc",
        )


def _epochs(
    name: str,
    epochs: tuple[int, ...],
    optim: OptimSpec,
    measure: MeasureSpec | None,
    space: Mapping[str, Distribution],
) -> Iterator[Conflict]:
    found = epochs[0] if name == "every" else list(epochs)
    if "optim.epochs" not in space and epochs[-1] >= optim.epochs:
        yield f"search.scheduler.{name}", f"must be below base.optim.epochs ({optim.epochs}), found {found}"
    drawn = {"measure.every", "measure.also"} & set(space)
    if measure is not None and not drawn and not all(measure.at(e) for e in epochs):
        yield (
            f"search.scheduler.{name}",
            f"must be epochs that base.measure.every ({measure.every}) or base.measure.also measures, "
            f"found {found}",
        )


def _not_mutable(key: str, space: Mapping[str, Distribution]) -> str:
    """Why ``key`` cannot change while a trial trains; empty if it can."""
    if key not in space:
        return "is not a key of the space"
    if not key.startswith(_MUTABLE) or key in _FIXED:
        return (
            "cannot change while a trial trains, for the weights would not fit or the values not compare; "
            "what can: optim.* but kind and epochs, loss.*, views.* but size, head.sparsity.weight, .shrink"
        )
    if waiting := [other for other, entry in space.items() if key in depends_on(entry, space)]:
        return f"decides whether {waiting[0]} is drawn, so it cannot change while a trial trains"
    return ""
