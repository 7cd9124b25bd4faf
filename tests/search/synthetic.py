"""A small sweep, and a quality that follows from a spec at once."""

from __future__ import annotations

import math
from typing import Any

from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec

METRIC = "probe.h.val"
LR: dict[str, Any] = {"optim.lr": {"float": [0.01, 1.0], "log": True}}
BRANCHES: dict[str, Any] = {
    "head.kind": {"choice": ["mlp", "directclr"]},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}},
    **LR,
}
SEEDS: dict[str, Any] = {"seeds": 2, "first_seed": 1000}


def sweep(
    *,
    trials: int = 5,
    epochs: int = 3,
    rungs: tuple[int, ...] = (),
    reduction: int = 2,
    space: dict[str, Any] = LR,
    sampler: dict[str, Any] | None = None,
    confirm: dict[str, Any] | None = None,
    mode: str = "max",
    name: str = "s",
    seed: int = 0,
    resources: dict[str, Any] | None = None,
    arms: dict[str, Any] | None = None,
    **search: Any,
) -> SweepSpec:
    """``search`` holds further parts of it, or replaces those made here; ``arms`` search all that is in
    ``space``."""
    if arms is not None:
        space = {key: {**entry, "role": "nuisance"} for key, entry in space.items()}
    scheduler = {"kind": "asha", "rungs": rungs, "reduction": reduction} if rungs else {"kind": "none"}
    return SweepSpec.model_validate(
        {
            "name": name,
            "question": "does it resume?",
            "base": {
                "data": {"kind": "digits"},
                "head": {"kind": "mlp", "depth": 2},
                "optim": {"kind": "sgd", "epochs": epochs, "warmup_epochs": 0.0},
            },
            "arms": arms,
            "space": space,
            "search": {
                "trials": trials,
                "sampler": sampler or {"kind": "tpe", "startup": 2},
                "scheduler": scheduler,
                "objective": {"metric": METRIC, "mode": mode},
                "seed": seed,
                **search,
            },
            "confirm": confirm,
            "resources": resources or {},
        }
    )


def quality(spec: TrialSpec) -> float:
    """In (0, 1]; best at lr 0.1, and with depth 2."""
    depth = spec.head.depth if spec.head.kind == "mlp" else 1
    return math.exp(
        -((math.log10(spec.optim.lr) + 1) ** 2) - 0.1 * abs(depth - 2) + 1e-3 * math.sin(spec.seed)
    )
