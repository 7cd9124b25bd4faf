"""What searches really had, and where two arms did not have the same of what was promised."""

from __future__ import annotations

from typing import Any

import pytest

from ablate.report.budgets import Matched, Spent, matched_by, spent, unequal
from ablate.report.trials import fold_trials
from tests.report.made_sweep import ARMS, Made
from tests.search.test_decide import Course


def had(arm: str, **other: Any) -> Spent:
    same: dict[str, Any] = {"searches": 1, "states": {"COMPLETE": 9}, "epochs": 90, "hours": 1.0}
    return Spent(arm, **{**same, "closed": {}, "chosen": {}, **other})


def test_trials_epochs_and_choices_are_counted_by_arm() -> None:
    made = Made(arms={**ARMS, "replicates": 2}, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    made.search(failing=("t0001",), closed={"plain": "stopped by the operator"}).confirm()
    found = spent(made.events, fold_trials(made.events).values())
    assert list(found) == ["plain", "deep"]
    plain, deep = found.values()
    assert (plain.searches, plain.states, plain.epochs) == (2, {"COMPLETE": 4}, 12)
    assert (deep.states, deep.useful, deep.epochs) == ({"COMPLETE": 3, "FAILED": 1}, 3, 9)
    assert (plain.chosen, deep.chosen) == ({0: "t0000", 1: "t0002"}, {0: "t0005", 1: "t0003"})
    assert plain.closed == dict.fromkeys((0, 1), ("operator", "stopped by the operator"))
    assert plain.hours > 0


def test_a_search_that_goes_on_was_not_ended_early() -> None:
    course = Course(trials=3, budget={"epochs": 3})
    course.run(0.5)
    course.happens("wanted", slot="a")
    events = [{"time": float(i), **e} for i, e in enumerate(course.events)]
    (closed,) = [e for e in events if e["event"] == "closed"]
    assert spent(events, fold_trials(events).values())["search"].closed == {0: ("epochs", closed["reason"])}
    (asked, *_) = [e for e in events if e["event"] == "asked"]
    more = [*events, {**asked, "trial": "t0009", "time": 99.0}]
    assert spent(more, fold_trials(more).values())["search"].closed == {}


@pytest.mark.parametrize(("budget", "matched"), [
    ({}, "trials"), ({"epochs": 30}, "epochs"), ({"arm_hours": 1.0}, "arm_hours"), ({"hours": 2.0}, "trials"),
])  # fmt: skip
def test_what_the_file_matches(budget: dict[str, float], matched: str) -> None:
    assert matched_by({"search": {"budget": budget}}) == matched


@pytest.mark.parametrize(("matched", "other", "promised", "realised"), [
    ("trials", had("b"), [], []),
    ("trials", had("b", epochs=50), [], ["the searches of a took 90 epochs, those of b 50"]),
    ("trials", had("b", epochs=85, hours=9.0), [], []),
    ("trials", had("b", states={"COMPLETE": 7, "FAILED": 2}),
     ["search trials that ended without failing: 9 of 9 of a, 7 of 9 of b"], []),
    ("epochs", had("b", epochs=50), ["the searches of a took 90 epochs, those of b 50"], []),
    ("epochs", had("b", states={"COMPLETE": 20}), [],
     ["search trials that ended without failing: 9 of 9 of a, 20 of 20 of b"]),
    ("arm_hours", had("b", hours=1.5), ["the searches of a took 1 hours, those of b 1.5"], []),
    ("trials", had("b", closed={0: ("hours", "2 hours were used")}),
     ["a asked for all its trials; b was ended before all its trials: 2 hours were used"], []),
    ("trials", had("b", searches=2, closed={1: ("hours", "2 hours were used")}),
     ["a asked for all its trials; b was ended before all its trials (1 of 2 searches): 2 hours were used"],
     []),
])  # fmt: skip
def test_what_differs_is_said_as_promised_or_as_realised(
    matched: Matched, other: Spent, promised: list[str], realised: list[str]
) -> None:
    assert unequal(had("a"), other, matched) == (promised, realised)


@pytest.mark.parametrize(("one", "other", "said"), [
    (("A100",), ("A100",), None),
    ((), ("A100",), None),
    (("A100",), ("T4",), "those of a are of A100, those of b are of T4"),
    (("A100", "T4"), (), "those of a are of A100 and T4, those of b are of a type unknown"),
])  # fmt: skip
def test_equal_hours_are_equal_on_one_type_of_machine_only(
    one: tuple[str, ...], other: tuple[str, ...], said: str | None
) -> None:
    a, b = had("a", machines=one), had("b", machines=other)
    expected = [] if said is None else [f"hours compare on one type of machine only: {said}"]
    assert unequal(a, b, "arm_hours") == (expected, [])
    assert unequal(a, b, "trials") == ([], []), "only where hours were promised does it matter"


def test_two_that_were_ended_alike_are_equal() -> None:
    ended = {0: ("epochs", "90 epochs were trained")}
    assert unequal(had("a", closed=ended), had("b", closed=ended), "epochs") == ([], [])


def test_hours_are_those_in_slots_and_not_those_between_two_drivers() -> None:
    made = Made()
    made._ask("t0000", 0, "search", "search", {}, made.sweep.base)  # started at 1002
    made.report("t0000", 1, 0.5)
    made._add("resumed", time=90_000.0, fence=2, made_by={}, epochs={"t0000": 1}, changes={})
    made._add("started", time=90_010.0, trial="t0000", slot="s0", fence=2)
    made._add("finished", time=90_014.0, trial="t0000", state="COMPLETE", reason="", epochs=3, metrics={})
    found = spent(made.events, fold_trials(made.events).values())["search"]
    assert found.hours * 3600 == pytest.approx(1 + 4)
