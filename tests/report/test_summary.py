"""What the summary says: of searches (fronts, objectives, early ends, arms), and of what was established."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablate.ledger import Event
from ablate.report import markdown, summarise, summary_of
from ablate.spec.identity import spec_hash
from tests.report.made_sweep import ARMS, Made
from tests.search.synthetic import METRIC, sweep


def ledger(rows: list[dict[str, float]], **options: Any) -> list[Event]:
    """A search whose trials ended with these metrics."""
    spec = sweep(trials=len(rows), **options)
    events: list[Event] = [
        {"event": "opened", "time": 0.0, "sweep": spec.as_dict(), "fence": 1, "made_by": {}}
    ]
    for number, metrics in enumerate(rows):
        trial = f"t{number:04d}"
        asked = {"event": "asked", "trial": trial, "number": number, "stage": "search", "arm": "search"}
        events.append(
            {**asked, "replicate": 0, "seed": 0, "params": {"optim.lr": 0.1}, "spec": spec.base.as_dict(),
             "time": 1.0, "spec_hash": spec_hash(spec.base), "duplicate_of": None, "parent": None,
             "checkpoint": None}
        )  # fmt: skip
        finished = {"event": "finished", "trial": trial, "state": "COMPLETE", "reason": "", "epochs": 3}
        events.append({**finished, "metrics": metrics, "time": 2.0})
    return events


def text(tmp_path: Path, events: list[Event]) -> str:
    return markdown(summary_of(tmp_path, events))


def test_a_front_of_two_objectives_is_listed_best_first(tmp_path: Path) -> None:
    rows = [
        {METRIC: v, "loss": loss} for v, loss in ((0.5, 1.0), (0.7, 3.0), (0.6, 2.0), (0.6, 2.5), (0.4, 1.5))
    ]
    found = text(tmp_path, ledger(rows, tradeoffs=[{"metric": "loss", "mode": "min"}]))
    table = [line for line in found.splitlines() if line.startswith("| t0")]
    assert table == ["| t0001 | 0.7 | 3 |", "| t0002 | 0.6 | 2 |", "| t0000 | 0.5 | 1 |"]
    assert f"| trial | {METRIC} (max) | loss (min) |" in found
    assert "Pareto" not in text(tmp_path, ledger(rows))


def test_the_best_so_far_is_one_that_keeps_the_constraints(tmp_path: Path) -> None:
    rows = [{METRIC: 0.5, "loss": 1.0}, {METRIC: 0.7, "loss": 3.0}, {METRIC: 0.5, "loss": 0.5}]
    found = text(tmp_path, ledger(rows, constraints=[{"metric": "loss", "at_most": 2.0}]))
    assert "Best in search: t0000" in found


@pytest.mark.parametrize(("mode", "sign"), [("max", "+"), ("min", "-")])
def test_a_label_free_objective_is_compared_with_the_probe(tmp_path: Path, mode: str, sign: str) -> None:
    """Of the 6 pairs one is in the wrong order: Kendall (5 - 1) / 6, Spearman 1 - 6 * 2 / 60."""
    rows = [{"rank.h.rankme": r, METRIC: p} for r, p in ((3.0, 0.3), (4.0, 0.5), (5.0, 0.4), (9.0, 0.8))]
    rows += [{"rank.h.rankme": 1.0}]
    found = text(tmp_path, ledger(rows, objective={"metric": "rank.h.rankme", "mode": mode}))
    assert f"Spearman {sign}0.80, Kendall {sign}0.67, over 4 completed trials" in found


def test_no_correlation_is_given_where_there_is_none_to_give(tmp_path: Path) -> None:
    rank = {"metric": "rank.h.rankme", "mode": "max"}
    two = [{"rank.h.rankme": r, METRIC: r} for r in (1.0, 2.0)]
    flat = [{"rank.h.rankme": 2.0, METRIC: p} for p in (0.1, 0.2, 0.3)]
    assert "Kendall" not in text(tmp_path, ledger(two, objective=rank))
    assert "Kendall" not in text(tmp_path, ledger(flat, objective=rank))
    assert "Kendall" not in text(tmp_path, ledger([{METRIC: p / 10} for p in range(5)]))


def test_an_early_end_and_repeats_are_said(tmp_path: Path) -> None:
    events = ledger([{METRIC: 0.5}, {METRIC: 0.5}])
    events[3]["duplicate_of"] = "t0000"
    closed = {"event": "closed", "arm": "search", "replicate": 0, "by": "epochs", "time": 3.0,
              "reason": "30 epochs were trained"}  # fmt: skip
    found = text(tmp_path, [*events, closed])
    assert "The search was ended before all its trials: 30 epochs were trained." in found
    assert "1 repeated the configuration of another" in found
    run_after_all = {"event": "started", "trial": "t0001", "slot": "a", "fence": 1, "time": 1.5}
    assert "repeated" not in text(tmp_path, [*events[:4], run_after_all, *events[4:]])
    assert "ended before" not in text(tmp_path, [*events[:3], closed, *events[3:]])


def test_states_are_counted_and_the_best_is_named_without_calling_it_a_result(tmp_path: Path) -> None:
    made = Made().search().confirm()
    folder = made.write(tmp_path / "made")
    summary = summary_of(folder, made.events)
    assert summary.search == {"COMPLETE": 1, "PRUNED": 1, "COLLAPSED": 1, "FAILED": 1}
    assert (summary.stopped, summary.rungs) == (0.25, (1, 2))
    assert summary.best is not None
    assert summary.best.trial == "t0000"
    screen = io.StringIO()
    found = summarise(folder, Console(file=screen, width=160))
    assert (folder / "summary.md").read_text() == found
    for said in (
        "Stopped early: 25%", "it is not a result", "best - simclr: inconclusive", "best - pixels: a control",
        "Declared before the first confirmation trial", "alpha 0.05", "No margin was stated",
    ):  # fmt: skip
        assert said in found
        assert said in screen.getvalue()


def test_the_tables_have_every_number_of_a_verdict(tmp_path: Path) -> None:
    share = {"best": 0.8, "simclr": 0.6, "untrained": 0.5, "pixels": 0.2}
    made = Made(confirm={"seeds": 8, "margin": 0.01}, share=share).search().confirm()
    folder = made.write(tmp_path / "made")
    found = markdown(summary_of(folder, made.events))
    claims = summary_of(folder, made.events).claims
    assert claims is not None
    (v,) = claims.verdicts
    assert v.interval is not None
    assert v.wide is not None
    assert v.bca is not None
    assert v.p_equivalent is not None
    (row, effect) = [line for line in found.splitlines() if line.startswith("| best - simclr |")]
    for number in (f"{v.mean:+.4f}", f"[{v.wide.low:+.4f}, ", f"{v.p_holm:.3g}"):
        assert number in row
    intervals = [f"[{interval.low:+.4f}, {interval.high:+.4f}]" for interval in (v.interval, v.bca)]
    for number in (*intervals, f"{v.dz:+.2f}", f"{v.p_better:.2f}", f"{v.p:.3g}", f"{v.p_equivalent:.3g}"):
        assert number in effect
    assert "better" in row
    assert "| 95% over seeds and images |" in found
    assert "Differences below 0.01 do not matter." in found


def test_arms_have_their_searches_and_are_not_ranked_by_search_scores(tmp_path: Path) -> None:
    share = {"plain": 0.5, "deep": 0.7, "pixels": 0.2}
    made = Made(arms={**ARMS, "replicates": 2}, share=share).search(failing=("t0001",)).confirm()
    found = text(tmp_path, made.events)
    assert "- plain: 2 searches, 4 trials (4 complete), 12 epochs." in found
    assert "- deep: 2 searches, 4 trials (3 complete, 1 failed), 9 epochs." in found
    assert "- deep chose t0005 (optim.lr=0.05), t0003 (optim.lr=0.1)." in found
    assert "Best in search" not in found
    assert "| deep | 6 |" in found


def test_effects_of_factors_are_shown_as_explored(tmp_path: Path) -> None:
    factors = {
        "depth": {"two": {}, "three": {"head.depth": 3}}, "wide": {"off": {}, "on": {"head.hidden": 512}},
    }  # fmt: skip
    share = {
        "depth=two,wide=off": 0.5, "depth=three,wide=off": 0.7, "depth=two,wide=on": 0.5,
        "depth=three,wide=on": 0.7, "pixels": 0.2,
    }  # fmt: skip
    made = Made(arms={"factors": factors, "design": "full"}, confirm={"seeds": 8}, share=share)
    found = text(tmp_path, made.search().confirm().events)
    (depth,) = [line for line in found.splitlines() if line.startswith("| depth |")]
    assert float(depth.split("|")[2]) == pytest.approx(0.2, abs=0.03)
    assert any(line.startswith("| depth x wide |") for line in found.splitlines())
    assert "Effects of factors are explored, not declared" in found
    assert "Effects of factors" not in text(tmp_path, Made().search().confirm().events)


def test_an_arm_that_chose_nothing_is_said_to_be_missing(tmp_path: Path) -> None:
    made = Made(arms=ARMS, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2}).search()
    made.events[-1]["impossible"] = {"deep": "no search trial completed (2 FAILED)"}
    assert "Not compared: deep: no search trial completed (2 FAILED)." in text(tmp_path, made.events)


def test_a_question_in_any_characters_is_printed_as_it_is(tmp_path: Path) -> None:
    made = Made().search()
    made.events[0]["sweep"]["question"] = "is z in [a, b] better than [/]?"
    screen = io.StringIO()
    summarise(made.write(tmp_path / "made"), Console(file=screen, width=120))
    assert "is z in [a, b] better than [/]?" in screen.getvalue()


@pytest.mark.parametrize("events", [1, 4, 10])
def test_a_sweep_that_has_hardly_begun_can_be_summarised(tmp_path: Path, events: int) -> None:
    made = Made().search()
    made.events = made.events[:events]
    found = summarise(made.write(tmp_path / "made"))
    assert "The sweep has not ended" in found
    assert "differ" not in found


def test_confirmation_that_was_not_declared_is_no_ground_for_a_claim(tmp_path: Path) -> None:
    made = Made().search().confirm()
    found = text(tmp_path, [e for e in made.events if e["event"] not in ("declared", "looked")])
    assert "nothing was declared before them: no claim" in found
    assert "best - " not in found


def test_why_a_sweep_ended_before_its_time_is_said(tmp_path: Path) -> None:
    made = Made().search().end("2 hours were used, of 2 budgeted")
    found = text(tmp_path, made.events)
    assert "The sweep was ended before all of it was done: 2 hours were used, of 2 budgeted." in found


def test_a_sweep_that_goes_on_after_its_end_has_not_ended(tmp_path: Path) -> None:
    made = Made().search().end("no search trial completed, so there is nothing to confirm")
    made._ask("t0099", 4, "search", "search", {}, made.sweep.base)
    found = text(tmp_path, made.events)
    assert "The sweep has not ended: these are the trials so far." in found
    assert "was ended before" not in found
    retried = Made().search().end()
    retried._add("retried", trial="t0003", epoch=0)
    assert "The sweep has not ended" in text(tmp_path, retried.events)
