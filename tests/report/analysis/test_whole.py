"""The whole analysis: its words, its JSON, and that equal ledgers give equal bytes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from ablate.report.analysis.document import markdown, sections, show
from ablate.report.analysis.pools import NoAnalysis
from ablate.report.analysis.stopping_audit import Rerun
from ablate.report.analysis.whole import Analysis, analyse
from tests.report.analysis.made_search import Made, drawn, made_events, sweep_of
from tests.search.synthetic import METRIC

ARMS = {"baseline": "plain", "each": {"plain": {}, "deep": {"head.depth": 3}}}
SPACE: dict[str, Any] = {
    "optim.lr": {"float": [0.01, 1.0], "log": True, "role": "nuisance"},
    "loss.temperature": {"float": [0.05, 1.0], "role": "nuisance"},
}
TITLES = [
    "Best so far against budget", "Expected best of k random trials", "Importance of parameters",
    "Ends of ranges", "Relation of parameters with the objective", "Change to make", "Early stopping",
]  # fmt: skip


def of_arms(**options: Any) -> Analysis:
    sweep = sweep_of(space=SPACE, arms=ARMS, **options)
    trials = drawn(sweep, lambda p: p["optim.lr"], 30, arm="plain")
    trials += drawn(sweep, lambda p: p["optim.lr"] + 0.1, 30, arm="deep")
    return analyse(made_events(sweep, trials), {})


def stopped_early(reruns: dict[str, Rerun]) -> Analysis:
    sweep = sweep_of(rungs=(1,), epochs=2)
    trials = drawn(sweep, lambda p: p["optim.lr"], 10, epochs=2)
    trials += [Made({1: 0.0}, {"optim.lr": 0.02}, state="PRUNED")] * 5
    return analyse(made_events(sweep, trials), reruns)


def text_of(analysis: Analysis) -> str:
    printed = io.StringIO()
    show(analysis, Console(file=printed, width=200))
    return printed.getvalue()


def test_every_section_is_printed_and_written_in_order() -> None:
    found = of_arms()
    assert [s.title for s in sections(found)] == TITLES
    printed, written = text_of(found), markdown(found)
    for title in TITLES:
        assert title in printed
        assert f"## {title}" in written
    places = [written.index(f"## {title}") for title in TITLES]
    assert places == sorted(places)


def test_what_was_found_is_there_to_be_read() -> None:
    written = markdown(of_arms())
    assert "plain: 30 complete." in written
    assert "| deep | plain | 4 | +0.1000 [+0.1000, +0.1000] |" in written
    assert "optim.lr: {float: [0.01, 10.0], log: true, role: nuisance}" in written
    assert "No trial could be stopped early" in written
    assert "on validation, and no result" in written


def test_equal_ledgers_give_equal_bytes_and_json_is_strict() -> None:
    first, second = of_arms(), of_arms()
    assert markdown(first) == markdown(second)
    tree = json.dumps(first.as_dict(), sort_keys=True, allow_nan=False)
    assert tree == json.dumps(second.as_dict(), sort_keys=True, allow_nan=False)
    assert json.loads(tree)["expected"]["differences"][0]["arm"] == "deep"


def test_an_early_stopping_nobody_audited_says_how_to() -> None:
    written = markdown(stopped_early({}))
    assert "none of 5 stopped trials was run to its end; `ablate audit s` does" in written
    assert "without audited ones tau is too small" in written


def test_an_audit_is_shown_with_its_differences() -> None:
    curve = {1: {METRIC: 0.0}, 2: {METRIC: 5.0}}
    same = Rerun("t0010", "0", "COMPLETE", "", curve, {})
    other = Rerun("t0011", "0", "COMPLETE", "", {**curve, 1: {METRIC: 0.25}}, {})
    written = markdown(stopped_early({"t0010": same}))
    assert "| search | 1 of 5 | 1/1 [21%, 100%] | 1/1 [21%, 100%] | 1/1 [21%, 100%] |" in written
    assert "all re-runs repeat the ledger's numbers bit for bit" in written
    written = markdown(stopped_early({"t0010": same, "t0011": other}))
    assert "1 of 2 re-runs did not repeat the ledger's numbers" in written
    assert "objective off by up to 0.25" in written
    assert "bit for bit" not in written


def test_a_sweep_under_way_is_said_to_be() -> None:
    sweep = sweep_of()
    events = made_events(sweep, drawn(sweep, lambda p: p["optim.lr"], 3))
    assert "has not ended" in markdown(analyse(events[:-1], {}))
    assert "has not ended" not in markdown(analyse(events, {}))


def test_further_objectives_are_named_and_left_out() -> None:
    sweep = sweep_of(tradeoffs=[{"metric": "loss", "mode": "min"}])
    trials = [Made({1: 0.1 * i}, {"optim.lr": 0.1}, more={"loss": 2.0}) for i in range(3)]
    assert "only the first is looked at, not loss" in markdown(analyse(made_events(sweep, trials), {}))


def test_one_completed_trial_is_enough_to_begin_with_and_the_rest_says_what_it_needs() -> None:
    sweep = sweep_of()
    written = markdown(analyse(made_events(sweep, drawn(sweep, lambda _: 0.5, 1)), {}))
    assert "| search | 1 trials | 0.500 [0.500, 0.500] |" in written
    assert "needs 8 completed random trials, has 1" in written
    assert "needs 12 trials, has 1" in written


@pytest.mark.parametrize("state", ["FAILED", "COLLAPSED", "PRUNED"])
def test_without_a_completed_trial_there_is_nothing_to_analyse(state: str) -> None:
    sweep = sweep_of(rungs=(1,))
    trials = [Made({1: 0.5}, {"optim.lr": 0.1}, state=state)] * 20
    with pytest.raises(NoAnalysis, match=rf"no search trial was completed .*20 {state.lower()}.* needs 1 "):
        analyse(made_events(sweep, trials), {})
