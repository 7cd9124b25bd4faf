"""The report as a whole: of every kind of sweep there is one, in which everything leads somewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Event
from ablate.report.content import report_of
from ablate.report.document.blocks import Document, Figure, Table
from ablate.spec.sweep import SweepSpec
from tests.report.analysis import made_search
from tests.report.analysis.made_search import drawn, made_events, sweep_of
from tests.report.content.reading import all_blocks, figures, places, points, report, said, section, tables
from tests.report.content.sweeps import mirrored, rich, write
from tests.report.made_sweep import ARMS, Made, append

SHARE = {"plain": 0.5, "deep": 0.7, "pixels": 0.2}
FACTORS: dict[str, Any] = {
    "factors": {
        "depth": {"two": {}, "three": {"head.depth": 3}}, "wide": {"off": {}, "on": {"head.hidden": 9}},
    },
    "design": "full",
}  # fmt: skip
OF_FACTORS = {f"depth={d},wide={w}": 0.5 for d in ("two", "three") for w in ("off", "on")} | {"pixels": 0.2}


PBT: dict[str, Any] = {"kind": "pbt", "every": 2, "mutate": ["optim.lr"], "quantile": 0.5}


def best(tmp_path: Path) -> Path:
    return write(rich(Made().search().confirm()), tmp_path / "made")


def arms(tmp_path: Path) -> Path:
    made = Made(arms=ARMS, confirm={"seeds": 8, "margin": 0.02}, share=SHARE)
    return write(rich(made.search().confirm()), tmp_path / "made")


def replicates(tmp_path: Path) -> Path:
    made = Made(arms={**ARMS, "replicates": 6}, confirm={"seeds": 2}, share=SHARE)
    return write(rich(made.search().confirm()), tmp_path / "made")


def factors(tmp_path: Path) -> Path:
    made = Made(arms=FACTORS, confirm={"seeds": 3}, share=OF_FACTORS)
    return write(rich(made.search().confirm()), tmp_path / "made")


def only_search(tmp_path: Path, **parts: Any) -> Path:
    spec = sweep_of(trials=30, space=made_search.TWO, **parts)
    return of_events(tmp_path, spec, drawn(spec, lambda params: params["optim.lr"], 30))


def of_events(tmp_path: Path, spec: SweepSpec, trials: list[made_search.Made]) -> Path:
    folder = tmp_path / spec.name
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(spec.as_dict()))
    events = made_events(spec, trials, specs=True)
    append(folder, [{k: v for k, v in e.items() if k != "sequence"} for e in events])
    return folder


def several_objectives(tmp_path: Path) -> Path:
    spec = sweep_of(trials=12, tradeoffs=[{"metric": "loss", "mode": "min"}])
    trials = [
        made_search.Made({1: 0.1 * i}, {"optim.lr": 0.02 * (1 + i)}, more={"loss": (i - 6.0) ** 2})
        for i in range(12)
    ]
    return of_events(tmp_path, spec, trials)


def smaller_is_better(tmp_path: Path) -> Path:
    return only_search(tmp_path, mode="min")


def all_failed(tmp_path: Path) -> Path:
    spec = sweep_of(trials=3)
    return of_events(tmp_path, spec, [made_search.Made({}, {"optim.lr": 0.1}, "FAILED") for _ in range(3)])


def population(tmp_path: Path) -> Path:
    spec = sweep_of(trials=2, epochs=4, scheduler=PBT)
    trials = [
        made_search.Made({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, {"optim.lr": 0.1}),
        made_search.Made({1: 0.1, 2: 0.1}, {"optim.lr": 0.2}, "PRUNED"),
        made_search.Made({3: 0.2, 4: 0.5}, {"optim.lr": 0.12}, parent="t0000"),
    ]
    return of_events(tmp_path, spec, trials)


KINDS = (
    best,
    arms,
    replicates,
    factors,
    only_search,
    several_objectives,
    smaller_is_better,
    all_failed,
    population,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_everything_leads_somewhere(tmp_path: Path, kind: Callable[[Path], Path]) -> None:
    document = report(kind(tmp_path))
    ids = [b.id for b in all_blocks(document) if isinstance(b, (Table, Figure))]
    ids += [each.id for each in document.sections]
    assert len(ids) == len(set(ids))
    known = places(document)
    for table in tables(document).values():
        assert all(len(row) == len(table.head) for row in table.rows), table.id
        leads = {cell.to for row in table.rows for cell in row if cell.to}
        assert leads <= known, table.id
    for figure in figures(document).values():
        assert {f"run-{point.trial}" for point in points(figure)} <= known, figure.id
        assert figure.title
        assert figure.description
        assert figure.caption


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_parts_come_in_the_order_in_which_a_sceptic_asks(
    tmp_path: Path, kind: Callable[[Path], Path]
) -> None:
    document = report(kind(tmp_path))
    assert document.question == "does it resume?"
    assert document.answer
    order = ["verdicts", "searches", "stopping", "parameters", "why", "unsettled", "failures", "runs"]
    order += ["provenance", "method"]
    assert [s.id for s in document.sections if s.id in order] == order


@pytest.mark.parametrize("events", [1, 2, 3, 4, 6, 10, 14, 20, 24, 26, 29, 40])
def test_a_sweep_under_way_has_a_report(tmp_path: Path, events: int) -> None:
    made = Made().search().confirm()
    made.events = made.events[:events]
    document = report(made.write(tmp_path / "made"))
    assert "The sweep has not ended" in said(document.answer)
    assert "configurations differ" not in said(document.answer)


def test_nothing_depends_on_where_the_sweep_lies(tmp_path: Path) -> None:
    here, there = (write(rich(Made().search().confirm()), tmp_path / name / "made") for name in "ab")
    for folder in (here, there):
        mirrored(folder, "sqlite:////somewhere/mlflow.db")
    (there / "ledger.jsonl").write_bytes((here / "ledger.jsonl").read_bytes())
    assert report(here) == report(there)


def test_every_run_is_listed_once_under_its_stage_and_arm(tmp_path: Path) -> None:
    folder = arms(tmp_path)
    document = report(folder)
    asked: dict[str, str] = {
        e["trial"]: f"runs-{e['stage']}-{e['arm']}" for e in _events(folder) if e["event"] == "asked"
    }
    listed = {
        row[0].text: t.id for t in tables(document).values() if t.id.startswith("runs-") for row in t.rows
    }
    assert listed == asked


def test_a_run_leads_to_mlflow_and_what_repeated_another_to_that_one(tmp_path: Path) -> None:
    made = Made().search().confirm()
    (second,) = [e for e in made.events if e["event"] == "asked" and e["trial"] == "t0001"]
    second["duplicate_of"] = "t0000"
    made.events = [e for e in made.events if not (e["event"] == "started" and e["trial"] == "t0001")]
    folder = write(made, tmp_path / "made")
    mirrored(folder, "http://me:secret@tracking.example:8080/flow/")
    runs = tables(report(folder))["runs-search-search"]
    by_trial = {row[0].text: dict(zip(runs.head, row, strict=True)) for row in runs.rows}
    run = json.loads((folder / "tracking.json").read_text())["runs"]["t0000"]
    there = f"http://tracking.example:8080/flow/#/experiments/3/runs/{run}?workflowType=machine_learning"
    assert by_trial["t0000"]["in MLflow"].to == there
    assert by_trial["t0001"]["in MLflow"].to == ""  # has no run
    assert (by_trial["t0001"]["duplicate of"].text, by_trial["t0001"]["duplicate of"].to) == (
        "t0000", "run-t0000",
    )  # fmt: skip


def test_no_password_is_shown_anywhere(tmp_path: Path) -> None:
    made = Made().search().confirm()
    uri = "postgresql+psycopg2://somebody:hunter2@db.example/flow?password=hunter2"
    made.events[0]["sweep"]["tracking"]["uri"] = uri
    folder = write(made, tmp_path / "made")
    mirrored(folder, uri)
    document = report(folder)
    assert "hunter2" not in repr(document)
    assert "somebody" not in repr(document)
    assert "http://127.0.0.1:5000/#/experiments/3/runs/" in repr(tables(document)["runs-search-search"])


def test_failures_are_told_with_their_reasons_and_what_to_do(tmp_path: Path) -> None:
    made = Made().search().confirm(lost=("c0001",))
    made._add("abandoned", trial="t0000", reason="node died", epoch=0)
    folder = write(made, tmp_path / "made")
    found = section(report(folder), "failures")
    (table,) = [block for block in found.blocks if isinstance(block, Table)]
    reasons = {row[0].text: row[-1].text for row in table.rows}
    assert reasons == {
        "t0002": "because of COLLAPSED",
        "t0003": "because of FAILED",
        "c0001": "out of memory",
    }
    assert "ablate retry made c0001 t0003" in said(found.blocks)
    assert "1 slot died, and the trial went on from its last checkpoint: node died." in said(found.blocks)


def test_where_it_comes_from(tmp_path: Path) -> None:
    import hashlib

    folder = arms(tmp_path)
    document = report(folder)
    facts = {row[0].text: row[1].text for row in tables(document)["provenance-table"].rows}
    assert hashlib.sha256((folder / "ledger.jsonl").read_bytes()).hexdigest() in facts["ledger"]
    assert (facts["code of the trials"], facts["data"], facts["device"]) == ("c0de", "da7a", "cpu")
    assert facts["libraries"] == "numpy 2.4.6, torch 2.13.0"
    text = said(section(document, "provenance").blocks)
    assert "ablate sweep runs/made/sweep.json" in text
    assert "Not all runs had" not in text
    odd = folder / "trials" / "c0003" / "identity.json"
    odd.write_text(odd.read_text().replace("c0de", "0dd"))
    again = report(folder)
    text = said(section(again, "provenance").blocks)
    assert "Not all runs had the same code: c0003 differ from the others" in text
    facts = {row[0].text: row[1].text for row in tables(again)["provenance-table"].rows}
    assert facts["code of the trials"].startswith("0dd (1 run); c0de (")


def test_the_file_in_the_report_is_the_one_that_was_run(tmp_path: Path) -> None:
    from ablate.spec import load_sweep

    folder = arms(tmp_path)
    code = [t for t in _codes(report(folder)) if t.startswith("name:")]
    (tmp_path / "again.yaml").write_text(code[0])
    assert load_sweep(tmp_path / "again.yaml") == load_sweep(folder / "sweep.json")


def test_what_is_no_record_of_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the record of a sweep"):
        report_of(tmp_path, [])


def _codes(document: Document) -> list[str]:
    from ablate.report.document.blocks import Code

    return [b.text for b in all_blocks(document) if isinstance(b, Code)]


def _events(folder: Path) -> list[Event]:
    from ablate.ledger import Ledger

    return Ledger.read(folder / "ledger.jsonl")
