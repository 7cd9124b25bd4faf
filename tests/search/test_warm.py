"""What a sweep takes over from earlier ones, why it leaves the rest out, and that all of it is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger, plain
from ablate.search import begin
from ablate.search.warm import WarmStartError, read_warm
from ablate.spec.sweep import SweepSpec
from tests.search.synthetic import LR, METRIC, sweep
from tests.search.test_decide import Course

CODE = "c0de"
DEPTH: dict[str, Any] = {**LR, "head.depth": {"int": [1, 3]}}


def earlier(folder: Path, **options: Any) -> Path:
    """A sweep of four trials at known points: complete, stopped, collapsed, failed."""
    points = [{"optim.lr": lr, "head.depth": 2} for lr in (0.1, 0.2, 0.4, 0.8)]
    course = Course(
        **{"trials": 4, "rungs": (1,), "space": DEPTH, "points": points, "name": "old", **options}
    )
    first = course.start()
    for epoch in (1, 2, 3):
        course.report(first.id, epoch, 0.5)
    course.end(first.id, **{METRIC: 0.5, "loss": 2.0})
    second = course.start()
    assert "stopped" in course.report(second.id, 1, 0.3)
    for state in ("COLLAPSED", "FAILED"):
        course.end(course.start().id, state)
    course.events[0]["made_by"] = {"code": CODE}
    ledger = Ledger.open(folder / "ledger.jsonl")
    ledger.extend(course.events)
    ledger.close()
    return folder


def later(*folders: Path, **options: Any) -> SweepSpec:
    return sweep(**{"space": DEPTH, "warm_start": [str(f) for f in folders], **options})


def test_each_finished_trial_is_taken_with_what_it_came_to(tmp_path: Path) -> None:
    warm = read_warm(later(earlier(tmp_path / "old")), CODE)
    at = [{"optim.lr": lr, "head.depth": 2} for lr in (0.1, 0.2, 0.4)]
    assert warm.trials == [
        {"params": at[0], "state": "COMPLETE", "metrics": {METRIC: 0.5}, "from": "old/t0000"},
        {"params": at[1], "state": "PRUNED", "curve": {1: {METRIC: 0.3}}, "from": "old/t0001"},
        {"params": at[2], "state": "COLLAPSED", "from": "old/t0002"},
    ]
    assert warm.notes == [f"{tmp_path / 'old'}: the sampler knows 3 of its 4 trials (1 left out: FAILED)"]


def test_the_opening_says_all_that_the_sampler_is_told(tmp_path: Path) -> None:
    spec = later(earlier(tmp_path / "old"))
    opened = plain(
        {"event": "opened", "sweep": spec.as_dict(), "fence": 1, "warm": read_warm(spec, CODE).trials}
    )
    told = begin(opened).searches["search", 0].study.optuna.trials
    assert [t.state.name for t in told] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert (told[0].value, told[1].intermediate_values, told[2].value) == (0.5, {1: 0.3}, 0.3)


def test_params_are_those_of_the_present_space(tmp_path: Path) -> None:
    """The depth is fixed now, and the range of lr another."""
    spec = later(earlier(tmp_path / "old"), space={"optim.lr": {"float": [0.05, 0.25]}})
    warm = read_warm(spec, CODE)
    assert [t["params"] for t in warm.trials] == [{"optim.lr": 0.1}, {"optim.lr": 0.2}]
    assert "1 left out: optim.lr is 0.4, outside of the space" in warm.notes[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"epochs": 5}, "3 left out: optim.epochs is 3, here 5"),
        (
            {"space": LR | {"head.depth": {"int": [3, 4]}}},
            "3 left out: head.depth is 2, outside of the space",
        ),
        ({"objective": {"metric": "loss", "mode": "min"}}, "1 left out: was stopped without a curve of loss"),
        ({"objective": {"metric": "rank.h.rankme"}}, "1 left out: has no rank.h.rankme"),
        ({"tradeoffs": [{"metric": "loss"}]}, "1 left out: was stopped without a curve"),
    ],
)
def test_what_does_not_fit_is_left_out_with_the_reason(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    assert reason in read_warm(later(earlier(tmp_path / "old"), **options), CODE).notes[0]


def test_another_seed_of_training_does_not_matter_and_other_code_is_noted(tmp_path: Path) -> None:
    spec = later(earlier(tmp_path / "old"))
    other = spec.model_copy(update={"base": spec.base.model_copy(update={"seed": 7})})
    assert len(read_warm(other, CODE).trials) == 3
    assert "made by other code" in read_warm(spec, "other").notes[1]


def test_several_sweeps_add_up(tmp_path: Path) -> None:
    old, older = earlier(tmp_path / "old"), earlier(tmp_path / "older", name="older")
    warm = read_warm(later(old, older), CODE)
    assert [t["from"] for t in warm.trials][2:4] == ["old/t0002", "older/t0000"]


def test_a_copy_that_was_run_because_the_first_failed_counts(tmp_path: Path) -> None:
    course = Course(trials=3, space={"optim.lr": {"choice": [0.1]}}, name="old")
    course.start("a")
    course.happens("wanted", slot="b")
    course.end("t0000", "FAILED")
    course.finish(course.start().id, 0.5)
    course.run_all(0.9)
    course.events[0]["made_by"] = {"code": CODE}
    ledger = Ledger.open(tmp_path / "ledger.jsonl")
    ledger.extend(course.events)
    ledger.close()
    warm = read_warm(later(tmp_path, space=LR), CODE)
    assert [(t["from"], t["metrics"]) for t in warm.trials] == [("old/t0001", {METRIC: 0.5})]


def test_a_folder_that_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(WarmStartError, match=r"warm_start: .*nowhere is no sweep: it has no ledger.jsonl"):
        read_warm(later(tmp_path / "nowhere"), CODE)
    (tmp_path / "ledger.jsonl").write_text("nonsense\n")
    with pytest.raises(WarmStartError, match="line 1: not a record"):
        read_warm(later(tmp_path), CODE)
