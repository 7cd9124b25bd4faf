"""The confirm statistics, against independent calculations, and words no stronger than the numbers."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from ablate.report import compare_arms, summarise, summary_of, verdict, write_results
from ablate.report.confirm import Difference, Interval, crossed_interval, sign_flip_p, t_interval
from tests.report.made_sweep import IMAGES, SEEDS, Made

scores = st.lists(st.integers(0, 360).map(lambda k: k / 360), min_size=2, max_size=9)


@given(scores)
def test_t_interval_is_the_textbook_one(d: list[float]) -> None:
    interval = t_interval(d)
    assert interval is not None
    half = stats.t.ppf(0.975, len(d) - 1) * np.std(d, ddof=1) / np.sqrt(len(d))
    assert interval.low == pytest.approx(np.mean(d) - half)
    assert interval.high == pytest.approx(np.mean(d) + half)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8))
def test_sign_flip_p_counts_every_pattern_of_signs(d: list[int]) -> None:
    found = [abs(sum(s * x for s, x in zip(signs, d, strict=True)))
             for signs in itertools.product((-1, 1), repeat=len(d))]  # fmt: skip
    exact = sum(value >= abs(sum(d)) for value in found) / len(found)
    assert sign_flip_p([float(x) for x in d]) == pytest.approx(exact)


def test_sign_flip_p_of_many_seeds_is_sampled_and_repeatable() -> None:
    d = np.random.default_rng(0).normal(0.3, 1.0, 40)
    p = sign_flip_p(d)
    assert p == sign_flip_p(d)
    assert p == pytest.approx(float(stats.ttest_1samp(d, 0).pvalue), abs=0.03)


def test_one_seed_has_no_interval() -> None:
    assert t_interval([0.1]) is None
    assert sign_flip_p([0.1]) is None


def test_crossed_interval_covers_where_one_over_seeds_alone_does_not() -> None:
    """Two configurations that disagree on images, equal on average: new images would turn the difference."""
    rng, trials = np.random.default_rng(1), 400
    covered = {"both": 0, "seeds": 0}
    for _ in range(trials):
        taste = rng.normal(0, 0.3, size=120)  # what each image adds to the difference, whatever the seed
        cells = taste + rng.normal(0, 0.05, size=(6, 1)) + rng.normal(0, 0.3, size=(6, 120))
        both, seeds = crossed_interval(cells), t_interval(cells.mean(1))
        assert both is not None
        assert seeds is not None
        covered["both"] += both.covers_zero
        covered["seeds"] += seeds.covers_zero
    assert covered["both"] / trials > 0.93
    assert covered["seeds"] / trials < 0.90


def test_differences_are_those_of_results_parquet(tmp_path: Path) -> None:
    made = Made().search().confirm()
    folder = made.write(tmp_path / "made")
    rows = pq.read_table(write_results(folder)).to_pylist()
    score = {(r["arm"], r["seed"]): r["probe.h.test"] for r in rows if r["stage"] == "confirm"}
    found = compare_arms(folder, made.events)
    assert [(d.arm, d.role) for d in found] == [
        ("simclr", "reference"), ("untrained", "control"), ("pixels", "control"),
    ]  # fmt: skip
    for d in found:
        expected = [score["best", seed] - score[d.arm, seed] for seed in SEEDS]
        assert d.seeds == SEEDS
        assert d.differences == pytest.approx(expected)
        assert d.mean == pytest.approx(sum(expected) / 3)
        assert d.images == IMAGES
        assert d.over_seeds == t_interval(expected)
        assert d.over_seeds_and_images is not None


def test_claims_are_no_stronger_than_the_numbers(tmp_path: Path) -> None:
    made = Made().search().confirm()
    words = {d.arm: verdict(d) for d in compare_arms(made.write(tmp_path / "made"), made.events)}
    assert words["pixels"] == "the two configurations differ: best is better"
    assert words["simclr"] == "covers zero: a difference is not established"


def test_without_stored_predictions_the_claim_is_about_these_images(tmp_path: Path) -> None:
    made = Made().search().confirm()
    folder = made.write(tmp_path / "made")
    (folder / "trials" / "c0000" / "correct.npz").unlink()
    words = {d.arm: verdict(d) for d in compare_arms(folder, made.events)}
    assert words["pixels"].startswith("best is better on these test images; for other images it is not")


def test_a_missing_pair_is_named_and_blocks_the_claim(tmp_path: Path) -> None:
    made = Made().search().confirm(lost=("c0007",))  # pixels at seed 1001
    folder = made.write(tmp_path / "made")
    found = {d.arm: d for d in compare_arms(folder, made.events)}
    assert (found["pixels"].seeds, found["pixels"].missing) == ((1000, 1002), (1001,))
    assert verdict(found["pixels"]) == "no claim: seed 1001 lacks a score in one of the two; re-run it"
    assert found["untrained"].missing == ()
    assert "c0007: out of memory" in summarise(folder)


def _difference(best: tuple[float, ...], other: tuple[float, ...], wide: Interval | None) -> Difference:
    d = np.subtract(best, other)
    seeds = tuple(range(len(best)))
    return Difference("x", "reference", "probe.h.test", seeds, (), best, other, t_interval(d), wide, 9, None)


def test_a_worse_best_is_called_worse_and_a_wide_interval_weakens_it() -> None:
    best, other = (0.1, 0.11, 0.1), (0.5, 0.5, 0.51)
    assert verdict(_difference(best, other, Interval(-0.5, -0.1))) == (
        "the two configurations differ: best is worse"
    )
    assert "worse on these test images" in verdict(_difference(best, other, Interval(-0.5, 0.1)))


def test_summary_counts_states_and_names_the_best_without_calling_it_a_result(tmp_path: Path) -> None:
    made = Made().search().confirm()
    folder = made.write(tmp_path / "made")
    summary = summary_of(folder, made.events)
    assert summary.search == {"COMPLETE": 1, "PRUNED": 1, "COLLAPSED": 1, "FAILED": 1}
    assert (summary.stopped, summary.rungs, summary.best) == (0.25, (1, 2), "t0000")
    screen = io.StringIO()
    text = summarise(folder, Console(file=screen, width=120))
    assert (folder / "summary.md").read_text() == text
    for said in ("Stopped early: 25%", "it is not a result", "best - pixels: the two configurations differ"):
        assert said in text
        assert said in screen.getvalue()
    assert "sign-flip p cannot go below 0.25" in text


def test_a_question_in_any_characters_is_printed_as_it_is(tmp_path: Path) -> None:
    made = Made().search()
    made.events[0]["sweep"]["question"] = "is z in [a, b] better than [/]?"
    screen = io.StringIO()
    summarise(made.write(tmp_path / "made"), Console(file=screen, width=120))
    assert "is z in [a, b] better than [/]?" in screen.getvalue()


@pytest.mark.parametrize("events", [1, 4, 10])
def test_a_sweep_that_has_hardly_begun_can_be_summarised(tmp_path: Path, events: int) -> None:
    made = Made().search()
    made.events = made.events[:events]
    text = summarise(made.write(tmp_path / "made"))
    assert "The sweep has not ended" in text
    assert "differ" not in text
