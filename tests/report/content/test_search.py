"""What each search had and how it went: the analysis' own numbers, and nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.ledger import Ledger
from ablate.report.analysis.stopping_audit import Rerun, as_json
from ablate.report.analysis.whole import Analysis, analyse
from ablate.report.document.blocks import Document
from ablate.spec import load_sweep
from tests.report.analysis import made_search
from tests.report.analysis.made_search import sweep_of
from tests.report.content.reading import blocks, column, figures, points, report, said, section, tables
from tests.report.content.sweeps import large
from tests.report.content.test_document import only_search, population, replicates, several_objectives
from tests.report.made_sweep import ARMS, Made
from tests.search.synthetic import METRIC

Searched = tuple[Analysis, Document]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search large enough for everything that an analysis gives."""
    folder = large(tmp_path_factory.mktemp("search") / "large", trials=24, seeds=2)
    return analyse(Ledger.read(folder / "ledger.jsonl"), {}), report(folder)


def test_budget_curves_are_those_of_the_analysis(searched: Searched) -> None:
    a, document = searched
    found = figures(document)
    ends = ", ".join(f"{b.arm} {b.by_trials.best[-1]:.4g}" for b in a.best)
    assert found["budget-trials"].description.endswith(f"at the end {ends}.")
    assert "descriptive only" in found["budget-trials"].caption
    assert "budget-epochs" in found
    table = tables(document)["best-so-far-1"]
    assert [row[0].text for row in table.rows] == [b.arm for b in a.best for _ in range(2)]
    assert {row[0].to for row in table.rows} == {f"runs-search-{arm}" for arm in a.trials}


def test_independent_searches_are_drawn_one_by_one_without_bands(tmp_path: Path) -> None:
    found = figures(report(replicates(tmp_path)))["budget-trials"]
    assert "One line an independent search" in found.caption
    assert "deep #5 0.31" in found.description


def test_importance_comes_with_the_uncertainty_of_its_ranks(searched: Searched) -> None:
    a, document = searched
    assert "Biased by how the trials were chosen" in figures(document)["importance-PED-ANOVA"].caption
    rows = [row for row in tables(document)["importance-table-1"].rows if row[1].text == "PED-ANOVA"]
    shares = [s for i in a.importance if i.method == "PED-ANOVA" for s in i.shares]
    assert [row[2].text for row in rows] == [s.key for s in shares]
    assert [row[4].text for row in rows] == [f"{s.rank:g} [{s.rank_low:g}, {s.rank_high:g}]" for s in shares]


def test_where_trials_were_stopped_is_counted(searched: Searched) -> None:
    _, document = searched
    table = tables(document)["stopped-table"]
    assert column(table, "stopped at epoch 2")["one"] == "6"
    assert column(table, "stopped at epoch 4")["one"] == "6"
    text = said(section(document, "stopping").blocks)
    assert "none of 12 stopped trials was run to its end; `ablate audit large` does." in text


def test_an_audit_is_drawn_and_judged(tmp_path: Path) -> None:
    folder = large(tmp_path / "large", trials=8, seeds=2)
    record = next(
        e for e in Ledger.read(folder / "ledger.jsonl") if e["event"] == "finished" and e["state"] == "PRUNED"
    )
    curve = {epoch: {METRIC: 0.1 * epoch} for epoch in range(1, 9)}
    (folder / "audit").mkdir()
    rerun = Rerun(record["trial"], "0", "COMPLETE", "", curve, {})
    (folder / "audit" / f"{record['trial']}.json").write_text(as_json(rerun))
    document = report(folder)
    lines = [p for id in figures(document) if id.startswith("curves-") for p in points(figures(document)[id])]
    again = [p for p in lines if p.trial == record["trial"] and len(p.x) == 8]
    assert [p.y for p in again] == [tuple(0.1 * epoch for epoch in range(1, 9))]
    assert "above the median" in tables(document)["audit-1"].head
    (folder / "audit" / "t9999.json").write_text("{")
    text = said(section(report(folder), "stopping").blocks)
    assert "What was audited cannot be read: audit/t9999.json: not the record of an audited trial" in text


def test_the_front_of_two_objectives_is_listed_and_drawn(tmp_path: Path) -> None:
    document = report(several_objectives(tmp_path))
    front = tables(document)["front-table"]
    assert front.head == ("trial", f"{METRIC} (max)", "loss (min)")
    assert [row[0].text for row in front.rows] == [f"t{i:04d}" for i in range(11, 5, -1)]
    (drawn,) = [figure for id, figure in figures(document).items() if id.startswith("front-")]
    assert {p.trial for p in points(drawn)} == {f"t{i:04d}" for i in range(12)}


def test_children_of_a_population_are_told(tmp_path: Path) -> None:
    document = report(population(tmp_path))
    assert "1 trial went on from the weights of another" in said(section(document, "searches").blocks)
    runs = tables(document)["runs-search-search"]
    parents = {row[0].text: row[runs.head.index("parent")] for row in runs.rows}
    assert (parents["t0002"].text, parents["t0002"].to) == ("t0000", "run-t0000")


def test_unequal_budgets_are_told(tmp_path: Path) -> None:
    made = Made(arms=ARMS, share={"plain": 0.5, "deep": 0.7, "pixels": 0.2})
    made.search(failing=("t0003",), closed={"deep": "stopped by the operator"}).confirm()
    document = report(made.write(tmp_path / "made"))
    assert "Unequal budgets, deep and plain" in said(section(document, "searches").blocks)
    table = tables(document)["search-table"]
    assert column(table, "ended early") == {"plain": "no", "deep": "stopped by the operator"}
    assert column(table, "failed") == {"plain": "0", "deep": "1"}


def test_the_change_to_make_is_a_file_that_loads(tmp_path: Path) -> None:
    document = report(only_search(tmp_path))
    from ablate.report.document.blocks import Code

    every = blocks(section(document, "parameters").blocks)
    (file,) = [b.text for b in every if isinstance(b, Code)]
    spec = json.loads((tmp_path / "s" / "sweep.json").read_text())
    (tmp_path / "s.yaml").write_text(json.dumps(spec))
    (tmp_path / "again.yaml").write_text(file)
    assert load_sweep(tmp_path / "again.yaml").name == "s-again"


def test_without_completed_trials_each_part_says_why_it_is_not_there(tmp_path: Path) -> None:
    spec = sweep_of(trials=1)
    from tests.report.content.test_document import of_events

    trials = [made_search.Made({1: 0.5}, {"optim.lr": 0.1}, "PRUNED")]
    document = report(of_events(tmp_path, spec, trials))
    for id, what in (("searches", "Budget curves"), ("parameters", "Importance and relations")):
        assert f"{what} are not given: no search trial was completed" in said(section(document, id).blocks)
    assert "No parallel coordinates" in said(section(document, "parameters").blocks)
