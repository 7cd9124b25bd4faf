"""What a sweep will compare, as its file says before anything is run."""

from __future__ import annotations

from dataclasses import dataclass

from ablate.report.claims import subject_of
from ablate.report.planning.cost import confirm_arms
from ablate.report.planning.pilot import Unit
from ablate.spec.objective import test_metric
from ablate.spec.sweep import SweepSpec
from ablate.statistics import alphas, seeds_needed, smallest_p
from ablate.statistics.multiplicity import reached


@dataclass(frozen=True)
class Design:
    """What will be compared. ``looks`` are numbers of units, with their ``alphas``; empty without confirm.

    ``comparisons`` are (arm, what it is compared with). A unit is a seed, or with several replicates a
    replicate, whose ``seeds`` are averaged.
    """

    arms: tuple[str, ...]
    controls: tuple[str, ...]
    comparisons: tuple[tuple[str, str], ...]
    unit: Unit
    seeds: int
    replicates: int
    looks: tuple[int, ...]
    alphas: tuple[float, ...]
    alpha: float | None
    margin: float | None
    metric: str
    subject: str  # what independent searches would allow to be said to be better

    @property
    def units(self) -> int:
        return self.looks[-1] if self.looks else 0

    @property
    def family(self) -> int:
        return len(self.comparisons)

    @property
    def attainable(self) -> bool:
        """Whether any difference, however large, could reach a verdict at some look."""
        return len(self.idle_looks) < len(self.looks)

    @property
    def idle_looks(self) -> tuple[tuple[int, float], ...]:
        """The looks, with their alpha, at which no difference could."""
        looks = zip(self.looks, self.alphas, strict=True)
        return tuple((n, alpha) for n, alpha in looks if not reached(smallest_p(n) * self.family, alpha))

    @property
    def needed(self) -> int | None:
        """Units at which the first comparison could be established; None if no number would do."""
        try:
            return seeds_needed(self.alphas[-1], self.family)
        except ValueError:
            return None


def design_of(sweep: SweepSpec) -> Design:
    """The comparisons that the sweep will declare."""
    plan, replicates = sweep.confirm, sweep.replicates
    arms = confirm_arms(sweep)
    first, *others = arms or ("",)
    pairs = [(first, other) if sweep.arms is None else (other, first) for other in others]
    unit: Unit = "replicate" if replicates > 1 else "seed"
    looks: tuple[int, ...] = ()
    if plan is not None:
        looks = (replicates,) if unit == "replicate" else plan.looks or (plan.seeds,)
    return Design(
        arms=arms,
        controls=plan.controls if plan is not None else (),
        comparisons=tuple(pairs),
        unit=unit,
        seeds=plan.seeds if plan is not None else 0,
        replicates=replicates,
        looks=looks,
        alphas=alphas(looks, plan.alpha) if plan is not None else (),
        alpha=plan.alpha if plan is not None else None,
        margin=plan.margin if plan is not None else None,
        metric=test_metric(sweep.search.objective)[0],
        subject=subject_of(sweep.as_dict()),
    )
