"""``results.parquet``: one row a trial, the numbers of a sweep in the form that other tools read.

Columns, in this order:

1. ``trial_id, arm, stage, replicate, seed, spec_hash, state, reason, epochs, duplicate_of, parent,
   inherited_epochs, gpus``. ``replicate`` numbers the independent searches of an arm, from 0. States are
   COMPLETE, PRUNED, COLLAPSED, FAILED, and in a sweep that is still going RUNNING, PAUSED and WAITING.
   ``duplicate_of``, ``parent`` and ``inherited_epochs`` are those of ``TrialRecord``, ``gpus`` is the sweep's
   ``resources.gpus``: where it differs, ``views_per_second`` does not compare.
2. Parameters under their dotted keys: every key that the search draws, in the order of the search space,
   then by name every other key of the resolved trials that is not the same in all of them (what confirm's
   references and controls replace). A key that a trial does not have, such as a subvector of an MLP, is
   null. Integers, numbers, truth values and texts keep their type; a column that mixes types is text.
3. Metrics by name, float64: the last value reported, or the final one if there is one.

The names of 2 and 3 are also in the schema's metadata, as JSON lists ``ablate.params`` and
``ablate.metrics``. Equal ledgers give equal bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablate.durable import replace_file
from ablate.ledger import Event, Ledger
from ablate.report.trials import TrialRecord, fold_trials, natural_key, opening
from ablate.spec.base import flatten

_IDENTITY = {
    "trial_id": pa.string(),
    "arm": pa.string(),
    "stage": pa.string(),
    "replicate": pa.int64(),
    "seed": pa.int64(),
    "spec_hash": pa.string(),
    "state": pa.string(),
    "reason": pa.string(),
    "epochs": pa.int64(),
    "duplicate_of": pa.string(),
    "parent": pa.string(),
    "inherited_epochs": pa.int64(),
    "gpus": pa.float64(),
}


def results_table(events: list[Event]) -> pa.Table:
    """The events of a sweep as a table with one row a trial, ordered by trial id."""
    records = sorted(fold_trials(events).values(), key=lambda r: natural_key(r.trial))
    specs = [dict(flatten(r.spec)) for r in records]
    gpus = float(opening(events)["sweep"]["resources"]["gpus"])  # may not change while a sweep is under way
    params = _param_names(events, records, specs)
    metrics = sorted({name for r in records for name in r.metrics})
    if both := set(params) & set(metrics):
        raise ValueError(f"{sorted(both)} are names of parameters and of metrics: rename the metrics")

    rows = [_identity(r) | {"gpus": gpus} for r in records]
    columns = {name: pa.array([row[name] for row in rows], t) for name, t in _IDENTITY.items()}
    columns |= {name: _typed([spec.get(name) for spec in specs]) for name in params}
    columns |= {name: pa.array([r.metrics.get(name) for r in records], pa.float64()) for name in metrics}
    names = {"ablate.params": json.dumps(params), "ablate.metrics": json.dumps(metrics)}
    return pa.table(columns).replace_schema_metadata(names)


def write_results(folder: Path) -> Path:
    """Write ``results.parquet`` into a sweep's folder from its ledger, all at once, and return its path."""
    table = results_table(Ledger.read(folder / "ledger.jsonl"))
    path = folder / "results.parquet"
    replace_file(path, parquet_bytes(table))
    return path


def parquet_bytes(table: pa.Table) -> bytes:
    """The file that holds ``table``."""
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def _identity(r: TrialRecord) -> dict[str, Any]:
    return {
        "trial_id": r.trial,
        "arm": r.arm,
        "stage": r.stage,
        "replicate": r.replicate,
        "seed": r.seed,
        "spec_hash": r.spec_hash,
        "state": r.state,
        "reason": r.reason,
        "epochs": r.epochs,
        "duplicate_of": r.duplicate_of,
        "parent": r.parent,
        "inherited_epochs": r.inherited,
    }


def _param_names(events: list[Event], records: list[TrialRecord], specs: list[dict[str, Any]]) -> list[str]:
    drawn = _distinct([*opening(events)["sweep"]["space"], *(key for r in records for key in r.params)])
    every = {key for spec in specs for key in spec}
    varies = [key for key in every if len({repr(spec.get(key)) for spec in specs}) > 1]
    return _distinct([*drawn, *sorted(varies)], without={"seed"})


def _distinct(names: Iterable[str], without: Iterable[str] = ()) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in without]


def _typed(values: list[Any]) -> pa.Array:
    """One column: the narrowest of bool, int64, float64 and text that holds every value."""
    kinds = {type(value) for value in values if value is not None}
    for allowed, target in (({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64())):
        if kinds and kinds <= allowed:
            return pa.array(values, target)
    return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())
