"""Which trials no other beats, which are feasible, and what is missing of a trial's metrics."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ablate.spec.front import feasible, front, missing
from ablate.spec.search import SearchSpec

values = st.integers(0, 4).map(float)
rows = st.lists(
    st.fixed_dictionaries({"probe.h.val": values, "loss": values, "head.zeros": values}), max_size=12
)


def search(**options: Any) -> SearchSpec:
    return SearchSpec.model_validate({"trials": 9, **options})


TWO = search(tradeoffs=[{"metric": "loss", "mode": "min"}])


@given(rows)
def test_a_trial_is_on_the_front_exactly_if_no_other_is_as_good_in_both_and_better_in_one(
    found: list[dict[str, float]],
) -> None:
    trials = {f"t{i}": row for i, row in enumerate(found)}

    def beaten(mine: dict[str, float]) -> bool:
        return any(
            o["probe.h.val"] >= mine["probe.h.val"] and o["loss"] <= mine["loss"]
            and (o["probe.h.val"] > mine["probe.h.val"] or o["loss"] < mine["loss"])
            for o in found
        )  # fmt: skip

    assert front(TWO, trials) == [t for t, row in trials.items() if not beaten(row)]


@given(rows.filter(bool))
def test_of_one_objective_the_front_is_the_best_with_ties(found: list[dict[str, float]]) -> None:
    best = max(row["probe.h.val"] for row in found)
    trials = {f"t{i}": row for i, row in enumerate(found)}
    assert front(search(), trials) == [t for t, row in trials.items() if row["probe.h.val"] == best]


@given(rows, st.integers(0, 4))
def test_only_feasible_trials_are_on_it(found: list[dict[str, float]], bound: int) -> None:
    limited = search(constraints=[{"metric": "head.zeros", "at_most": float(bound)}])
    trials = {f"t{i}": row for i, row in enumerate(found)}
    within = {t: row for t, row in trials.items() if row["head.zeros"] <= bound}
    assert front(limited, trials) == front(search(), within)


def test_what_is_needed_and_what_is_missing() -> None:
    both = search(constraints=[{"metric": "loss", "at_least": 0.5, "at_most": 1.0}])
    assert missing(both, {}) == ["probe.h.val", "loss"]
    assert missing(both, {"probe.h.val": math.nan, "loss": 0.7}) == ["probe.h.val"]
    assert missing(both, {"probe.h.val": 0.2, "loss": 0.7}) == []
    assert [feasible(both, {"loss": x}) for x in (0.5, 1.0, 0.4, 1.1, math.inf)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not feasible(both, {"probe.h.val": 0.2})
    assert front(both, {"a": {"probe.h.val": 0.2}, "b": {"probe.h.val": 0.1, "loss": 0.7}}) == ["b"]
