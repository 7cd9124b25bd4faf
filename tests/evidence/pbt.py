"""Population based training: on a function whose best schedule is known, and on real trials."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from tests.evidence.harness import Finding, check
from tests.sweep.noisy_quadratic import best_constant, best_schedule, searched
from tests.sweep.real_population import Inheritance, run_population

SEEDS, TRIALS, EPOCHS = range(30), 16, 40
PBT = {"kind": "pbt", "every": 2, "quantile": 0.25, "mutate": ["optim.lr"]}


@check("pbt")
def population_based_training(scratch: Path) -> Finding:
    losses, epochs = found(scratch, {"kind": "none"}), TRIALS * EPOCHS
    population = found(scratch, PBT)
    assert all(count == epochs for _, count in losses + population)
    excess = [ratio(value) for value, _ in population]
    apart = [math.log(r / p) for (r, _), (p, _) in zip(losses, population, strict=True)]
    bound = mean(apart) - t.ppf(0.95, len(apart) - 1) * stdev(apart) / math.sqrt(len(apart))
    inherited = run_population(scratch / "real")
    figures: dict[str, Any] = {
        "seeds": len(SEEDS),
        "trials": TRIALS,
        "epochs_of_each_search": epochs,
        "best_schedule": round(best_schedule(EPOCHS), 5),
        "best_constant_rate_over_best_schedule": round(ratio(best_constant(EPOCHS)), 2),
        "random_search_over_best_schedule": round(mean(ratio(value) for value, _ in losses), 2),
        "pbt_over_best_schedule": round(mean(excess), 2),
        "worst_seed_of_pbt_over_best_schedule": round(max(excess), 2),
        "seeds_in_which_pbt_is_better": sum(a > 0 for a in apart),
        "mean_log_ratio": round(mean(apart), 3),
        "lower_95_bound_of_the_log_ratio": round(bound, 3),
        "children_of_real_trials": len(inherited),
        "of_which_start_from_the_parents_checkpoint_by_digest": sum(i.same_digest for i in inherited),
        "of_which_repeat_bit_for_bit_from_it": sum(i.same_numbers for i in inherited),
        "of_which_have_other_parameters": sum(i.other_parameters for i in inherited),
    }
    right = [i.same_digest and i.same_numbers and i.other_parameters for i in inherited]
    return Finding(
        "On a noisy quadratic, whose best schedule of learning rates is known, PBT ends with a smaller loss "
        "than random search does with as many epochs (lower 95% t bound of the log ratio above 0). Of real "
        "trials every child starts from its parent's weights.",
        bound > 0 and len(right) > 0 and all(right),
        figures,
        table(figures) + "\n\n" + children(inherited),
    )


def found(scratch: Path, scheduler: dict[str, Any]) -> list[tuple[float, int]]:
    return [searched(scratch, scheduler, trials=TRIALS, epochs=EPOCHS, seed=seed) for seed in SEEDS]


def ratio(loss: float) -> float:
    return loss / best_schedule(EPOCHS)


def table(figures: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items())


def children(inherited: list[Inheritance]) -> str:
    rows = [f"| {i.child} | {i.parent} | {i.epoch} | {i.digest} | {i.change} |" for i in inherited]
    head = ["| child | parent | after epoch | checkpoint | parameters |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])
