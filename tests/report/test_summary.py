"""What the summary says of the search itself: fronts, label-free objectives, early ends, repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Event
from ablate.report import markdown, summary_of
from ablate.spec.identity import spec_hash
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
            {**asked, "seed": 0, "params": {"optim.lr": 0.1}, "spec": spec.base.as_dict(), "time": 1.0,
             "spec_hash": spec_hash(spec.base), "duplicate_of": None, "parent": None, "checkpoint": None}
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
    closed = {"event": "closed", "by": "epochs", "reason": "30 epochs were trained", "time": 3.0}
    found = text(tmp_path, [*events, closed])
    assert "The search was ended before all its trials: 30 epochs were trained." in found
    assert "1 repeated the configuration of another" in found
    run_after_all = {"event": "started", "trial": "t0001", "slot": "a", "fence": 1, "time": 1.5}
    assert "repeated" not in text(tmp_path, [*events[:4], run_after_all, *events[4:]])
    assert "ended before" not in text(tmp_path, [*events[:3], closed, *events[3:]])
