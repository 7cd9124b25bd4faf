"""How figures are taken: in turn, each in a process of its own, as ratios with their spread."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ablate.bench import BenchError, Contender, Figure, Record, Suite, take
from ablate.bench.show import markdown, table, write_json
from ablate.cli import app
from tests.bench.contenders import broken, fixed, growing, noted


def suite_of(figure: Figure, *contenders: Contender) -> Suite:
    return Suite("s", "what was run", contenders, (figure,))


def ours_and_theirs(ours: float, theirs: float, **target: float) -> Suite:
    figure = Figure("a trial", "the other", "ours/seconds", "theirs/seconds", "s", **target)  # type: ignore[arg-type]
    sides = (("ours", ours), ("theirs", theirs))
    return suite_of(figure, *(Contender(name, partial(fixed, seconds=s)) for name, s in sides))


def test_a_figure_is_the_ratio_to_the_peer_and_is_judged_by_its_target() -> None:
    [record] = take(ours_and_theirs(0.5, 60.0, at_least=100), repeats=1, command="ablate bench s")
    assert (record.ratio, record.ratios, record.ours, record.theirs) == (120.0, (120.0,), 0.5, 60.0)
    assert (record.target, record.held, record.repeats) == (">= 100", True, 1)
    assert record.command == "ablate bench s"
    assert record.versions["ray"]
    assert "CPUs" in record.machine


@pytest.mark.parametrize(
    ("target", "ratio", "ours", "held"),
    [
        ({"at_least": 10}, 10.0, 1.0, True),
        ({"at_least": 10}, 9.99, 1.0, False),
        ({"below": 1.3}, 1.3, 1.0, False),
        ({"below": 1.3}, 1.29, 1.0, True),
        ({"ours_below": 0.3}, 100.0, 0.3, False),
        ({"ours_below": 0.3}, None, 0.29, True),
        ({}, 0.0, 0.0, None),
    ],
)
def test_targets(target: dict[str, float], ratio: float | None, ours: float, held: bool | None) -> None:
    assert Figure("f", "p", "a/x", "b/x", "s", **target).holds(ratio, ours) is held  # type: ignore[arg-type]


def test_a_target_is_of_something_and_there_is_one_at_most() -> None:
    with pytest.raises(ValueError, match="f: has a target for a ratio, but nothing to divide by"):
        Figure("f", "p", "a/x", None, "s", below=2.0)
    with pytest.raises(ValueError, match="f: has more than one target"):
        Figure("f", "p", "a/x", "b/x", "s", below=2.0, ours_below=1.0)


def test_a_figure_can_stand_alone_under_a_bound(tmp_path: Path) -> None:
    figure = Figure("a wait", "nothing", "growing/seconds", None, "s", ours_below=2.5)
    contender = Contender("growing", partial(growing, log=tmp_path / "log"))
    [record] = take(suite_of(figure, contender), repeats=3, command="")
    assert (record.ours, record.each, record.theirs) == (2.0, (1.0, 2.0, 3.0), None)
    assert (record.ratio, record.ratios, record.target, record.held) == (None, (), "< 2.5 s", True)
    assert "| a wait | nothing | 2 s [1, 3] |  |  | < 2.5 s | held |" in markdown([record])


def test_records_name_the_versions_of_peers_and_a_missing_one_is_refused() -> None:
    ours = Contender("ours", partial(fixed, seconds=1.0))
    figure = Figure("f", "p", "ours/seconds", "ours/seconds", "s")
    [record] = take(Suite("s", "", (ours,), (figure,), ("torchvision",)), repeats=1, command="")
    assert record.versions["torchvision"]
    with pytest.raises(BenchError, match=r"not installed.*: nowhere, missing\. They come with pip install"):
        take(Suite("s", "", (ours,), (figure,), ("nowhere", "torch", "missing")), repeats=1, command="")


def test_the_value_is_the_median_of_the_repetitions_ratios_and_each_is_kept(tmp_path: Path) -> None:
    figure = Figure("later", "first", "growing/seconds", "fixed/seconds", "s", "ours/theirs")
    contenders = (
        Contender("growing", partial(growing, log=tmp_path / "log")),
        Contender("fixed", partial(fixed, seconds=2.0)),
    )
    [record] = take(suite_of(figure, *contenders), repeats=3, command="")
    assert record.ratios == (0.5, 1.0, 1.5)
    assert (record.ratio, record.ours, record.theirs) == (1.0, 2.0, 2.0)


def test_contenders_run_in_turn_forwards_and_backwards(tmp_path: Path) -> None:
    log = tmp_path / "log"
    figure = Figure("f", "p", "a/seconds", "b/seconds", "s")
    contenders = [Contender(name, partial(noted, name=name, log=log)) for name in "abc"]
    told: list[str] = []
    take(suite_of(figure, *contenders), repeats=2, command="", say=told.append)
    assert "".join(log.read_text().split()) == "abccba"
    assert told[3] == "2/2 c: seconds 1"
    assert len(told) == 6


def test_every_run_has_a_process_and_an_empty_folder_of_its_own() -> None:
    figure = Figure("pids", "p", "ours/pid", "theirs/pid", "", "ours/theirs")
    sides = [Contender(name, partial(fixed, seconds=1.0)) for name in ("ours", "theirs")]
    [record] = take(suite_of(figure, *sides), repeats=1, command="")
    assert record.ratio != 1.0
    assert os.getpid() not in (record.ours, record.theirs)


def test_who_fails_is_named_with_the_reason() -> None:
    suite = suite_of(Figure("f", "p", "ours/x", "ours/x", "s"), Contender("ours", broken))
    with pytest.raises(BenchError, match="ours failed: OSError: no space left"):
        take(suite, repeats=1, command="")


def test_a_figure_of_something_nobody_measures_is_an_error() -> None:
    ours = Contender("ours", partial(fixed, seconds=1.0))
    with pytest.raises(ValueError, match="theirs/seconds names none of ours"):
        suite_of(Figure("f", "p", "ours/seconds", "theirs/seconds", "s"), ours)
    with pytest.raises(BenchError, match="nobody measured ours/hours; measured: ours/pid, ours/seconds"):
        take(suite_of(Figure("f", "p", "ours/hours", "ours/hours", "s"), ours), repeats=1, command="")


RECORD = Record(
    name="a trial",
    peer="the other",
    ratio=120.0,
    ratios=(90.0, 120.0, 130.0),
    ours=0.5,
    each=(0.4, 0.5, 0.6),
    theirs=60.0,
    unit="s",
    target=">= 100",
    held=True,
    repeats=3,
    machine="a machine",
    versions={"ray": "2"},
    command="ablate bench s",
)


def test_the_table_and_the_markdown_show_both_sides_the_spread_and_the_verdict() -> None:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table([RECORD]))
    for shown in (console.export_text(), markdown([RECORD])):
        for part in ("a trial", "the other", "0.5 s", "60 s", "120 [90, 130]", ">= 100", "held"):
            assert part in shown


def test_json_holds_records_that_are_complete_in_themselves(tmp_path: Path) -> None:
    write_json([RECORD], tmp_path / "new" / "figures.json")
    [found] = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert Record(**{**found, "ratios": tuple(found["ratios"]), "each": tuple(found["each"])}) == RECORD


@pytest.mark.parametrize(
    ("options", "target", "status", "verdict"),
    [([], 2.0, 0, "held"), ([], 5.0, 1, "MISSED"), (["--quick"], 5.0, 0, "")],
)
def test_the_command_says_what_was_run_and_whether_targets_were_reached(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    target: float,
    status: int,
    verdict: str,
) -> None:
    monkeypatch.setattr(
        "ablate.bench.sweep_suite.sweep_suite", lambda *_: ours_and_theirs(1.0, 4.0, at_least=target)
    )
    path = tmp_path / "figures.json"
    arguments = ["bench", "sweep", "--repeats", "1", "--json", str(path), *options]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    assert "what was run" in result.stdout
    assert verdict in result.stdout
    [record] = json.loads(path.read_text())
    assert (record["ratio"], record["held"]) == (4.0, {"held": True, "MISSED": False, "": None}[verdict])


def test_the_command_ends_with_one_line_if_a_contender_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(Figure("f", "p", "ours/x", "ours/x", "s"), Contender("ours", broken))
    monkeypatch.setattr("ablate.bench.sweep_suite.sweep_suite", lambda *_: suite)
    result = CliRunner().invoke(app, ["bench", "sweep"])
    assert result.exit_code == 1
    assert result.stderr == "ours failed: OSError: no space left\n"
