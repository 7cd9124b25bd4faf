"""Sweeps as they are when something went wrong: the page is there, and says what is missing."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pytest

from ablate.ledger import Ledger
from ablate.report.content import report_of
from ablate.report.document.blocks import Document
from ablate.report.document.html import page
from ablate.report.document.latex import tables as latex
from ablate.report.document.markdown import markdown
from tests.report.analysis import made_search
from tests.report.analysis.made_search import sweep_of
from tests.report.content.reading import figures, places, report, said, section, tables
from tests.report.content.sweeps import rich, rich_metrics, write
from tests.report.content.test_document import (
    FACTORS,
    SHARE,
    arms,
    best,
    factors,
    of_events,
    only_search,
    population,
    replicates,
    several_objectives,
)
from tests.report.made_sweep import ARMS, Made

Kind = Callable[[Path], Path]


def whole(document: Document) -> Document:
    """The document, once every writer has taken it and every link has been followed."""
    page(document)
    markdown(document)
    latex(document)
    known = places(document)
    for table in tables(document).values():
        leads = {cell.to for row in table.rows for cell in row if cell.to and "://" not in cell.to}
        assert leads <= known, table.id
    return document


@pytest.mark.parametrize(
    "kind", [best, arms, replicates, factors, several_objectives, population], ids=lambda kind: kind.__name__
)
def test_a_sweep_cut_anywhere_has_a_page_whose_links_lead_somewhere(tmp_path: Path, kind: Kind) -> None:
    folder = kind(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    for count in {1, 2, 3, len(events) - 1, *range(4, len(events), max(1, len(events) // 12))}:
        whole(report_of(folder, events[:count]))


def test_several_objectives_without_a_completed_trial_have_no_front_to_draw(tmp_path: Path) -> None:
    spec = sweep_of(trials=1, tradeoffs=[{"metric": "loss", "mode": "min"}])
    failed = made_search.Made({1: 0.5}, {"optim.lr": 0.1}, "FAILED", more={"loss": 1.0})
    document = whole(report(of_events(tmp_path, spec, [failed])))
    assert "front-loss" not in figures(document)
    text = said(section(document, "searches").blocks)
    assert "Not drawn: probe.h.val against loss: there are no points to draw." in text


@pytest.mark.parametrize("value", [1e300, -1e308, 1e-320, 1e15, -5.0, 0.0])
@pytest.mark.parametrize("kind", [arms, only_search, population], ids=lambda kind: kind.__name__)
def test_huge_and_tiny_numbers_cost_a_figure_at_most(tmp_path: Path, kind: Kind, value: float) -> None:
    folder = kind(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    for place, event in enumerate(e for e in events if e["event"] in ("reported", "finished")):
        for name in event["metrics"]:
            if (place + zlib.crc32(name.encode())) % 3:
                event["metrics"][name] = value
    whole(report_of(folder, events))


def test_a_figure_that_cannot_be_drawn_is_said_to_be_missing_and_why(tmp_path: Path) -> None:
    folder = only_search(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    odd = next(e for e in events if e["event"] == "finished")
    odd["metrics"] = {**odd["metrics"], "probe.h.val": -1e308}
    document = whole(report_of(folder, events))
    assert "parallel" not in figures(document)
    assert "too far apart to draw" in said(section(document, "parameters").blocks)


@pytest.mark.parametrize("odd", [math.nan, math.inf, None])
def test_a_number_that_is_not_there_is_a_dash_and_no_mean(tmp_path: Path, odd: float | None) -> None:
    made = rich(Made(arms=ARMS, confirm={"seeds": 3}, share=SHARE).search().confirm())
    last = next(e for e in made.events if e["event"] == "finished" and e["trial"] == "c0000")
    del last["metrics"]["rank.h.effective"]
    if odd is not None:
        last["metrics"]["rank.h.effective"] = odd
    document = whole(report(write(made, tmp_path / "made")))
    of_run = {row[0].text: row for row in tables(document)["runs-confirm-plain"].rows}["c0000"]
    place = tables(document)["runs-confirm-plain"].head.index("rank.h.effective")
    assert of_run[place].text == "-"
    others = [rich_metrics(trial)["rank.h.effective"] for trial in ("c0003", "c0006")]
    (rank,) = [r for r in tables(document)["diagnosis-rank"].rows if r[0].text == "rank.h.effective"]
    assert rank[1].text.startswith(f"{sum(others) / 2:.4g} [")


@pytest.mark.parametrize("odd", [math.nan, None])
def test_a_completed_trial_without_the_objective_is_not_the_best(tmp_path: Path, odd: float | None) -> None:
    folder = only_search(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    scores = {e["trial"]: e["metrics"]["probe.h.val"] for e in events if e["event"] == "finished"}
    first, second = sorted(scores, key=scores.__getitem__)[:-3:-1]
    for event in events:
        if event["event"] in ("reported", "finished") and event["trial"] == first:
            del event["metrics"]["probe.h.val"]
            event["metrics"] |= {} if odd is None else {"probe.h.val": odd}
    document = whole(report_of(folder, events))
    assert f"The best in search, which is no result: {second}," in said(document.answer)


def test_a_factor_may_be_called_arm(tmp_path: Path) -> None:
    named = {"factors": {"arm": FACTORS["factors"]["depth"], "wide": FACTORS["factors"]["wide"]}}
    share = {f"arm={d},wide={w}": 0.5 for d in ("two", "three") for w in ("off", "on")} | {"pixels": 0.2}
    made = Made(arms={**named, "design": "full"}, confirm={"seeds": 2}, share=share)
    document = whole(report(write(rich(made.search().confirm()), tmp_path / "made")))
    assert {"rank-of-arms", "rank-by-arm", "accuracy-by-arm"} <= figures(document).keys()


# --- damaged artifacts -----------------------------------------------------------------------------------


def archive(**arrays: Any) -> bytes:
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    return written.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def bare() -> bytes:
    written = io.BytesIO()
    np.save(written, np.ones(3))
    return written.getvalue()


WHOLE = archive(**{"probe.h": np.ones(300, dtype=bool), "h": np.arange(1.0, 65.0)[::-1]})
DAMAGED = {
    "an array, no archive": bare(),
    "objects": archive(**{"probe.h": np.array([object()]), "h": np.array([object()])}),
    "texts": archive(**{"probe.h": np.array(["a", "b"]), "h": np.array(["a", "b"])}),
    "not finite": archive(**{"probe.h": np.full(300, np.nan), "h": np.full(3, np.inf)}),
    "of another shape": archive(**{"probe.h": np.ones((300, 2)), "h": np.ones((3, 2))}),
    "encrypted": flipped(WHOLE, WHOLE.index(b"PK\x01\x02") + 8),
    "a later version of zip": flipped(WHOLE, WHOLE.index(b"PK\x01\x02") + 6),
}


def test_what_stands_for_damage_is_damaged() -> None:
    with pytest.raises((BadZipFile, NotImplementedError, RuntimeError)):
        np.load(io.BytesIO(DAMAGED["a later version of zip"]))["h"]


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays_are_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    folder = arms(tmp_path)
    (folder / "trials" / "c0000" / "spectrum.npz").write_bytes(damage)
    (folder / "trials" / "c0000" / "correct.npz").write_bytes(damage)
    document = whole(report(folder))
    assert "Without a readable spectrum: 1 trial (c0000)." in said(section(document, "spectra").blocks)
    assert "there are no per-example results" in said(section(document, "unsettled").blocks)


def test_bytes_that_changed_on_the_disk_cost_no_page(tmp_path: Path) -> None:
    folder = arms(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    for place in range(0, len(WHOLE), len(WHOLE) // 40):
        for name in ("spectrum.npz", "correct.npz"):
            (folder / "trials" / "c0000" / name).write_bytes(flipped(WHOLE, place))
        report_of(folder, events)


@pytest.mark.parametrize("damage", ["", "[]", "{", '"text"', "null", '{"libraries": 3, "code": [1]}', "\x00"])
def test_damaged_records_of_a_run_cost_no_page(tmp_path: Path, damage: str) -> None:
    folder = arms(tmp_path)
    (folder / "trials" / "c0000" / "identity.json").write_text(damage)
    (folder / "tracking.json").write_text(damage)
    document = whole(report(folder))
    assert "in MLflow" not in tables(document)["runs-confirm-plain"].head


# --- what must not be left out, or said too strongly -----------------------------------------------------


def collapsed(made: Made, *trials: str) -> Made:
    """Confirmation goes on through collapse, so that such a trial is COMPLETE."""
    for event in made.events:
        if event["event"] == "finished" and event["state"] == "COMPLETE":
            event["metrics"]["spread.z"] = 1e-5 if event["trial"] in trials else 0.5
    return made


def test_a_confirmed_run_that_collapsed_is_named_though_it_was_completed(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 3}, share=SHARE).search().confirm()
    document = report(write(collapsed(made, "c0004"), tmp_path / "made"))
    text = said(section(document, "failures").blocks)
    assert "Collapsed in confirmation, where training goes on and the score counts: c0004 (deep)." in text
    assert "No trial failed or collapsed." not in text


def test_where_none_collapsed_none_is_named(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 3}, share=SHARE).search().confirm()
    document = report(write(collapsed(made), tmp_path / "made"))
    assert said(section(document, "failures").blocks) == "No trial failed or collapsed."


def test_a_difference_without_results_of_images_keeps_its_interval_over_seeds(tmp_path: Path) -> None:
    share = {"plain": 0.5, "deep": 0.7, "wide": 0.6, "pixels": 0.2}
    three = {"baseline": "plain", "each": {**ARMS["each"], "wide": {"head.hidden": 9}}}
    made = Made(arms=three, confirm={"seeds": 4}, share=share).search().confirm()
    folder = made.write(tmp_path / "made")
    deep = next(e["trial"] for e in made.events if e.get("stage") == "confirm" and e.get("arm") == "deep")
    (folder / "trials" / deep / "correct.npz").unlink()
    document = report(folder)
    details = {row[0].text: row for row in tables(document)["verdict-details"].rows}
    interval = details["deep - plain"][1].text
    text = said(document.answer)
    assert f"in probe.h.test, 95% over seeds {interval}, on 4 seeds" in text
    assert "95% over seeds and images [" in text  # of the other
    assert " -, on" not in text


def test_controls_of_replicates_are_said_to_be_over_seeds(tmp_path: Path) -> None:
    document = report(replicates(tmp_path))
    notes = [note for b in document.answer for item in getattr(b, "items", ()) for note in item.notes]
    (control,) = [note for note in notes if note.endswith("on 2 seeds")]
    assert "95% over seeds and images [" in control
    assert (
        "interval (95% over seeds and images) and each seed" in figures(document)["forest-controls"].caption
    )
    assert "interval (95% over replicates and images)" in figures(document)["forest"].caption


def test_without_arms_nothing_is_said_of_searches_of_arms(tmp_path: Path) -> None:
    text = said(section(report(best(tmp_path)), "unsettled").blocks)
    assert "each arm was searched once" not in text
    assert "only the whole space was searched, and what it is compared with was not" in text


def test_the_method_does_not_tell_of_a_declaration_that_was_not_made(tmp_path: Path) -> None:
    folder = best(tmp_path)
    events = Ledger.read(folder / "ledger.jsonl")
    before, after = (said(section(report_of(folder, e), "method").blocks) for e in (events[:3], events))
    assert "Nothing has been declared yet." in before
    assert "Nothing has been declared" not in after


def test_seeds_that_a_look_spared_are_not_said_to_be_trained(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 12, "looks": [8, 12]}, share=SHARE).search().confirm()
    assert len([e for e in made.events if e["event"] == "looked"]) == 1  # the first look ended it
    text = said(section(report(write(made, tmp_path / "made")), "method").blocks)
    assert "A look ended it after 8 of 12 seeds." in text


def test_reasons_of_many_lines_stay_in_their_cells(tmp_path: Path) -> None:
    made = Made().search()
    reason = "RuntimeError: `a` | <b>\nTraceback:\n  é 漢 \x00 & \\end{table}"
    for event in made.events:
        if event["event"] == "finished" and event["state"] == "FAILED":
            event["reason"] = reason
    document = whole(report(write(made, tmp_path / "made")))
    (line,) = [line for line in markdown(document).splitlines() if line.startswith("| t0003 | search")]
    assert line.endswith(" |")
    assert "<b>" not in page(document).partition("<body>")[2].partition("<script>")[0]
