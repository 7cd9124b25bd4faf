"""A comparison in words: no verdict between sweeps, links that lead somewhere, equal bytes of equal files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pytest
from rich.console import Console

from ablate.report.compare.document import document_of
from ablate.report.compare.side import NotComparable
from ablate.report.compare.terminal import show
from ablate.report.compare.whole import Compared
from ablate.report.document.blocks import Bullets, Document, Figure, Folded, Table
from ablate.report.document.html import page
from ablate.report.document.markdown import markdown
from ablate.report.results import write_results
from tests.report.compare.two_sweeps import ARMS, HIGH, LOW, change, compared, made, written
from tests.report.made_sweep import Made

Kind = TypeVar("Kind", Table, Figure)

VERDICTS = re.compile(r"\b(better|worse|equivalent|inconclusive)\b")


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    runs = tmp_path_factory.mktemp("runs")
    other = change(made("warm", HIGH), "base.loss.temperature", 0.5)
    return compared(written(runs, made("cold")), written(runs, other, specs="f" * 16))


@pytest.fixture(scope="module")
def document(same: Compared) -> Document:
    return document_of(same)


def sentences(document: Document) -> list[str]:
    (block,) = document.answer
    assert isinstance(block, Bullets)
    return [text for item in block.items for text in (item.text, *item.notes)]


def blocks(document: Document, kind: type[Kind]) -> Iterator[Kind]:
    for section in document.sections:
        for block in section.blocks:
            for inner in block.blocks if isinstance(block, Folded) else (block,):
                if isinstance(inner, kind):
                    yield inner


def test_what_may_be_said_comes_first(document: Document) -> None:
    said = sentences(document)
    assert said[0] == (
        "A and B measured the same data (digits, digest 0123456789abcdef) and share 8 seeds of confirmation: "
        "they are compared seed by seed."
    )
    assert any(s.startswith("No difference between sweeps is a verdict") for s in said)
    (plain,) = (s for s in said if s.startswith("plain: B - A is +0.0962 ["))
    assert plain.endswith(
        "over 8 shared seeds, on these test images and others like them: a lead to follow up, not a verdict."
    )
    assert "Each sweep's own verdict on deep - plain: better in A, inconclusive in B." in said


def test_a_word_of_verdicts_is_never_said_of_a_difference_between_sweeps(document: Document) -> None:
    for text in sentences(document):
        assert not VERDICTS.search(text) or text.startswith("Each sweep's own verdict"), text
    for section in document.sections:
        if section.id.startswith("differences-"):
            for table in (b for b in section.blocks if isinstance(b, Table)):
                assert not any(VERDICTS.search(cell.text) for row in table.rows for cell in row)


def test_three_seeds_are_too_few_to_tell_anything(tmp_path: Path) -> None:
    found = compared(
        written(tmp_path, made("one", seeds=3)), written(tmp_path, made("two", HIGH, seeds=3), specs="f" * 16)
    )
    (plain,) = (s for s in sentences(document_of(found)) if s.startswith("plain: "))
    assert plain.endswith("too few seeds to tell anything (p cannot go below 0.25).")


def test_equal_configurations_are_told_as_that(tmp_path: Path) -> None:
    found = compared(written(tmp_path, made("one")), written(tmp_path, made("two")))
    said = sentences(document_of(found))
    assert any("equal specs, so that only code and machine can differ" in s for s in said)
    assert "No setting differs but names, question and tracking." in said


def test_controls_check_that_both_measured_alike(tmp_path: Path, document: Document) -> None:
    assert any("equal scores in A and B on all 8 shared seeds" in s for s in sentences(document))
    other = made("two", {**LOW, "pixels": 0.3})
    said = sentences(document_of(compared(written(tmp_path, made("one")), written(tmp_path, other))))
    assert any("they did not measure alike" in s for s in said)


def test_data_that_differ_are_said_to(tmp_path: Path) -> None:
    found = compared(written(tmp_path, made("one"), data="d1"), written(tmp_path, made("two"), data="d2"))
    document = document_of(found)
    said = sentences(document)
    assert said[0].startswith(
        "A and B measured different data, digits d1 (d1) and digits d2 (d2): their scores"
    )
    assert not any(s.startswith("plain: ") for s in said)
    assert any(s.startswith("wide over plain: ") for s in said)
    (over,) = (t for t in blocks(document, Table) if t.id == "table-over-data")
    assert over.head[1:3] == ("mean, digits d1", "mean, digits d2")


def test_a_sweep_that_confirmed_nothing_is_compared_in_its_settings_only(tmp_path: Path) -> None:
    hardly = Made("hardly")
    hardly.write(tmp_path / "hardly")
    found = compared(written(tmp_path, made("one")), tmp_path / "hardly")
    said = sentences(document_of(found))
    assert said[0].startswith("Nothing was declared to be confirmed in B: only settings are compared")
    assert "B has not ended: this is what there is so far." in said


def test_different_metrics_are_refused_with_the_reason(tmp_path: Path) -> None:
    other = made("two")
    change(other, "search.objective.metric", "knn.h.val").search()
    for event in other.events:
        if event["event"] == "declared":
            event["metric"] = "knn.h.test"
    other.write(tmp_path / "two")
    with pytest.raises(
        NotComparable, match=r"probe\.h\.test \(max\) in A: one, knn\.h\.test \(max\) in B: two"
    ):
        compared(written(tmp_path, made("one")), tmp_path / "two")


@pytest.mark.parametrize(("key", "compares"), [("probe_l2", False), ("images", False), ("knn", True)])
def test_a_metric_that_is_measured_differently_is_another_metric(
    tmp_path: Path, key: str, compares: bool
) -> None:
    other = change(made("two"), f"base.measure.{key}", [0.1] if key == "probe_l2" else 200)
    folders = written(tmp_path, made("one")), written(tmp_path, other)
    if compares:
        assert compared(*folders).pairs[0].scores
        return
    with pytest.raises(NotComparable, match=rf"they measure probe\.h\.test differently.*measure\.{key} is"):
        compared(*folders)


def test_a_sweep_is_not_compared_with_itself(tmp_path: Path) -> None:
    folder = written(tmp_path, made("one"))
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(NotComparable, match="is the same sweep as one"):
        compared(folder, tmp_path / "link")


def test_every_cell_links_to_a_place_on_the_page_and_every_point_to_its_run(document: Document) -> None:
    text = page(document).partition("<script>")[0]
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    links = re.findall(r'href="#([^"]+)"', text)
    assert {"run-A-c0000", "run-B-c0000", "runs-A-plain"} <= ids
    assert set(links) <= ids
    assert "run-B-c0004" in links  # a point of a figure


def test_numbers_of_the_tables_are_those_of_the_results(same: Compared, document: Document) -> None:
    tables = {table.id: table for table in blocks(document, Table)}
    for side in same.sides:
        rows = pd.read_parquet(write_results(side.folder))
        confirmed = rows[rows["stage"] == "confirm"].set_index("trial_id")["probe.h.test"]
        for arm in ("plain", "deep", "wide", "pixels"):
            for row in tables[f"runs-{side.letter}-{arm}"].rows:
                assert row[4].text == f"{confirmed[row[0].text.removeprefix(f'{side.letter}-')]:.4f}"
        means = rows[rows["stage"] == "confirm"].groupby("arm")["probe.h.test"].mean()
        column = 1 + "AB".index(side.letter)
        for row in tables["table-scores"].rows:
            assert row[column].text.startswith(f"{means[row[0].text]:.4f} ")


def test_points_of_figures_are_differences_of_the_results(same: Compared, document: Document) -> None:
    (figure,) = (f for f in blocks(document, Figure) if f.id == "figure-scores-A-B")
    marks = re.findall(r'data-trial="B-(c\d+)" data-x="([^"]+)"', figure.svg)
    low, high = (pd.read_parquet(write_results(s.folder)).set_index("trial_id") for s in same.sides)
    assert len(marks) == 24
    for trial, x in marks:  # both ladders are the same, so partners are called alike
        assert float(x) == pytest.approx(high["probe.h.test"][trial] - low["probe.h.test"][trial])


def test_equal_files_give_equal_documents_on_page_and_in_markdown(same: Compared, document: Document) -> None:
    again = document_of(compared(*(side.folder for side in same.sides)))
    assert page(again) == page(document)
    assert markdown(again) == markdown(document)


def test_everything_is_plain_json(same: Compared) -> None:
    tree = json.loads(json.dumps(same.as_dict(), allow_nan=False))
    assert tree["same_data"] == [["A", "B"]]
    assert tree["pairs"][0]["scores"][0]["points"] == pytest.approx(same.pairs[0].scores[0].points)


def test_a_terminal_shows_answer_and_tables_without_the_runs(document: Document) -> None:
    out = StringIO()
    show(document, Console(file=out, width=200))
    text = out.getvalue()
    assert "compared seed by seed" in text
    assert "base.loss.temperature" in text
    assert "B-c0004" not in text
    assert "figures and every run: --html FILE" in text


def test_sweeps_without_arms_share_what_their_searches_found(tmp_path: Path) -> None:
    folders = [Made(name).search().confirm().write(tmp_path / name) for name in ("one", "two")]
    document = document_of(compared(*folders))
    assert any(s.startswith("best: B - A is ") for s in sentences(document))
    assert any(s.startswith("the gain best - simclr: ") for s in sentences(document))


def test_sweeps_that_share_no_arm_still_check_their_controls(tmp_path: Path) -> None:
    arms = {"baseline": "x", "each": {"x": {}, "y": {"head.depth": 1}}}
    other = Made("two", arms=arms, share={"x": 0.5, "y": 0.6, "pixels": 0.2}, confirm={"seeds": 8})
    said = sentences(document_of(compared(written(tmp_path, made("one")), written(tmp_path, other))))
    assert said[0].endswith("compared seed by seed. They share no arm but controls.")
    assert any(s.startswith("The control pixels, which trains nothing, ") for s in said)
    assert not any(s.startswith(("x: ", "plain: ")) for s in said)


@pytest.mark.parametrize("cut", [0, 5, 20])
def test_a_confirmation_that_was_cut_short_withholds_what_is_missing(tmp_path: Path, cut: int) -> None:
    short = made("two").search().confirm(cut=cut).write(tmp_path / "two")
    document = document_of(compared(written(tmp_path, made("one")), short))
    assert not any(re.search(r"B - A is [+-]", s) for s in sentences(document))
    assert "has no score on seed" in page(document) or cut == 0
    assert "blocked" in page(document)


def test_arms_of_one_name_that_are_set_differently_are_told(tmp_path: Path) -> None:
    arms = {**ARMS, "each": {**ARMS["each"], "deep": {"head.depth": 1}}}
    other = Made("two", arms=arms, share=HIGH, confirm={"seeds": 8})
    document = document_of(compared(written(tmp_path, made("one")), written(tmp_path, other)))
    (deep,) = (s for s in sentences(document) if s.startswith("deep"))
    assert deep.startswith("deep (deep is set differently in A and B): B - A is ")
    (table,) = (t for t in blocks(document, Table) if t.id == "table-scores-A-B")
    remarks = {row[0].text: row[-1].text for row in table.rows}
    assert remarks["deep"] == "deep is set differently in A and B"
    assert remarks["plain"] == "equal specs"


def test_a_sweep_that_a_look_ended_is_said_to_have_chosen_when_to_stop(tmp_path: Path) -> None:
    apart = {"plain": 0.4, "deep": 0.7, "wide": 0.9, "pixels": 0.2}
    early = made("one", apart, looks=[10, 12], seeds=12)
    document = document_of(compared(written(tmp_path, early), written(tmp_path, made("two", seeds=12))))
    assert "share 10 seeds of confirmation" in sentences(document)[0]
    said = (
        "A look ended the confirmation of A after 10 of 12 seeds, since its comparisons were settled by then"
    )
    assert any(s.startswith(said) for s in sentences(document))
    cut = made("cut", seeds=8, looks=[6, 8]).search().confirm(cut=30).write(tmp_path / "cut")
    document = document_of(compared(cut, tmp_path / "two"))
    assert not any(s.startswith("A look ended") for s in sentences(document))


def test_turned_differences_are_said_to_be(tmp_path: Path) -> None:
    folders = []
    for name, share in (("one", LOW), ("two", HIGH)):
        sweep = change(made(name, share), "search.objective.mode", "min").search()
        sweep.events[-1]["mode"] = "min"
        folders.append(sweep.confirm().write(tmp_path / name))
    found = compared(*folders)
    (plain,) = (d for d in found.pairs[0].scores if d.name == "plain")
    assert plain.mean is not None
    assert plain.mean < 0
    said = "Less probe.h.test is better: differences are turned, so that larger is better."
    assert said in sentences(document_of(found))


def test_replicates_of_unequal_seeds_are_not_said_to_share_none(tmp_path: Path) -> None:
    folders = [
        written(tmp_path, made(name, replicates=3, seeds=seeds)) for name, seeds in (("one", 2), ("two", 4))
    ]
    first = sentences(document_of(compared(*folders)))[0]
    assert "share fewer than two replicates with equal seeds: they are compared unpaired" in first


def test_a_sweep_without_results_is_no_reference_for_those_with(tmp_path: Path) -> None:
    Made("hardly").write(tmp_path / "hardly")
    others = [written(tmp_path, made(name), data=name) for name in ("one", "two")]
    found = compared(tmp_path / "hardly", *others)
    assert [(p.reference.letter, p.other.letter) for p in found.pairs] == [("B", "C"), ("B", "A")]
    assert found.aggregates is not None
    assert found.aggregates.sides == ("B", "C")


def test_any_name_of_an_arm_makes_a_page(tmp_path: Path) -> None:
    arms = {"baseline": "plain", "each": {"plain": {}, "chosen-trials": {"head.depth": 3}}}
    share = {"plain": 0.6, "chosen-trials": 0.7, "pixels": 0.2}
    folders = [written(tmp_path, Made(name, arms=arms, share=share)) for name in ("one", "two")]
    assert 'id="runs-A-chosen-trials"' in page(document_of(compared(*folders)))


def test_the_level_of_a_sweeps_intervals_is_told(tmp_path: Path) -> None:
    folders = written(tmp_path, made("one")), written(tmp_path, made("two", alpha=0.1))
    (table,) = (t for t in blocks(document_of(compared(*folders)), Table) if t.id == "table-verdicts")
    assert "at the level of that sweep (A 95%, B 90%)" in table.caption


def test_a_narrow_terminal_cuts_nothing_off(document: Document) -> None:
    out = StringIO()
    show(document, Console(file=out, width=80))
    assert "\N{HORIZONTAL ELLIPSIS}" not in out.getvalue()
