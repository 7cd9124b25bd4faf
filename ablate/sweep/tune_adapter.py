"""Ray Tune as the keeper of slots: it places them, starts dead ones again, and ends them with the sweep.

Tune's own notions of searching, scheduling, checkpointing, restoring and logging are left unused, because
they lose what the ledger keeps: OptunaSearch tells stopped trials as complete, actors are paired with trials
loosely and torn down whenever nothing is pending, and a restored experiment can be older than its study.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import class_cache

from ablate.sweep.deaths import kills_on, why
from ablate.sweep.desk import Desk
from ablate.sweep.messages import SlotPlan
from ablate.sweep.slot import Slot

_SECRET = "AWS_"  # begins what Tune would send to slots, and Ray then write into its logs
_SLOT_MEMORY = 64 * 2**20  # bytes that the slot of a gang declares: the CPUs are all its gang's


def hold_slots(desk: Desk, plan: SlotPlan, count: int) -> None:
    """Keep up to ``count`` slots, as far as the cluster has room for them, until the desk is done."""
    trainable = tune.with_resources(
        tune.with_parameters(Slot, plan=plan), tune.PlacementGroupFactory([_bundle(plan)])
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"slot": tune.grid_search(list(range(count)))},
        run_config=tune.RunConfig(
            name=plan.run,
            storage_path=str(plan.scratch),
            verbose=0,
            stop=_WhenDone(desk),
            callbacks=[_Watch(desk)],
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    keys = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in keys if not name.startswith(_SECRET)}
    # The desk says what a user has to know; Tune prints a stack for every slot that dies.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner.fit()


def _bundle(plan: SlotPlan) -> dict[str, float]:
    if plan.workers > 1:
        return {"memory": float(_SLOT_MEMORY)}
    return {"CPU": float(plan.cpus), **({"GPU": plan.gpus} if plan.gpus else {})}


class _Watch(tune.Callback):  # type: ignore[misc]
    """Tells the desk of dead slots."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        slot = f"slot-{trial.config['slot']}"
        reason = why(_account(trial), killed_by_kernel=_more_kills(self._desk.kills(slot)))
        self._desk.lost(slot, reason, with_node=reason.startswith("lost node"))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves its parts for a restore, which is never asked for


def _account(trial: Any) -> str:
    """What Tune knows of the slot's last failure; it appends each to one file."""
    try:
        return Path(trial.error_file).read_text().rpartition("Failure # ")[2]
    except (OSError, TypeError):
        return ""


def _more_kills(before: tuple[str, int] | None) -> bool:
    return before is not None and (kills_on(before[0]) or 0) > before[1]


class _WhenDone(tune.Stopper):  # type: ignore[misc]
    """Ends the slots that wait for a place when there is nothing left for them to do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        return self._desk.done

    def __getstate__(self) -> dict[str, Any]:
        return {}
