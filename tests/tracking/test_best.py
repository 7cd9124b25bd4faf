"""The best of each search so far."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.trials import TrialRecord
from ablate.tracking.best import Best


def sweep(mode: str = "max") -> dict[str, Any]:
    return {"search": {"objective": {"metric": "score", "mode": mode}}}


def ended(number: int, score: float, *, state: str = "COMPLETE", **more: Any) -> TrialRecord:
    values: dict[str, Any] = {"stage": "search", "arm": "a", **more}
    return TrialRecord(
        f"t{number:04d}", seed=0, params={}, spec={}, spec_hash="x", asked=0.0, state=state,
        ended=float(number), final={"score": score}, **values,
    )  # fmt: skip


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from(["max", "min"])
)
def test_it_is_the_best_so_far_after_every_trial(scores: list[float], mode: str) -> None:
    best = Best(sweep(mode))
    for number, score in enumerate(scores):
        expected = (max if mode == "max" else min)(scores[: number + 1])
        assert best.note(ended(number, score)) == ("best.a", expected, number + 1, float(number))


def test_only_completed_trials_of_a_search_count_and_each_search_for_itself() -> None:
    best = Best(sweep())
    assert best.note(ended(0, 0.9, state="PRUNED")) is None
    assert best.note(ended(1, math.nan)) is None
    assert best.note(ended(2, 0.5)) == ("best.a", 0.5, 3, 2.0)
    assert best.note(ended(3, 0.4, arm="b")) == ("best.b", 0.4, 1, 3.0)
    assert best.note(ended(4, 0.3, replicate=1)) == ("best.a.1", 0.3, 1, 4.0)
    assert best.note(ended(5, 0.99, stage="confirm")) is None


def test_a_trial_that_is_run_again_is_counted_once() -> None:
    best = Best(sweep())
    assert best.note(ended(0, 0.5, state="FAILED")) is None
    assert best.note(ended(0, 0.5)) == ("best.a", 0.5, 1, pytest.approx(0.0))
