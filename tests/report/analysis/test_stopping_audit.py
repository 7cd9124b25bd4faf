"""The audit of early stopping on curves whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.analysis.pools import NoAnalysis, Searched
from ablate.report.analysis.stopping_audit import (
    FOLDER,
    ArmAudit,
    Rerun,
    as_json,
    audit,
    auditable,
    from_json,
    pick,
    read_reruns,
    rung_tau,
    wilson,
)
from tests.report.analysis.made_search import Made, search
from tests.search.synthetic import METRIC

RUNGS: dict[str, Any] = {"rungs": (1, 2), "epochs": 4}
DONE = [Made({1: 0.1 * i, 2: 0.2 * i, 4: 0.3 + 0.1 * i}) for i in range(1, 6)]  # end at 0.4 ... 0.8


def stopped(value: float, epoch: int = 1, **more: Any) -> Made:
    return Made(dict.fromkeys(range(1, epoch + 1), value), state="PRUNED", **more)


def rerun(trial: str, curve: Mapping[int, float], state: str = "COMPLETE", **more: float) -> Rerun:
    return Rerun(trial, "0", state, "", {e: {METRIC: v, **more} for e, v in curve.items()}, {})


def only(searched: Searched, *reruns: Rerun) -> ArmAudit:
    [found] = audit(searched, {r.trial: r for r in reruns})
    return found


def test_stopped_trials_are_held_against_the_completed_ones_of_their_search() -> None:
    searched = search([*DONE, *[stopped(0.05)] * 4], **RUNGS)
    ends = {"t0005": 0.35, "t0006": 0.5, "t0007": 0.7, "t0008": 0.9}
    found = only(searched, *[rerun(name, {1: 0.05, 4: end}) for name, end in ends.items()])
    assert {a.trial: a.above for a in found.audited} == {
        "t0005": (),
        "t0006": ("cut-off",),
        "t0007": ("cut-off", "median"),
        "t0008": ("cut-off", "median", "best"),
    }
    assert found.rates is not None
    assert {name: (r.count, r.trials) for name, r in found.rates.items()} == {
        "cut-off": (3, 4), "median": (2, 4), "best": (1, 4),
    }  # fmt: skip
    assert found.regret == pytest.approx(0.1)
    assert (found.stopped, found.completed, found.failed) == (4, 5, ())


def test_equal_to_a_completed_one_is_not_above_it() -> None:
    searched = search([*DONE, stopped(0.05)], **RUNGS)
    assert only(searched, rerun("t0005", {1: 0.05, 4: 0.3 + 0.1 * 3})).audited[0].above == ("cut-off",)


def test_the_median_of_an_even_number_lies_between() -> None:
    searched = search([*DONE[:4], stopped(0.05)], **RUNGS)  # 0.4 ... 0.7
    assert "median" not in only(searched, rerun("t0004", {1: 0.05, 4: 0.54})).audited[0].above
    assert "median" in only(searched, rerun("t0004", {1: 0.05, 4: 0.56})).audited[0].above


def test_smaller_is_better_where_the_objective_says_so() -> None:
    done = [Made({e: -v for e, v in made.curve.items()}) for made in DONE]
    searched = search([*done, stopped(-0.05)], mode="min", **RUNGS)
    found = only(searched, rerun("t0005", {1: -0.05, 4: -0.9}))
    assert (found.audited[0].final, found.audited[0].above) == (-0.9, ("cut-off", "median", "best"))
    assert found.regret == pytest.approx(0.1)


def test_without_a_false_kill_the_regret_is_nothing() -> None:
    searched = search([*DONE, stopped(0.05)], **RUNGS)
    assert only(searched, rerun("t0005", {1: 0.05, 4: 0.1})).regret == 0


def test_a_collapsed_re_run_is_a_right_kill_and_a_failed_one_is_not_counted() -> None:
    searched = search([*DONE, stopped(0.05), stopped(0.06)], **RUNGS)
    found = only(searched, rerun("t0005", {1: 0.05}, "COLLAPSED"), rerun("t0006", {}, "FAILED"))
    assert [(a.trial, a.final, a.above) for a in found.audited] == [("t0005", None, ())]
    assert found.failed == ("t0006",)
    assert found.rates is not None
    assert found.rates["cut-off"].trials == 1
    assert found.regret == 0


def test_every_search_is_judged_by_its_own() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}, "replicates": 2}
    space = {"optim.lr": {"float": [0.01, 1.0], "role": "nuisance"}}
    trials = [
        Made({1: 0.1, 4: end}, arm=arm, replicate=r) for (arm, r), end in
        {("a", 0): 0.9, ("a", 1): 0.2, ("b", 0): 0.1}.items()
    ]  # fmt: skip
    trials += [stopped(0.05, arm="a", replicate=r) for r in (0, 1)] + [stopped(0.05, arm="b", replicate=1)]
    searched = search(trials, arms=arms, space=space, **RUNGS)
    names = ["t0003", "t0004", "t0005"]
    a, b = audit(searched, {n: rerun(n, {1: 0.05, 4: 0.5}) for n in names})
    assert [(x.replicate, x.above) for x in a.audited] == [(0, ()), (1, ("cut-off", "median", "best"))]
    assert (b.rates, b.regret, len(b.audited)) == (None, None, 1)  # nothing completed in its search


def test_a_re_run_that_repeats_the_ledger_is_the_same_but_for_the_clock() -> None:
    made = stopped(0.05, 2, more={"loss": math.nan, "views_per_second": 7.0})
    searched = search([*DONE, made], **RUNGS)
    again = rerun("t0005", {1: 0.05, 2: 0.05, 4: 0.5}, loss=math.nan, views_per_second=8.0)
    [found] = only(searched, again).audited
    assert (found.same, found.differing, found.furthest) == (True, (), 0.0)


@pytest.mark.parametrize(
    ("curve", "loss", "differing", "furthest"),
    [
        ({1: 0.05, 2: 0.07, 4: 0.5}, 2.0, (METRIC,), 0.02),
        ({1: 0.05, 2: 0.05, 4: 0.5}, 2.0 + 1e-15, ("loss",), 0.0),
        ({1: 0.05, 4: 0.5}, 2.0, ("loss", METRIC), 0.0),
    ],
)
def test_a_difference_is_named(
    curve: dict[int, float], loss: float, differing: tuple[str, ...], furthest: float
) -> None:
    searched = search([*DONE, stopped(0.05, 2, more={"loss": 2.0})], **RUNGS)
    [found] = only(searched, rerun("t0005", curve, loss=loss)).audited
    assert (found.same, found.differing) == (False, differing)
    assert found.furthest == pytest.approx(furthest)


def test_tau_counts_the_audited_beside_the_completed() -> None:
    searched = search([*DONE, stopped(0.45), stopped(0.01)], **RUNGS)
    alone = only(searched)
    assert [(t.rung, t.trials, t.audited, t.tau) for t in alone.taus] == [
        (1, 5, 0, pytest.approx(1)),
        (2, 5, 0, pytest.approx(1)),
    ]
    both = only(searched, rerun("t0005", {1: 0.45, 4: 0.1}), rerun("t0006", {1: 0.01, 4: 0.9}))
    # At 1 the two are second best and worst; at the end worst and best: of 21 pairs 10 agree in order.
    [at_one] = [t for t in both.taus if t.rung == 1]
    assert (at_one.trials, at_one.audited) == (7, 2)
    assert at_one.tau == pytest.approx((11 - 10) / 21)
    assert [t.trials for t in both.taus if t.rung == 2] == [5]  # the re-runs measured nothing there


@given(
    pairs=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=40),
)
def test_the_interval_of_tau_holds_it_and_stays_within_its_limits(pairs: list[tuple[float, float]]) -> None:
    found = rung_tau(1, pairs, 0)
    if found is None:
        assert any(len({pair[i] for pair in pairs}) == 1 for i in (0, 1))
    elif len(pairs) < 6:
        assert found.low is None
    else:
        assert found.low is not None
        assert found.high is not None
        assert -1 <= found.low <= found.tau <= found.high <= 1
        assert found.low < found.high


def test_two_pairs_have_no_tau() -> None:
    assert rung_tau(1, [(0.1, 0.2), (0.2, 0.3)], 0) is None


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    [(0, 3, 0.0, 0.5615), (3, 3, 0.4385, 1.0), (1, 10, 0.0179, 0.4042), (0, 10, 0.0, 0.2775)],
)
def test_wilson_has_the_published_limits(count: int, trials: int, low: float, high: float) -> None:
    rate = wilson(count, trials)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


def test_picks_are_spread_over_rungs_seeded_and_grow() -> None:
    many = [stopped(0.1) for _ in range(20)] + [stopped(0.1, 2) for _ in range(3)]
    searched = search([*DONE, *many], **RUNGS)
    four = pick(searched, 4, seed=0)
    assert sorted(t.stopped or 0 for t in four) == [1, 1, 2, 2]
    assert pick(searched, 3, seed=0) == four[:3]
    assert pick(searched, 4, seed=0) == four
    assert any(pick(searched, 4, seed=s) != four for s in range(1, 6))
    assert len(pick(searched, 100, seed=0)) == 23


def test_every_arm_has_its_own_picks() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}}
    space = {"optim.lr": {"float": [0.01, 1.0], "role": "nuisance"}}
    trials = [stopped(0.1, arm=arm) for arm in "aaabbb"]
    picked = pick(search(trials, arms=arms, space=space, **RUNGS), 2, seed=0)
    assert [t.arm for t in picked] == ["a", "a", "b", "b"]


def test_only_trials_that_the_rule_stopped_from_their_own_beginning_can_be_audited() -> None:
    made = [
        *DONE,
        stopped(0.1),
        stopped(0.1, by_rule=False),
        stopped(0.1, duplicate_of="t0005"),
        stopped(0.1, parent="t0000"),
    ]
    assert [t.trial for t in auditable(search(made, **RUNGS).of("search"))] == ["t0005"]


@given(
    curve=st.dictionaries(
        st.integers(0, 50), st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False)), max_size=5
    ),
    reason=st.text(max_size=10),
)
def test_a_re_run_survives_its_file_exactly(curve: dict[int, dict[str, float]], reason: str) -> None:
    kept = Rerun("t0001", "abc", "FAILED", reason, curve, {"threads": 1})
    assert from_json(as_json(kept)) == kept


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trial": "t0001"}', '{"trial": "t", "curve": 3}'])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "t0001.json").write_text(text)
    with pytest.raises(NoAnalysis, match=r"t0001\.json: not the record .* delete it and run ablate audit"):
        read_reruns(tmp_path)


def test_a_sweep_that_was_never_audited_has_no_re_runs(tmp_path: Path) -> None:
    assert read_reruns(tmp_path) == {}


def test_what_violates_a_constraint_would_not_have_been_chosen() -> None:
    bound = [{"metric": "spread.z", "at_least": 0.5}]
    done = [
        Made({1: 0.1, 4: 0.5}, more={"spread.z": 0.9}),
        Made({1: 0.1, 4: 0.8}, more={"spread.z": 0.1}),  # the best, but infeasible
    ]
    trials = [*done, *[stopped(0.05, more={"spread.z": 0.9})] * 2]
    searched = search(trials, constraints=bound, **RUNGS)
    found = only(
        searched,
        rerun("t0002", {1: 0.05, 4: 0.9}, **{"spread.z": 0.1}),
        rerun("t0003", {1: 0.05, 4: 0.6}, **{"spread.z": 0.9}),
    )
    assert {a.trial: a.above for a in found.audited} == {
        "t0002": (), "t0003": ("cut-off", "median", "best"),
    }  # fmt: skip
    assert found.regret == pytest.approx(0.1)
    assert found.audited[0].final == 0.9
