"""Relations: seen where they are, bounded where they are not seen, dead only with enough trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.analysis.dead import (
    MOST_DEAD,
    Relation,
    Relations,
    group_labels,
    normal_scores,
    relations,
    upper_bound,
)
from ablate.report.analysis.pools import read_search
from ablate.spec.space import Choice, FloatRange, IntRange
from tests.report.analysis.made_search import Made, drawn, made_events, search, sweep_of

SPACE: dict[str, Any] = {
    "optim.lr": {"float": [0.01, 1.0], "log": True},
    "head.norm": {"choice": ["none", "batch"]},
    "loss.temperature": {"float": [0.05, 1.0]},
}


def peak(params: Mapping[str, Any]) -> float:
    """A peak inside the range of the learning rate, and nothing else."""
    return -((math.log10(params["optim.lr"]) + 1) ** 2)


def noisy(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda p: peak(p) + 0.05 * rng.normal()


def found_in(count: int, score: Any = None, **options: Any) -> Relations:
    sweep = sweep_of(**{"space": SPACE, **options})
    return relations(read_search(made_events(sweep, drawn(sweep, score or noisy(0), count, seed=3))))


def word(found: Relations) -> dict[str, str]:
    return {r.key: r.word for r in found.found}


def test_with_many_trials_dead_parameters_are_dead_and_a_peak_is_a_relation() -> None:
    found = found_in(300)
    assert word(found) == {"optim.lr": "related", "head.norm": "dead", "loss.temperature": "dead"}
    related, *dead = found.found
    assert related.bound is None
    assert related.explained > 0.3
    assert all(r.explained < r.bound < MOST_DEAD for r in dead if r.bound is not None)


def test_with_few_trials_nothing_is_dead_and_the_bound_says_what_may_be_missed() -> None:
    found = found_in(24)
    assert word(found) == {"optim.lr": "related", "head.norm": "unseen", "loss.temperature": "unseen"}
    assert all(r.bound > 0.1 for r in found.found if r.bound is not None)


@pytest.mark.parametrize(("groups", "fewest"), [(2, 64), (4, 78)])
def test_so_many_trials_are_needed_before_anything_can_be_dead(groups: int, fewest: int) -> None:
    assert upper_bound(0.0, groups, fewest - 1) >= MOST_DEAD > upper_bound(0.0, groups, fewest)


def test_fewer_than_twelve_are_refused() -> None:
    found = found_in(11)
    assert found.found == ()
    assert found.refused[0] == "search, optim.lr: needs 12 trials in two groups, has 11"


def test_an_objective_that_never_varies_depends_on_nothing() -> None:
    found = found_in(150, lambda _: 0.5)
    assert set(word(found).values()) == {"dead"}
    assert all((r.explained, r.p) == (0, 1) for r in found.found)


def test_without_a_relation_the_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    found = [
        relations(
            search([Made({1: rng.normal()}, {"optim.lr": 10 ** rng.uniform(-2, 0)}) for _ in range(30)])
        )
        for _ in range(200)
    ]
    assert np.mean([f.found[0].word == "related" for f in found]) <= 0.09


def test_the_bound_holds_the_true_share_at_least_95_times_in_100() -> None:
    """Groups whose means differ by known amounts, so that the share of the variation is known."""
    rng, held, runs = np.random.default_rng(0), 0, 300
    means = np.repeat([-1.0, 0.0, 0.0, 1.0], 20) * 0.35
    share = means.var() / (means.var() + 1)
    for _ in range(runs):
        scores = means + rng.normal(size=80)
        grand, groups = scores.mean(), scores.reshape(4, 20)
        between = 20 * ((groups.mean(1) - grand) ** 2).sum()
        f = (between / 3) / ((((scores - grand) ** 2).sum() - between) / 76)
        held += upper_bound(min(f, 2.7), 4, 80) >= share or f > 2.7  # above it is significant: no bound
    assert held / runs >= 0.93


@given(f=st.floats(0, 2.5), more=st.floats(0, 0.2), groups=st.integers(2, 6), trials=st.integers(12, 400))
def test_the_bound_is_a_share_and_grows_with_the_statistic(
    f: float, more: float, groups: int, trials: int
) -> None:
    bound = upper_bound(f, groups, trials)
    assert 0 < bound < 1
    assert upper_bound(f + more, groups, trials) >= bound - 1e-6
    assert upper_bound(f, groups, 2 * trials) < bound


def of_stopped(late: bool) -> list[Relation]:
    """Temperature decides at the first rung (or only later), and only the better half goes on."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(200):
        params = {"optim.lr": 0.1, "head.norm": "none", "loss.temperature": 0.05 + 0.95 * i / 199}
        first = rng.normal() * 0.1 + (0.0 if late else params["loss.temperature"])
        goes_on = first > (0.0 if late else 0.5)
        last = rng.normal() * 0.1 + (params["loss.temperature"] if late else 0.0)
        made.append(
            Made(
                {1: first, 2: last} if goes_on else {1: first},
                params,
                state="COMPLETE" if goes_on else "PRUNED",
            )
        )
    sweep = sweep_of(space=SPACE, rungs=(1,), epochs=2)
    return list(relations(read_search(made_events(sweep, made))).found)


