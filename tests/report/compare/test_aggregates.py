"""Arms over several data sets: the numbers are those of the statistics room on the scores of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.report.compare.aggregates import Aggregates, aggregates
from ablate.report.compare.side import Side
from ablate.report.results import write_results
from ablate.statistics.aggregate import (
    iqm,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_interval,
)
from tests.report.compare.two_sweeps import HIGH, compared, made, side, written


def scores(folder: Path, arm: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rows = pd.read_parquet(write_results(folder))
    return rows[(rows["stage"] == "confirm") & (rows["arm"] == arm)]["probe.h.test"].to_numpy()


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> list[Side]:
    runs = tmp_path_factory.mktemp("runs")
    written(runs, made("easy", HIGH), data="d1")
    written(runs, made("hard"), data="d2")
    return [side(runs / "easy", "A"), side(runs / "hard", "B")]


@pytest.fixture(scope="module")
def found(sides: list[Side]) -> Aggregates:
    summed = aggregates(sides)
    assert summed is not None
    return summed


def test_every_arm_is_summed_up_over_the_data_sets(sides: list[Side], found: Aggregates) -> None:
    assert [each.arm for each in found.arms] == ["plain", "deep", "wide", "pixels"]
    for each in found.arms:
        matrix = np.stack([scores(s.folder, each.arm) for s in sides], axis=1)
        assert each.units == 8
        assert each.means == pytest.approx(tuple(matrix.mean(0)))
        assert each.iqm == pytest.approx(iqm(matrix))
        assert each.iqm_interval == stratified_interval(iqm, matrix)
        assert each.gap == pytest.approx(optimality_gap(matrix))
        assert each.profile == pytest.approx(tuple(performance_profile(matrix, found.thresholds)))
        assert all(low <= share <= high for share, (low, high) in zip(each.profile, each.band, strict=True))


def test_improvement_is_of_the_comparisons_that_both_declared(sides: list[Side], found: Aggregates) -> None:
    assert [(i.arm, i.against) for i in found.improvements] == [("deep", "plain"), ("wide", "plain")]
    deep, plain = (np.stack([scores(s.folder, arm) for s in sides], axis=1) for arm in ("deep", "plain"))
    assert found.improvements[0].probability == pytest.approx(probability_of_improvement(deep, plain))
    assert found.improvements[0].interval == stratified_interval(probability_of_improvement, deep, plain)


def test_the_longer_ladder_is_cut_and_said(tmp_path: Path) -> None:
    folders = (
        written(tmp_path, made("easy", HIGH), data="d1"),
        written(tmp_path, made("hard", seeds=4), data="d2"),
    )
    found = aggregates([side(folder, letter) for folder, letter in zip(folders, "AB", strict=True)])
    assert found is not None
    assert {each.units for each in found.arms} == {4}
    assert found.arms[0].means[0] == pytest.approx(scores(folders[0], "plain")[:4].mean())
    assert found.notes[0] == "plain: the first 4 were used where there are more (8 of A)"


def test_an_arm_that_lacks_a_score_is_refused_and_no_other(tmp_path: Path) -> None:
    folders = (
        written(tmp_path, made("easy", HIGH), data="d1"),
        written(tmp_path, made("hard"), data="d2", lost=("c0001",)),
    )
    found = aggregates([side(folder, letter) for folder, letter in zip(folders, "AB", strict=True)])
    assert found is not None
    assert found.refused == ("deep: deep has no score on seed 1000 in B (B-c0001 FAILED)",)
    assert [each.arm for each in found.arms] == ["plain", "wide", "pixels"]
    assert [(i.arm, i.against) for i in found.improvements] == [("wide", "plain")]


def test_sweeps_on_the_same_data_are_no_data_sets_to_sum_up(tmp_path: Path) -> None:
    folders = [written(tmp_path, made("one")), written(tmp_path, made("two", HIGH))]
    assert compared(*folders).aggregates is None
    third = written(tmp_path, made("three", HIGH), data="other")
    found = compared(*folders, third)
    assert found.groups == (("A", "B"), ("C",))
    assert found.aggregates is not None
    assert found.aggregates.sides == ("A", "C")
    assert [(p.reference.letter, p.other.letter, p.same_data) for p in found.pairs] == [
        ("A", "B", True),
        ("A", "C", False),
    ]


def test_where_the_data_are_not_known_nothing_is_summed_up(tmp_path: Path) -> None:
    folders = [written(tmp_path, made("one"), data="d1"), written(tmp_path, made("two", HIGH), data="d2")]
    for file in folders[1].glob("trials/*/identity.json"):
        file.unlink()
    assert compared(*folders).aggregates is None
