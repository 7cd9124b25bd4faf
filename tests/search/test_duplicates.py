"""A configuration that the search comes upon again is not paid for twice."""

from __future__ import annotations

from typing import Any

from ablate.search import replay
from tests.search.synthetic import METRIC
from tests.search.test_decide import Course, names

TWO: dict[str, Any] = {"optim.lr": {"choice": [0.1, 0.2]}}
ONE: dict[str, Any] = {"optim.lr": {"choice": [0.1]}}


def course(**options: Any) -> Course:
    """The first two trials of ``TWO`` differ."""
    points = [{"optim.lr": 0.1}, {"optim.lr": 0.2}] if "space" not in options else []
    return Course(**{"space": TWO, "sampler": {"kind": "random"}, "points": points, **options})


def by_lr(course: Course) -> dict[float, list[str]]:
    found: dict[float, list[str]] = {0.1: [], 0.2: []}
    for asked in course.decided("asked"):
        found[asked["params"]["optim.lr"]].append(asked["trial"])
    return found


def test_each_configuration_is_run_once_and_the_others_share_its_result() -> None:
    sweep = course(trials=12)
    sweep.run_all(0.5)
    started = [e["trial"] for e in sweep.decided("started")]
    assert started == sorted(trials[0] for trials in by_lr(sweep).values())
    results = {e["trial"]: e for e in sweep.decided("finished")}
    assert len(results) == 12
    for original, *copies in by_lr(sweep).values():
        for copy in copies:
            asked = sweep.state.trials[copy]
            assert asked.duplicate_of == original
            assert results[copy] == results[original] | {
                "trial": copy, "reason": f"same configuration as {original}, not run again",
            }  # fmt: skip
            told = sweep.only.study.optuna.trials[asked.number]
            assert told.values == [0.5]


def test_a_duplicate_of_a_running_trial_waits_for_it_and_costs_no_slot() -> None:
    sweep = course(trials=12)
    first = sweep.start("a")
    second = sweep.start("b")
    assert {first.spec_hash, second.spec_hash} == {t.spec_hash for t in sweep.state.trials.values()}
    sweep.happens("wanted", slot="c")
    asked = len(sweep.state.trials)
    assert asked < 12, "no more is asked while as many wait as run"
    assert sweep.happens("wanted", slot="c") == []
    ended = sweep.end(first.id, **{METRIC: 0.5})
    copies = [t.id for t in sweep.state.trials.values() if t.duplicate_of == first.id]
    assert [e["trial"] for e in ended if e["event"] == "finished"] == [first.id, *copies]


def test_a_pruned_trials_copy_is_pruned_with_its_curve() -> None:
    sweep = course(trials=12, rungs=(1,), epochs=3)
    good = sweep.start("a")
    bad = sweep.start("b")
    sweep.report(good.id, 1, 0.9)
    assert sweep.report(bad.id, 1, 0.1)[:2] == ["stopped", "finished"]
    sweep.end(good.id, **{METRIC: 0.9})
    sweep.run_all(0.5)
    copies = [t for t in sweep.state.trials.values() if t.duplicate_of == bad.id]
    assert copies
    for copy in copies:
        assert (copy.state, copy.epochs, copy.metrics) == ("PRUNED", 1, {METRIC: 0.1})
        assert sweep.only.study.optuna.trials[copy.number].intermediate_values == {1: 0.1}


def test_if_the_first_fails_its_first_copy_is_run_and_the_others_wait_for_that() -> None:
    sweep = course(trials=12, space=ONE)
    first = sweep.start("a")
    sweep.happens("wanted", slot="b")
    assert names(sweep.happens("wanted", slot="b")) == []
    copies = list(sweep.state.trials.values())[1:]
    assert all(t.duplicate_of == first.id for t in copies)
    sweep.end(first.id, "FAILED")
    second = sweep.start("b")
    assert (second.id, second.duplicate_of) == (copies[0].id, None)
    sweep.end(second.id, **{METRIC: 0.5})
    sweep.run_all(0.5)
    assert sweep.state.states() == {"FAILED": 1, "COMPLETE": 11}
    assert [e["trial"] for e in sweep.decided("started")] == [first.id, second.id]


def test_copies_of_a_trial_that_its_operator_stops_are_stopped_with_it_and_one_of_them_alone_can_be() -> None:
    sweep = course(trials=4, space=ONE)
    first = sweep.start("a")
    sweep.happens("wanted", slot="b")
    copy = sweep.decided("asked")[1]["trial"]
    sweep.happens("cancelled", trial=copy, reason="stopped by the operator")
    assert sweep.state.trials[copy].state == "PRUNED"
    assert first.state is None
    sweep.happens("wanted", slot="b")
    sweep.happens("cancelled", trial=first.id, reason="stopped by the operator")
    assert sweep.state.states() == {"PRUNED": 3}


def test_waiting_copies_survive_a_new_driver() -> None:
    sweep = course(trials=2, space=ONE)
    sweep.start("a")
    sweep.happens("wanted", slot="b")
    sweep.resume()
    assert sweep.start("c").id == "t0000"
    assert sweep.happens("wanted", slot="b") == []
    sweep.end("t0000", **{METRIC: 0.5})
    assert sweep.state.states() == {"COMPLETE": 2}
    assert sweep.state.ended
    events = [{"sequence": i, **e} for i, e in enumerate(sweep.events)]
    assert replay(events).trials == sweep.state.trials


def test_members_of_a_population_are_all_run() -> None:
    pbt = {"kind": "pbt", "every": 1, "mutate": ["optim.lr"]}
    sweep = course(trials=4, space=ONE, scheduler=pbt)
    assert len({sweep.start(slot).id for slot in "abcd"}) == 4
