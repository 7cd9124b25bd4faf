"""Whether a search can be carried out as asked: its sampler on this space, its objectives, its points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import prod
from typing import Any

from ablate.spec.draw import always, apply, contains, depends_on, draw, why_not
from ablate.spec.explain import nearest, show
from ablate.spec.front import needed
from ablate.spec.grid import combinations, levels
from ablate.spec.objective import needs_views
from ablate.spec.sampler import CMAES, GP, NSGA2, Exhaustive, Grid
from ablate.spec.scheduler import ASHA
from ablate.spec.search import SearchSpec
from ablate.spec.space import Choice, Distribution, FloatRange
from ablate.spec.trial import TrialSpec

MAX_GRID = 100_000  # combinations; as many as a search may have trials

Conflict = tuple[str, str]


def search_conflicts(
    search: SearchSpec | None, space: Mapping[str, Distribution], base: TrialSpec | None
) -> Iterator[Conflict]:
    """Yield (dotted key, message) where a search contradicts itself, its space or base; None: not known."""
    if search is None:
        return
    yield from _several_objectives(search)
    yield from _patient(search)
    if isinstance(search.sampler, Exhaustive):
        for key, entry in space.items():
            if isinstance(entry, FloatRange) and len(levels(entry, 2)) > 1:
                yield (
                    f"space.{key}",
                    "a real range has no end of values for the exhaustive sampler; use a choice, or grid",
                )
                return
    if base is not None:
        yield from _on_this_space(search, space, base)
        yield from _points(search, space, base)
        if not base.measure.lidar and (unmeasured := [m for m in needed(search) if needs_views(m)]):
            yield "search", f"{unmeasured[0]} is measured only with base.measure.lidar, say 10 views an image"


def _several_objectives(search: SearchSpec) -> Iterator[Conflict]:
    sampler = search.sampler.kind
    metrics = [o.metric for o in (search.objective, *search.tradeoffs)]
    if len(set(metrics)) < len(metrics):
        yield "search.tradeoffs", f"each objective once; found {', '.join(metrics)}"
    if search.tradeoffs and isinstance(search.sampler, CMAES):
        yield "search.sampler", f"{sampler} takes one objective; with tradeoffs use tpe, gp or nsga2"
    if search.tradeoffs and search.scheduler.kind != "none":
        yield "search.scheduler", f"{search.scheduler.kind} goes by one objective; with tradeoffs use none"
    if search.tradeoffs and search.converged is not None:
        yield "search.converged", "is told of one objective; leave it out, or the tradeoffs"
    if search.constraints and isinstance(search.sampler, CMAES):
        yield "search.sampler", f"{sampler} takes no constraints; use tpe, gp or nsga2"


def _patient(search: SearchSpec) -> Iterator[Conflict]:
    scheduler, sampler = search.scheduler, search.sampler
    if not isinstance(scheduler, ASHA) or scheduler.variant != "patient":
        return
    if isinstance(sampler, (GP, CMAES, NSGA2)) and not search.warm_start:
        yield (
            "search.sampler",
            f"{sampler.kind} learns from completed trials, and under asha's variant patient none completes "
            "before the last is asked for; use tpe, random or qmc, or variant promotion",
        )
    if search.converged is not None:
        yield (
            "search.converged",
            "goes by completed trials, and under asha's variant patient none completes before the last is "
            "asked for; leave it out, or use variant promotion",
        )


def _on_this_space(
    search: SearchSpec, space: Mapping[str, Distribution], base: TrialSpec
) -> Iterator[Conflict]:
    common = [space[key] for key in always(space, base) if len(levels(space[key], 2)) > 1]
    if isinstance(search.sampler, CMAES):
        numbers = sum(not isinstance(entry, Choice) for entry in common)
        if numbers < 2:
            yield (
                "search.sampler",
                f"cma-es needs two keys that are ranges and always drawn, found {numbers}; use tpe or gp",
            )
    if search.converged is not None and not common:
        yield "search.converged", "needs a key that every trial draws; here each hangs on a condition"
    if isinstance(search.sampler, (Grid, Exhaustive)):
        steps = search.sampler.steps if isinstance(search.sampler, Grid) else 2
        count = prod(len(levels(entry, steps)) for entry in space.values())
        if count > MAX_GRID and any(entry.when for entry in space.values()):  # then there are fewer
            count = len(list(islice(combinations(space, steps, base), MAX_GRID + 1)))
        if count > MAX_GRID:
            yield (
                "search.sampler",
                f"more than {MAX_GRID:,} combinations; name fewer values, or use qmc, which covers the space",
            )


def _points(search: SearchSpec, space: Mapping[str, Distribution], base: TrialSpec) -> Iterator[Conflict]:
    if len(search.points) > search.trials:
        yield "search.points", f"{len(search.points)} points but only {search.trials} trials"
    for i, point in enumerate(search.points):
        at = f"search.points.{i}"
        wrong = [(f"{at}.{key}", why) for key in point if (why := _refused(key, point, space))]
        yield from wrong
        if not wrong:
            yield from _impossible(at, point, space, base)


def _refused(key: str, point: Mapping[str, Any], space: Mapping[str, Distribution]) -> str:
    """Why ``key`` of a point cannot be; empty if it can."""
    if key not in space:
        return f"not a key of the space{nearest(key, space)}"
    if not contains(space[key], point[key]):
        return f"found {show(point[key])}, outside of {_summary(space[key])}"
    if open_keys := [k for k in depends_on(space[key], space) if k not in point]:
        return f"is drawn only under a condition; give {', '.join(sorted(open_keys))} too"
    return ""


def _impossible(
    at: str, point: Mapping[str, Any], space: Mapping[str, Distribution], base: TrialSpec
) -> Iterator[Conflict]:
    drawn = draw(space, lambda key, entry: point[key] if key in point else levels(entry, 2)[0], base)
    for key in point:
        if key not in drawn:
            yield (
                f"{at}.{key}",
                f"is not drawn at this point, where when does not hold: {_show_when(space[key])}",
            )
            return
    if len(drawn) == len(point):
        try:
            apply(base, point)
        except ValueError as error:
            yield at, f"is no trial: {why_not(error)}"


def _show_when(entry: Distribution) -> str:
    return ", ".join(f"{name}: {show(allowed)}" for name, allowed in (entry.when or {}).items())


def _summary(entry: Distribution) -> str:
    name = next(kind for kind in ("choice", "int", "float") if hasattr(entry, kind))
    return f"{name}: {show(getattr(entry, name))}"
