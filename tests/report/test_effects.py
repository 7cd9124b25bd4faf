"""Main effects and pair effects of factorial designs, from scores whose effects are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.report.confirm import Confirmation
from ablate.report.effects import effects
from ablate.report.trials import fold_trials
from ablate.search import TrialState
from tests.search.test_arms import Course, play

FACTORS: dict[str, Any] = {
    "depth": {"two": {}, "three": {"head.depth": 3}},
    "wide": {"off": {}, "on": {"head.hidden": 512}},
    "margin": {"off": {}, "on": {"loss.margin.angular": 0.2}},
}
CONFIRM: dict[str, Any] = {"seeds": 6, "controls": ()}


def confirmed(folder: Path, score: Any, design: str) -> Confirmation:
    arms = {"factors": FACTORS, "design": design}
    course = play(Course(trials=1, epochs=1, arms=arms, space={}, confirm=CONFIRM), score)
    events = [{"sequence": i, "time": float(i), **e} for i, e in enumerate(course.events)]
    return Confirmation(folder, events, fold_trials(events).values())


def score(trial: TrialState) -> float:
    """Depth adds .1, margin takes .02, both together add another .04; width does nothing but for noise."""
    deep, on = "depth=three" in trial.arm, "margin=on" in trial.arm
    luck = 0.001 * (-1) ** trial.seed * (1 if "wide=on" in trial.arm else 0)
    return 0.5 + 0.1 * deep - 0.02 * on + 0.04 * (deep and on) + luck


def test_a_full_factorial_gives_main_and_pair_effects(tmp_path: Path) -> None:
    found = {e.factors: e for e in effects(confirmed(tmp_path, score, "full"))}
    assert len(found) == 6
    assert found["depth",].mean == pytest.approx(0.12)
    assert found["margin",].mean == pytest.approx(0.0, abs=1e-9)
    assert found["depth", "margin"].mean == pytest.approx(0.02)
    assert found["wide",].mean == pytest.approx(0.0, abs=1e-9)
    assert found["depth",].p is not None
    assert found["wide",].p is not None
    assert found["depth",].p < 0.1 < found["wide",].p
    interval = found["wide",].interval
    assert interval is not None
    assert interval.covers_zero


def test_a_half_fraction_of_few_factors_gives_main_effects_only(tmp_path: Path) -> None:
    found = effects(confirmed(tmp_path, score, "half"))
    assert [e.factors for e in found] == [("depth",), ("wide",), ("margin",)]


def test_designs_that_are_no_factorials_give_none(tmp_path: Path) -> None:
    assert effects(confirmed(tmp_path, score, "leave-one-out")) == ()
