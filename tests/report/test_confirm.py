"""Which seeds count, what is missing, and which test images every trial got right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ablate.report.confirm import Confirmation
from ablate.report.correctness import Correctness
from ablate.report.trials import fold_trials
from tests.report.made_sweep import ARMS, IMAGES, SEEDS, Made


def confirmation(made: Made, folder: Path) -> Confirmation:
    return Confirmation(folder, made.events, fold_trials(made.events).values())


def stored(folder: Path, trial: str, name: str, values: list[int]) -> None:
    (folder / "trials" / trial).mkdir(parents=True)
    np.savez(folder / "trials" / trial / "correct.npz", **{name: np.array(values, dtype=bool)})


def test_cells_are_differences_of_correctness_averaged_over_the_pairs_of_a_unit(tmp_path: Path) -> None:
    for trial, values in {"a": [1, 1, 0], "b": [0, 1, 1], "c": [1, 1, 1], "d": [1, 0, 0]}.items():
        stored(tmp_path, trial, "probe.h", values)
    read = Correctness(tmp_path, "probe.h.test")
    single = read.differences([[("a", "b")], [("c", "d")]])
    assert single is not None
    assert single.tolist() == [[1, 0, -1], [0, 1, 1]]
    together = read.differences([[("a", "b"), ("c", "d")]])
    assert together is not None
    assert together.tolist() == [[0.5, 0.5, 0]]


def test_without_every_file_or_with_other_images_there_are_no_cells(tmp_path: Path) -> None:
    for trial, values in {"a": [1, 1, 0], "b": [0, 1, 1], "c": [1, 1]}.items():
        stored(tmp_path, trial, "probe.h", values)
    stored(tmp_path, "knn", "knn.h", [1, 1, 1])
    (tmp_path / "trials" / "torn").mkdir()
    whole = (tmp_path / "trials" / "a" / "correct.npz").read_bytes()
    (tmp_path / "trials" / "torn" / "correct.npz").write_bytes(whole[: len(whole) // 2])
    read = Correctness(tmp_path, "probe.h.test")
    assert read.differences([[("a", "b")]]) is not None
    for other in ("gone", "torn", "knn", "c"):
        assert read.differences([[("a", "b")], [("a", other)]]) is None
    assert read.differences([[("a", "b")], [("c", "c")]]) is None
    assert read.differences([]) is None
    assert Correctness(tmp_path, "rank.h.effective").differences([[("a", "b")]]) is None


def test_differences_are_those_of_the_scores(tmp_path: Path) -> None:
    made = Made().search().confirm()
    found = confirmation(made, made.write(tmp_path / "made"))
    comparison = found.compare("best", "pixels", found.parts)
    score = {
        (r.arm, r.seed): r.final["probe.h.test"]
        for r in fold_trials(made.events).values()
        if r.stage == "confirm"
    }
    expected = [score["best", seed] - score["pixels", seed] for seed in SEEDS]
    assert comparison.differences == pytest.approx(expected)
    assert comparison.missing == ()
    assert comparison.cells is not None
    assert comparison.cells.shape == (len(SEEDS), IMAGES)
    assert comparison.cells.mean(1) == pytest.approx(expected)


def test_a_replicate_counts_once_with_the_mean_over_its_seeds(tmp_path: Path) -> None:
    made = Made(arms={**ARMS, "replicates": 4}, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    made.search().confirm()
    found = confirmation(made, made.write(tmp_path / "made"))
    assert [(p.name, p.replicate, len(p.seeds), p.whole) for p in found.parts] == [
        (str(r), r, 3, True) for r in range(4)
    ]
    assert len({seed for part in found.parts for seed in part.seeds}) == 12
    comparison = found.compare("deep", "plain", found.parts)
    records = [r for r in fold_trials(made.events).values() if r.stage == "confirm"]
    for replicate, difference in enumerate(comparison.differences):
        means = {
            arm: np.mean(
                [r.final["probe.h.test"] for r in records if (r.arm, r.replicate) == (arm, replicate)]
            )
            for arm in ("deep", "plain")
        }
        assert difference == pytest.approx(means["deep"] - means["plain"])
    assert comparison.cells is not None
    assert comparison.cells.shape == (4, IMAGES)
    assert comparison.cells.mean(1) == pytest.approx(comparison.differences)


def test_a_replicate_without_one_of_its_seeds_is_missing_as_a_whole(tmp_path: Path) -> None:
    made = Made(arms={**ARMS, "replicates": 2}, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    made.search().confirm(lost=("c0003",))
    found = confirmation(made, made.write(tmp_path / "made"))
    lost = fold_trials(made.events)["c0003"]
    comparison = found.compare("deep", "plain", found.parts)
    assert comparison.missing == (str(lost.replicate),)
    assert len(comparison.differences) == 1
    assert list(found.gaps(comparison)) == [
        f"{lost.arm}, seed {lost.seed} of replicate {lost.replicate}: c0003 FAILED (out of memory)",
        "run again: `ablate retry made c0003`, then `ablate resume made`",
    ]


def test_a_replicate_whose_search_chose_nothing_is_missing_with_the_reason(tmp_path: Path) -> None:
    made = Made(arms={**ARMS, "replicates": 2}, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    made.search()
    del made.compared["deep", 1]
    made.events[-1]["impossible"] = {"deep, replicate 1": "no search trial completed (2 FAILED)"}
    found = confirmation(made.confirm(), tmp_path)
    comparison = found.compare("deep", "plain", found.parts)
    assert comparison.missing == ("1",)
    assert "deep, seed 1003 of replicate 1: no search trial completed (2 FAILED)" in found.gaps(comparison)


def test_a_collapsed_trial_keeps_its_score_and_any_other_state_has_none(tmp_path: Path) -> None:
    for state, scored in (("COLLAPSED", True), ("FAILED", False), ("PRUNED", False)):
        made = Made().search().confirm()
        (end,) = [e for e in made.events if e["event"] == "finished" and e["trial"] == "c0003"]
        end["state"] = state
        assert (confirmation(made, tmp_path).score(("pixels", 0, 1000)) is not None) == scored


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_missing_and_named(tmp_path: Path, value: float | None) -> None:
    made = Made().search().confirm()
    (end,) = [e for e in made.events if e["event"] == "finished" and e["trial"] == "c0005"]
    end["metrics"] = {k: v for k, v in end["metrics"].items() if k != "probe.h.test"}
    end["metrics"] |= {} if value is None else {"probe.h.test": value}
    found = confirmation(made, tmp_path)
    comparison = found.compare("best", "simclr", found.parts)
    assert comparison.missing == ("1001",)
    assert list(found.gaps(comparison)) == ["simclr, seed 1001: c0005 has no finite probe.h.test"]