def test_early_stopping_is_looked_at_where_all_trials_still_ran() -> None:
    """Among the completed trials alone the relation would be gone."""
    [found] = [r for r in of_stopped(late=False) if r.key == "loss.temperature"]
    assert (found.at, found.trials, found.word) == ("epoch 1", 200, "related")
    assert found.p < 1e-6 < (found.p_at_end or 0)


def test_what_acts_only_later_is_not_dead() -> None:
    [found] = [r for r in of_stopped(late=True) if r.key == "loss.temperature"]
    assert found.p > 0.05 > (found.p_at_end or 1)
    assert (found.word, found.bound) == ("related", None)


def test_collapse_is_a_result_and_failure_is_not() -> None:
    """Half of the trials collapse, those of large learning rates; the others are all alike."""
    made = [
        Made({1: 0.5} if i < 15 else {}, {"optim.lr": 0.01 + 0.03 * i}, "COMPLETE" if i < 15 else "COLLAPSED")
        for i in range(30)
    ]
    [found] = relations(search(made)).found
    assert (found.word, found.trials) == ("related", 30)
    failed = [Made(m.curve, m.params, "FAILED" if m.state == "COLLAPSED" else m.state) for m in made]
    assert relations(search(failed)).found[0].trials == 15


def test_groups_are_values_of_a_choice_and_quarters_of_a_range() -> None:
    choice = Choice(choice=(True, 1, "a", None))
    assert group_labels(choice, [1, True, None, "a"]).tolist() == [1, 0, 3, 2]
    assert group_labels(IntRange(int=(1, 3)), [3, 1, 2, 3]).tolist() == [2, 0, 1, 2]
    labels = group_labels(FloatRange(float=(0.0, 1.0)), np.linspace(0, 1, 40).tolist())
    assert np.bincount(labels).tolist() == [10, 10, 10, 10]


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=50))
def test_normal_scores_depend_on_ranks_only_and_are_symmetric(values: list[float]) -> None:
    scores = normal_scores(values)
    assert np.allclose(scores, -normal_scores([-v for v in values]))
    order = np.argsort(values, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()


def test_a_sampler_that_learns_is_told() -> None:
    assert all(r.even for r in found_in(30).found)
    assert not any(r.even for r in found_in(30, sampler="tpe").found)


@pytest.mark.parametrize("count", [30, 60])
def test_equal_ledgers_give_equal_relations(count: int) -> None:
    assert found_in(count) == found_in(count, noisy(0))


def test_a_trial_that_was_ended_before_its_first_report_hides_nothing() -> None:
    sweep = sweep_of(space=SPACE)
    trials = drawn(sweep, noisy(0), 24, seed=3)
    ended = Made({}, trials[0].params, state="PRUNED", by_rule=False)
    assert relations(read_search(made_events(sweep, [*trials, ended]))) == found_in(24)
