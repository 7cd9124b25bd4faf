"""What MLflow is told about a run: its name, tags, parameters and description.

Parameters are those in which trials of the sweep can differ, and nothing else: at five hundred runs every
further one is a column that nobody reads, and an axis of the compare page. The whole trial is in the
artifact ``spec.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ablate.report.trials import TrialRecord
from ablate.spec.arms import ArmsSpec
from ablate.spec.base import flatten

NOTE = "mlflow.note.content"  # what MLflow shows as the description
_COLOR = "mlflow.runColor"
_LONGEST = 5000  # characters of a tag; MLflow allows 8000, and older servers 5000
# Those of the report's figures, in their order: an arm looks the same in both.
COLORS = ("#0068c0", "#bf4b00", "#006b4a", "#c0699a", "#c68700", "#279dcc", "#5c5c5c", "#4a4500")


def listed_keys(sweep: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted keys that become parameters: those that are drawn, and those that arms or references set."""
    arms = ArmsSpec.model_validate(sweep["arms"]).settings if sweep.get("arms") else {}
    references = (sweep.get("confirm") or {}).get("references", {})
    changes = [*arms.values(), *references.values()]
    return tuple(dict.fromkeys([*sweep["space"], *(key for c in changes for key, _ in flatten(c))]))


def arms_of(sweep: Mapping[str, Any]) -> tuple[str, ...]:
    """Everything that a sweep compares by name, in the order of the report's figures: the baseline first, the
    controls last, raw pixels after all."""
    confirm = sweep.get("confirm") or {}
    if sweep.get("arms"):
        compared = list(ArmsSpec.model_validate(sweep["arms"]).settings)
    else:
        compared = ["best", *confirm.get("references", {})]
    return (*compared, *sorted(confirm.get("controls", ()), key="pixels".__eq__))


def name_of(record: TrialRecord) -> str:
    """``t0007 mlp`` in the search (the arm, or the kinds drawn), ``c0012 best seed 1002`` in confirm."""
    if record.stage == "confirm":
        return f"{record.trial} {record.arm} seed {record.seed}"
    if record.arm != "search":
        return f"{record.trial} {record.arm}"
    kinds = [str(value) for key, value in record.params.items() if key.endswith(".kind")]
    return " ".join([record.trial, *kinds])


def first_tags(record: TrialRecord, sweep: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a trial's run from its beginning; its arm has the colour that it has in the report."""
    arms = arms_of(sweep)
    color = {_COLOR: COLORS[arms.index(record.arm) % len(COLORS)]} if record.arm in arms else {}
    return color | {
        "ablate.trial": record.trial,
        "stage": record.stage,
        "arm": record.arm,
        "replicate": str(record.replicate),
        "spec_hash": record.spec_hash or "",
        "gpus": f"{sweep['resources']['gpus']:g}",  # timings compare only where it is the same
    }


def last_tags(record: TrialRecord) -> dict[str, str]:
    """The tags of a run that has ended; the description says what is not plain from its numbers."""
    said = [f"{record.state}: {record.reason}."] if record.reason else []
    if record.duplicate_of:
        said.append(f"Not run: it is the same as {record.duplicate_of} and has its result.")
    if record.parent:
        said.append(f"Went on from the weights of {record.parent} at epoch {record.inherited}.")
    tags = {"state": record.state, "reason": record.reason, "epochs": str(record.epochs)}
    return {key: value[:_LONGEST] for key, value in {**tags, NOTE: " ".join(said)}.items()}


def params_of(record: TrialRecord, keys: tuple[str, ...]) -> dict[str, str]:
    """The parameters of a trial: what was drawn, then what else of ``keys`` it has, then seed and arm."""
    has = dict(flatten(record.spec))
    others = {key: has[key] for key in keys if has.get(key) is not None}
    values = {**record.params, **{key: others[key] for key in others if key not in record.params}}
    return {key: _text(value) for key, value in {**values, "seed": record.seed, "arm": record.arm}.items()}


def cut(text: str) -> str:
    """``text`` as long as a description may be."""
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition("\n")[0] + "\n\n..."


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
