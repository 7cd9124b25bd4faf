"""A ledger determines its decisions: replaying gives them again, whatever happened, and shows any change."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.ledger import DECISIONS, EXTERNAL, plain
from ablate.search import InvalidEvent, ReplayMismatch, decide, refold, replay
from ablate.spec.identity import spec_hash
from ablate.spec.trial import TrialSpec
from tests.search.synthetic import BRANCHES, METRIC, SEEDS
from tests.search.test_decide import Course

SLOTS = ("a", "b", "c")
FEW: dict[str, Any] = {"optim.lr": {"choice": [0.1, 0.2, 0.3]}}
PROMOTION: dict[str, Any] = {"kind": "asha", "rungs": [1, 2], "variant": "promotion"}
PATIENT: dict[str, Any] = {**PROMOTION, "variant": "patient"}
SWEEPS: dict[str, dict[str, Any]] = {
    "asha": {"rungs": (1, 2), "space": BRANCHES, "confirm": SEEDS},
    "hyperband": {"scheduler": {"kind": "hyperband", "rungs": [1, 2], "brackets": 3}},
    "median": {"scheduler": {"kind": "median", "others": 2}, "budget": {"epochs": 12}},
    "pbt": {
        "scheduler": {"kind": "pbt", "every": 1, "mutate": ["optim.lr"]},
        "resources": {"keep": ["best"]},
    },
    "promotion": {"scheduler": PROMOTION, "budget": {"epochs": 14}, "confirm": SEEDS},
    "promotion of duplicates": {"scheduler": {**PROMOTION, "reduction": 3}, "space": FEW},
    "patient": {"scheduler": PATIENT, "confirm": SEEDS},
    "patient with duplicates": {"scheduler": {**PATIENT, "reduction": 3}, "space": FEW},
    "duplicates": {"rungs": (1, 2), "space": FEW, "confirm": {**SEEDS, "controls": []}},
}


def history(choices: list[tuple[str, int]], kind: str = "asha") -> list[dict[str, Any]]:
    """What may happen in a sweep over three slots, driven by arbitrary choices; as read from a ledger."""
    course = Course(**{"trials": 6, "epochs": 3, **SWEEPS[kind]})
    for slot, what in choices:
        if what >= 8:
            operate(course, what)
        elif slot in course.state.slots:
            go_on(course, course.state.slots[slot], what)
        elif course.state.ended is None and what == 7:
            gone = slot == "c"  # all checkpoints
            course.resume(**{t.id: 0 if gone else t.paused or t.inherited for t in course.state.unfinished()})
        else:
            in_vain = len(course.events)
            if not course.happens("wanted", slot=slot):
                del course.events[in_vain:]
    return [{"sequence": i, "time": 0.0, **plain(e)} for i, e in enumerate(course.events)]


def go_on(course: Course, trial: str, what: int) -> None:
    """The slot of ``trial`` says something."""
    known = course.state.trials[trial]
    epoch = known.epochs + 1
    if known.pausing:
        course.save(trial, known.epochs)
    elif epoch <= known.last_epoch and what < 6:
        course.report(trial, epoch, what / 7 + epoch / 10)
    elif what == 6:
        course.end(trial, "COLLAPSED")
    elif what == 7:
        course.happens("abandoned", trial=trial, reason="gone", epoch=known.inherited)
    elif what == 5:
        course.end(trial, "FAILED")
    else:
        course.end(trial, **{METRIC: what / 7})


def operate(course: Course, what: int) -> None:
    """An operator stops a trial, has one run again, or (rarely) ends the search."""
    state = course.state
    failed = [t.id for t in state.trials.values() if t.state == "FAILED" and t.spec]
    if what == 8 and (living := state.unfinished()):
        course.happens("cancelled", trial=living[-1].id, reason="stopped by the operator")
    elif what == 9 and failed:
        course.happens("retried", trial=failed[0], epoch=state.trials[failed[0]].inherited)
    elif what == 10 and len(course.events) > 40 and state.ended is None:
        course.happens("halted", by="operator", reason="enough", running="stop", confirm=True)


WHAT = [*range(6), *range(6), *range(6), 6, 7, 8, 9, 9, 10]
choices = st.lists(st.tuples(st.sampled_from(SLOTS), st.sampled_from(WHAT)), max_size=80)
kinds = st.sampled_from(sorted(SWEEPS))


@settings(max_examples=80, deadline=None)
@given(choices, kinds)
def test_any_history_replays_to_the_same_decisions(course: list[tuple[str, int]], kind: str) -> None:
    events = history(course, kind)
    state = replay(events)
    resumed, _ = refold(events)
    assert resumed.trials == state.trials
    assert resumed.searches["search", 0].recorded == {}
    studies = (found.searches["search", 0].study.optuna for found in (resumed, state))
    known, live = ([(t.params, t.state, t.intermediate_values) for t in study.trials] for study in studies)
    assert known == live
    finished: dict[str, str] = {}
    for event in events:
        if event["event"] == "finished":
            assert event["trial"] not in finished
            finished[event["trial"]] = event["state"]
        elif event["event"] == "retried":
            del finished[event["trial"]]
    assert {t.id: t.state for t in state.trials.values() if t.state} == finished
    assert [t.id for t in state.trials.values()] == [e["trial"] for e in events if e["event"] == "asked"]


@settings(max_examples=25, deadline=None)
@given(choices, kinds)
def test_whatever_happened_a_sweep_comes_to_its_end(course: list[tuple[str, int]], kind: str) -> None:
    """No trial is ever left that nobody will run, and nothing is run twice at a time."""
    state, _ = refold(history(course, kind))
    rest = Course(**{"trials": 6, "epochs": 3, **SWEEPS[kind]})
    rest.state = state
    rest.resume(**{t.id: t.inherited for t in state.unfinished()})
    for _ in range(400):
        for slot in SLOTS:
            if slot in state.slots:
                go_on(rest, state.slots[slot], 3)
            else:
                rest.happens("wanted", slot=slot)
        if state.ended:
            break
    assert state.ended
    assert state.unfinished() == []
    assert not state.waiting
    assert not state.slots


@settings(max_examples=25, deadline=None)
@given(choices, st.floats(0, 1, exclude_max=True), kinds)
def test_a_batch_cut_short_leaves_exactly_its_missing_decisions_due(
    course: list[tuple[str, int]], where: float, kind: str
) -> None:
    events = history(course, kind)
    kept = 1 + int(where * len(events))
    _, due = refold(events[:kept])
    missing = []
    for event in events[kept:]:
        if event["event"] in EXTERNAL:
            break
        missing.append(event)
    assert [plain(d) for d in due] == [
        {k: v for k, v in m.items() if k not in ("sequence", "time")} for m in missing
    ]


RUN = [("a", 0), ("b", 0), ("a", 3), ("b", 1), ("b", 0), ("b", 5), ("a", 5), ("a", 5), ("a", 5)]


def test_a_changed_missing_or_added_decision_is_named_with_both_versions() -> None:
    events = history(RUN)
    assert {e["event"] for e in events} >= {"asked", "started", "stopped", "finished"}
    for place, event in enumerate(events):
        if event["event"] not in DECISIONS:
            continue
        changed = [*events[:place], {**event, "trial": "t0042"}, *events[place + 1 :]]
        with pytest.raises(ReplayMismatch, match=f"record {place}: .*t0042.* lead to .*{event['trial']}"):
            replay(changed)
        added = [*events[: place + 1], {**event, "sequence": place + 1}, *events[place + 1 :]]
        with pytest.raises(ReplayMismatch, match=f"record {place + 1}: "):
            replay(added)
        if place + 1 < len(events):
            with pytest.raises(ReplayMismatch, match=f"record {place + 1}: "):
                replay([*events[:place], *events[place + 1 :]])


def test_a_changed_result_is_found_by_the_decisions_that_followed_from_it() -> None:
    events = history(RUN)
    place = next(i for i, e in enumerate(events) if e["event"] == "stopped") - 1
    events[place]["metrics"][METRIC] = 5.0
    with pytest.raises(ReplayMismatch, match=f"record {place + 1}: the ledger says .*stopped"):
        replay(events)


def test_what_was_drawn_on_another_processor_can_be_gone_on_from_though_not_replayed() -> None:
    """Without AVX2, TPE's parameters differ from those with it by some 1e-16."""
    course = Course(trials=8, space=BRANCHES)
    for number in range(5):
        course.run(number / 10)
    last = course.decided("asked")[-1]
    lr = math.nextafter(last["params"]["optim.lr"], 1.0)
    spec = TrialSpec.model_validate(last["spec"])
    spec = spec.model_copy(update={"optim": spec.optim.model_copy(update={"lr": lr})})
    last["params"] = last["params"] | {"optim.lr": lr}
    last |= {"spec": spec.as_dict(), "spec_hash": spec_hash(spec)}
    events = [{"sequence": i, "time": 0.0, **plain(e)} for i, e in enumerate(course.events)]
    with pytest.raises(ReplayMismatch, match="another processor"):
        replay(events)
    state, due = refold(events)
    assert due == []
    assert state.searches["search", 0].recorded == {}
    assert (
        state.searches["search", 0].study.optuna.trials[4].params
        == state.trials["t0004"].params
        == last["params"]
    )
    assert decide(state, {"event": "wanted", "slot": "a"})[0]["trial"] == "t0005"


def test_parameters_that_the_space_does_not_allow_stop_a_resume_too() -> None:
    events = history(RUN)
    asked = next(e for e in events if e["event"] == "asked")
    asked["params"]["optim.lr"] = 5.0
    with pytest.warns(UserWarning, match="Fixed parameter"), pytest.raises(ReplayMismatch, match=r"5\.0"):
        refold(events)


def test_an_impossible_event_is_named() -> None:
    events = history(RUN)
    place = next(i for i, e in enumerate(events) if e["event"] == "reported")
    events[place]["trial"] = "t0099"
    with pytest.raises(InvalidEvent, match=f"record {place}: reported: no slot is running t0099"):
        replay(events)
