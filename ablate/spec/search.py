"""How a space is searched: how many trials, proposed how, judged by what, stopped when."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ablate.spec.base import Spec
from ablate.spec.objective import Constraint, Objective
from ablate.spec.sampler import TPE, SamplerSpec
from ablate.spec.scheduler import NoScheduler, SchedulerSpec


class Budget(Spec):
    """Whichever is used up first, trials included, ends the search: nothing new is started, what runs goes on
    to its end. Confirmation is not counted. With arms, ``epochs`` and ``arm_hours`` hold for each search."""

    epochs: int | None = Field(None, ge=1, description="epochs of all search trials together")
    arm_hours: float | None = Field(
        None,
        gt=0,
        description="hours that the trials of one search may hold slots, together: with arms, this matches "
        "what they really cost",
    )
    hours: float | None = Field(None, gt=0, description="time during which a driver ran the search")
    gpu_hours: float | None = Field(None, gt=0, description="GPUs of running trials x hours")


class Converged(Spec):
    """End the search when Optuna's terminator expects less than noise from going on (Makarova et al., 2022).

    The bound on the regret is compared with the standard error of the best configuration, as far as it can be
    told from one run of each: ``error``.
    """

    after: int = Field(20, ge=4, description="completed trials before the first look")
    error: float = Field(gt=0, description="difference in the objective that does not matter")


class SearchSpec(Spec):
    trials: int = Field(ge=1, le=100_000)
    budget: Budget = Budget()
    converged: Converged | None = None
    sampler: SamplerSpec = TPE()
    scheduler: SchedulerSpec = NoScheduler()
    objective: Objective = Objective()
    tradeoffs: Annotated[tuple[Objective, ...], Field(strict=False, max_length=3)] = Field(
        (), description="further objectives: the search looks for the Pareto front of all"
    )
    constraints: Annotated[tuple[Constraint, ...], Field(strict=False, max_length=8)] = ()
    points: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = Field(
        (), description="configurations to try first: dotted keys of the space; what they leave out is drawn"
    )
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="folders of earlier sweeps whose trials the sampler is to know"
    )
    seed: int = Field(0, ge=0, lt=2**31)
