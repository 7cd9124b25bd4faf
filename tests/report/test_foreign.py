"""Runs from elsewhere: the same verdicts, a weaker claim, and a plain word where nothing can be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.report.claims import Claims
from ablate.report.foreign import Columns, ForeignError, ForeignRun, ForeignTable, claims_from, read_parquet
from ablate.report.words import claim, claim_items
from ablate.statistics.verdict import judge

COLUMNS = Columns("head", "seed", "acc")
Rows = list[dict[str, Any]]


def rows(seeds: int = 8, **arms: float) -> Rows:
    """Accuracies around ``arms``, with a part that is shared by the arms of a seed."""
    shared = np.random.default_rng(1).normal(0, 0.02, seeds)
    own = np.random.default_rng(2).normal(0, 0.002, (len(arms), seeds))
    return [
        {"head": arm, "seed": seed, "acc": mean + shared[seed] + own[i, seed]}
        for i, (arm, mean) in enumerate(arms.items())
        for seed in range(seeds)
    ]


def write(folder: Path, table: Rows) -> Path:
    pd.DataFrame(table).to_parquet(folder / "runs.parquet", index=False)
    return folder / "runs.parquet"


def judged(folder: Path, table: Rows, columns: Columns = COLUMNS, **options: Any) -> Claims:
    given: dict[str, Any] = {"baseline": "mlp", "metric": "acc", "mode": "max", **options}
    return claims_from(read_parquet(write(folder, table), columns), **given)


def test_verdicts_are_those_of_the_differences_within_seeds(tmp_path: Path) -> None:
    table = rows(mlp=0.5, sparse=0.55, same=0.5)
    found = judged(tmp_path, table, margin=0.01)
    assert [(v.comparison.arm, v.comparison.against, v.word) for v in found.verdicts] == [
        ("sparse", "mlp", "better"), ("same", "mlp", "equivalent"),
    ]  # fmt: skip
    scores = pd.DataFrame(table).pivot(index="seed", columns="head", values="acc")
    for v in found.verdicts:
        d = scores[v.comparison.arm] - scores["mlp"]
        assert v.comparison.differences == pytest.approx(tuple(d))
        interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
        assert v.interval is not None
        assert (v.interval.low, v.interval.high) == pytest.approx((interval.low, interval.high))
    expected = judge([v.comparison for v in found.verdicts], alpha=0.05, margin=0.01)
    assert [v.p_holm for v in found.verdicts] == [v.p_holm for v in expected]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(24)))
def test_the_order_of_rows_changes_nothing(tmp_path: Path, order: list[int]) -> None:
    table = rows(mlp=0.5, sparse=0.55, same=0.5)
    reference = {v.comparison.arm: v for v in judged(tmp_path, table, margin=0.01).verdicts}
    for v in judged(tmp_path, [table[i] for i in order], margin=0.01).verdicts:
        assert v == reference[v.comparison.arm]


def test_the_claim_is_weaker_and_says_so(tmp_path: Path) -> None:
    found = judged(tmp_path, rows(mlp=0.5, sparse=0.55))
    assert "Over seeds, on this test set only: no per-example results." in found.labels
    assert any(label.startswith("Nothing was declared beforehand") for label in found.labels)
    assert any("compared as pairs; whether they shared" in label for label in found.labels)
    assert not any("head" in label for label in found.labels)
    assert claim(found.verdicts[0]) == (
        "sparse is better on this test set; for other images like these it is not established"
    )


def test_smaller_is_better_if_said(tmp_path: Path) -> None:
    found = judged(tmp_path, rows(mlp=0.5, sparse=0.55), mode="min")
    assert found.verdicts[0].word == "worse"
    assert found.verdicts[0].mean < 0


def test_seeds_are_paired_whatever_type_they_are_stored_as(tmp_path: Path) -> None:
    table = rows(mlp=0.5, sparse=0.55)
    reference = judged(tmp_path, table).verdicts[0].comparison.differences
    for kind in (float, str):
        mixed = [{**row, "seed": kind(row["seed"])} for row in table]
        assert judged(tmp_path, mixed).verdicts[0].comparison.differences == reference


def test_replicates_are_the_unit_if_there_are_several(tmp_path: Path) -> None:
    table = [
        {**row, "search": row["seed"] % 6, "seed": row["seed"] // 6} for row in rows(12, mlp=0.5, deep=0.6)
    ]
    found = judged(tmp_path, table, Columns("head", "seed", "acc", "search"))
    assert (found.unit, found.replicates, len(found.verdicts[0].comparison.differences)) == (
        "replicate",
        6,
        6,
    )
    (sentence, _), *_ = claim_items(found)
    assert "this method is better on this test set: deep" in sentence
    few = [row for row in table if row["search"] < 5]
    five = judged(tmp_path, few, Columns("head", "seed", "acc", "search"), alpha=0.1)
    assert five.verdicts[0].word == "better"
    assert "5 replicates are too few" in claim(five.verdicts[0])
    single = judged(
        tmp_path, [row for row in table if row["search"] == 0], Columns("head", "seed", "acc", "search")
    )
    assert single.unit == "seed"


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_pair_without_a_score_blocks_and_is_named(tmp_path: Path, score: float | None) -> None:
    table = rows(mlp=0.5, sparse=0.55, other=0.6)
    table[10]["acc"] = score  # sparse, seed 2
    found = judged(tmp_path, table)
    assert [(v.word, v.comparison.missing) for v in found.verdicts] == [("blocked", ("2",)), ("better", ())]
    (note,) = found.notes["sparse - mlp"]
    assert note.startswith("sparse, seed 2: row 10 has ")
    assert any("no claim" in sentence for sentence, _ in claim_items(found))


def test_unequal_numbers_of_seeds_block_what_has_no_pair(tmp_path: Path) -> None:
    table = [row for row in rows(mlp=0.5, sparse=0.55) if not (row["head"] == "mlp" and row["seed"] > 5)]
    found = judged(tmp_path, table)
    assert found.verdicts[0].word == "blocked"
    assert found.verdicts[0].comparison.missing == ("6", "7")
    assert found.notes["sparse - mlp"] == ("mlp has no run with seed 6", "mlp has no run with seed 7")
    assert "Unequal numbers of seeds: mlp 6, sparse 8." in found.labels


def test_rows_without_an_arm_or_a_seed_are_left_out_and_counted(tmp_path: Path) -> None:
    table = [*rows(mlp=0.5, sparse=0.55), {"head": None, "seed": 1, "acc": 0.9}]
    found = judged(tmp_path, table)
    assert found.verdicts[0].word == "better"
    assert "1 rows without an arm or a seed were left out." in found.labels


def changed(how: str) -> Rows:
    table = rows(mlp=0.5, sparse=0.55)
    match how:
        case "twice":
            return [*table, dict(table[3])]
        case "one seed":
            return [row for row in table if row["seed"] == 0]
        case "one arm":
            return [row for row in table if row["head"] == "mlp"]
        case "no scores":
            return [{**row, "acc": None} for row in table]
        case "words":
            return [{**row, "acc": "good"} for row in table]
        case _:
            return table


@pytest.mark.parametrize(("how", "words"), [
    ("twice", "arm 'mlp' has 2 results for seed 3 (row 3, row 16); keep one of each"),
    ("one seed", "one seed: chance cannot be told from a difference"),
    ("one arm", "the only arm is the baseline 'mlp'"),
    ("no scores", "none of 16 runs has a score in acc: 16 has no acc"),
    ("words", "column 'acc' holds string, expected numbers"),
])  # fmt: skip
def test_a_table_of_which_nothing_can_be_said_is_refused(tmp_path: Path, how: str, words: str) -> None:
    with pytest.raises(ForeignError) as caught:
        judged(tmp_path, changed(how))
    assert words in str(caught.value).replace("large_string", "string")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("columns", "options", "words"), [
    (Columns("heads", "seed", "acc"), {}, "'heads'; did you mean 'head'? (columns: acc, head, seed)"),
    (Columns("head", "sed", "acc"), {}, "no column 'sed'; did you mean 'seed'?"),
    (Columns("head", "seed", "accuracy"), {}, "no column 'accuracy'"),
    (Columns("head", "seed", "acc", "search"), {}, "no column 'search'"),
    (COLUMNS, {"baseline": "mpl"}, "no arm is called 'mpl'; did you mean 'mlp'? (arms: mlp, sparse)"),
])  # fmt: skip
def test_unknown_names_are_refused_with_the_nearest(
    tmp_path: Path, columns: Columns, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ForeignError) as caught:
        judged(tmp_path, rows(mlp=0.5, sparse=0.55), columns, **options)
    assert words in str(caught.value)


def test_files_that_hold_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("head,seed,acc\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    whole = write(tmp_path, rows(mlp=0.5, sparse=0.55)).read_bytes()
    (tmp_path / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    for name in ("gone.parquet", "text.parquet", "empty.parquet", "torn.parquet", "."):
        with pytest.raises(ForeignError, match="cannot be read"):
            read_parquet(tmp_path / name, COLUMNS)
    none = pd.DataFrame({"head": [], "seed": [], "acc": np.array([], dtype=float)})
    none.to_parquet(tmp_path / "none.parquet", index=False)
    with pytest.raises(ForeignError, match="no runs"):
        claims_from(
            read_parquet(tmp_path / "none.parquet", COLUMNS), baseline="mlp", metric="acc", mode="max"
        )


def test_a_crashed_run_counts_only_if_no_other_took_its_place() -> None:
    def run(arm: str, seed: int, score: float | None, *, over: bool = True) -> ForeignRun:
        return ForeignRun(f"run {arm}{seed}", arm, str(seed), "0", score, "" if over else "is FAILED", over)

    good = [run(arm, seed, 0.5 + 0.1 * (arm == "b") + 0.01 * seed) for arm in "ab" for seed in range(6)]
    crashed = run("b", 2, None, over=False)
    options: dict[str, Any] = {"baseline": "a", "metric": "acc", "mode": "max"}
    again = claims_from(ForeignTable((crashed, *good)), **options)
    assert again.verdicts[0].comparison.missing == ()
    lost = claims_from(
        ForeignTable((crashed, *(g for g in good if (g.arm, g.seed) != ("b", "2")))), **options
    )
    assert lost.verdicts[0].word == "blocked"
    assert lost.notes["b - a"] == ("b, seed 2: run b2 is FAILED",)
