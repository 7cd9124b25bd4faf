"""results.parquet: one row a trial, typed columns in the promised order, equal bytes for equal ledgers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ablate.ledger import Ledger
from ablate.report import results_table, write_results
from ablate.report.trials import fold_trials
from tests.report.made_sweep import ARMS, SHARE, Made

IDENTITY = [
    "trial_id", "arm", "stage", "replicate", "seed", "spec_hash", "state", "reason", "epochs", "duplicate_of",
    "parent", "inherited_epochs", "gpus",
]  # fmt: skip


def test_one_row_a_trial_with_columns_in_the_promised_order() -> None:
    made = Made().search().confirm()
    table = results_table(made.events)
    names = table.column_names
    assert names[: len(IDENTITY)] == IDENTITY
    params = json.loads(table.schema.metadata[b"ablate.params"])
    metrics = json.loads(table.schema.metadata[b"ablate.metrics"])
    assert names[len(IDENTITY) :] == params + metrics
    assert params[:4] == list(made.sweep.space)
    assert {"head.hidden", "optim.epochs"} <= set(params[4:])
    assert metrics == ["loss", "probe.h.test", "probe.h.val"]
    assert table["trial_id"].to_pylist() == [f"c{i:04d}" for i in range(12)] + [f"t{i:04d}" for i in range(4)]


def test_values_are_those_of_the_ledger() -> None:
    made = Made().search().confirm()
    rows = {row["trial_id"]: row for row in results_table(made.events).to_pylist()}
    assert [rows[f"t{i:04d}"]["state"] for i in range(4)] == ["COMPLETE", "PRUNED", "COLLAPSED", "FAILED"]
    assert {row["gpus"] for row in rows.values()} == {0.0}
    assert rows["t0000"]["probe.h.val"] == pytest.approx(0.3)
    assert rows["t0000"]["probe.h.test"] == 0.8
    assert rows["t0001"]["probe.h.test"] is None
    assert rows["t0001"]["reason"] == "because of PRUNED"
    assert (rows["t0000"]["head.depth"], rows["t0000"]["head.subvector"]) == (3, None)
    assert (rows["t0001"]["head.depth"], rows["t0001"]["head.subvector"]) == (None, 16)
    assert [rows[f"c{i:04d}"]["arm"] for i in range(4)] == list(SHARE)
    assert (rows["c0003"]["seed"], rows["c0004"]["seed"], rows["c0002"]["optim.epochs"]) == (1000, 1001, 0)


def test_replicates_are_told_apart_in_both_stages() -> None:
    made = Made(arms={**ARMS, "replicates": 2}, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    rows = results_table(made.search().confirm().events).to_pylist()
    counts = {(stage, r): sum((row["stage"], row["replicate"]) == (stage, r) for row in rows)
              for stage in ("search", "confirm") for r in (0, 1)}  # fmt: skip
    assert counts == {("search", 0): 4, ("search", 1): 4, ("confirm", 0): 9, ("confirm", 1): 6}
    assert {row["replicate"] for row in results_table(Made().search().confirm().events).to_pylist()} == {0}


def test_a_sweep_that_is_still_going_has_its_unfinished_trials_too() -> None:
    made = Made().search()
    made.events = made.events[:4]  # opened, asked, started, reported
    row = results_table(made.events).to_pylist()[0]
    assert (row["state"], row["epochs"]) == ("RUNNING", 1)
    assert row["probe.h.val"] == pytest.approx(0.1)


def test_a_trial_that_restarts_keeps_only_what_its_checkpoint_has() -> None:
    made = Made().search()
    made.events = made.events[:5]  # t0000 reported epochs 1 and 2
    resumed = {"event": "resumed", "time": 2000.0, "fence": 2, "made_by": {}, "epochs": {"t0000": 1}}
    record = fold_trials([*made.events, resumed])["t0000"]
    assert (record.state, record.epochs, sorted(record.curve)) == ("WAITING", 1, [1])


def test_impossible_draws_have_a_row_without_a_spec() -> None:
    made = Made()
    made._add(
        "asked", trial="t0000", number=0, stage="search", arm="search", seed=0,
        params={"optim.lr": 0.5}, spec=None, spec_hash=None, duplicate_of=None, parent=None, checkpoint=None,
    )  # fmt: skip
    made._finish("t0000", "FAILED", "impossible configuration", 0, {})
    row = results_table(made.events).to_pylist()[0]
    assert (row["state"], row["spec_hash"], row["optim.lr"]) == ("FAILED", None, None)


def test_the_file_is_complete_and_equal_bytes_when_written_again(tmp_path: Path) -> None:
    folder = Made().search().confirm().write(tmp_path / "made")
    path = write_results(folder)
    first = path.read_bytes()
    assert write_results(folder).read_bytes() == first
    assert pq.read_table(path).equals(results_table(Ledger.read(folder / "ledger.jsonl")))
    assert [p.name for p in folder.iterdir() if "part" in p.name] == []
