"""`ablate plan`: what is printed, kept and compared, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli import app
from ablate.spec.sweep import SweepSpec
from tests.report.planning.ran import Ran, arms_sweep
from tests.search.synthetic import sweep

SCORES = {"plain": [0.50, 0.52, 0.47, 0.55], "deep": [0.53, 0.50, 0.52, 0.56]}
BETTER = {"plain": [0.5] * 6, "deep": [0.70, 0.71, 0.69, 0.72, 0.70, 0.68]}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def written(folder: Path, spec: SweepSpec) -> Path:
    """The sweep as a file; JSON is YAML."""
    file = folder / "sweep.yaml"
    file.write_text(json.dumps(spec.as_dict()))
    return file


def pilot(runs: Path) -> Path:
    made = Ran(arms_sweep(name="short")).trial("t0000", "plain").confirm(SCORES)
    return made.end().write(runs / "short")


def test_a_plan_with_a_pilot_says_costs_noise_and_what_it_finds(tmp_path: Path) -> None:
    pilot(tmp_path / "runs")
    result = call(
        written(tmp_path, arms_sweep(trials=4, seeds=8, resources={"cpus": 2})),
        "--pilot", "short", "--runs", tmp_path / "runs", "--price-cpu-hour", "0.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = {line.split("│")[0].strip(): line.split("│")[1:] for line in result.stdout.splitlines()}
    cells = {name: [cell.strip() for cell in row] for name, row in rows.items() if len(row) == 2}
    assert cells["search trials"] == ["8", "8"]
    assert cells["confirm epochs"] == ["48", "48"]
    hours = (8 + 16) * 30 / 3600
    assert cells["wall hours"] == [f"{hours:.3g}"] * 2
    assert cells["CPU hours"] == [f"{2 * hours:.3g}"] * 2
    assert cells["money"] == [f"{0.1 * 2 * hours:.3g}"] * 2
    assert "GPU hours" not in cells
    for said in (
        "s: plain, deep: 1 comparison on 8 seeds each, alpha 0.05 after Holm",
        "noise: sd of a paired difference 0.0299, 95% interval 0.017 to 0.11 (2 arms, 4 seeds of short",
        "the upper 80% bound of that sd",
        "with power 0.8 it finds a difference of 0.0",
        "seconds an epoch in search (80% of epochs): plain 10, deep 10\n",
        "seconds an epoch in confirm (80% of epochs): plain 10, deep 10\n",
        "resources.cpus (1, here 2)",
    ):
        assert said in result.stdout, said


def test_a_refusal_comes_first_and_ends_with_status_1(tmp_path: Path) -> None:
    result = call(written(tmp_path, arms_sweep(seeds=5)))
    assert result.exit_code == 1
    first, second, *_ = result.stdout.splitlines()
    assert first == "s: not to be promised"
    assert "5 seeds are too few" in second
    assert "6 seeds are needed" in second
    assert "search trials" in result.stdout  # the rest is still said
    assert call(written(tmp_path, arms_sweep(seeds=5)), "--set", "confirm.seeds=6").exit_code == 0


def test_without_a_confirm_stage_it_says_what_the_search_costs(tmp_path: Path) -> None:
    result = call(written(tmp_path, sweep(trials=6)))
    assert result.exit_code == 1
    assert "no confirm stage" in result.stdout.splitlines()[1]
    assert "search epochs" in result.stdout


def test_what_nobody_told_is_unknown_and_not_invented(tmp_path: Path) -> None:
    result = call(written(tmp_path, arms_sweep()), "--price-cpu-hour", "1")
    assert result.exit_code == 0
    assert "unknown: the noise" in result.stdout
    assert "unknown: how long an epoch takes" in result.stdout
    assert "money" not in result.stdout.split("unknown:")[0]


def test_looks_and_the_seeds_that_they_save_are_shown(tmp_path: Path) -> None:
    result = call(written(tmp_path, arms_sweep(seeds=10, looks=[7, 10])), "--sd", "0.02", "--effect", "0.08")
    assert result.exit_code == 0, result.output
    assert "looks after so many seeds, with their alpha: 7 (0.017), 10 (0.033)" in result.stdout
    assert "a difference of 0.08, asked for, is found with power " in result.stdout
    assert " of 10 seeds are used on average if one arm differs so" in result.stdout


def test_numbers_go_to_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    result = call(written(tmp_path, arms_sweep(margin=0.04)), "--sd", "0.02", "--json", file)
    assert result.exit_code == 0, result.output
    tree = json.loads(file.read_text())
    assert tree["noise"]["sd"] == 0.02
    assert tree["cost"]["amounts"]["confirm trials"] == {"expected": 16.0, "most": 16.0}
    assert tree["promise"]["effect"] == 0.04


def test_a_pilot_may_be_named_by_its_path(tmp_path: Path) -> None:
    folder = pilot(tmp_path / "elsewhere")
    result = call(written(tmp_path, arms_sweep()), "--pilot", folder)
    assert result.exit_code == 0, result.output
    assert "4 seeds of short" in result.stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--sd", "0"], 2, "--sd must be above 0, found 0"),
        (["--effect", "-0.1"], 2, "--effect must be above 0"),
        (["--price-gpu-hour", "nan"], 2, "--price-gpu-hour must be 0 or more, found nan"),
        (["--power", "1"], 2, "--power must lie between 0 and 1"),
        (["--pilot", "nothing", "--runs", "nowhere"], 2, "nowhere/nothing: no such sweep"),
        (["--set", "confirm.sedes=3"], 2, "did you mean 'seeds'"),
        (["--check", "plan.json", "--sd", "0.1"], 2, "--check takes a plan and the sweep that was run"),
        (["--check", "no-such-plan.json"], 2, "no-such-plan.json: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    result = call(written(tmp_path, arms_sweep()), *options)
    assert (result.exit_code, len(result.stderr.splitlines())) == (status, 1), result.output
    assert said in result.stderr


def test_a_pilot_in_which_nothing_has_happened_or_that_is_damaged_is_told(tmp_path: Path) -> None:
    file, empty = written(tmp_path, arms_sweep()), tmp_path / "runs" / "empty"
    empty.mkdir(parents=True)
    (empty / "sweep.json").write_text("{}")
    result = call(file, "--pilot", "empty", "--runs", tmp_path / "runs")
    assert (result.exit_code, "nothing has happened in this sweep yet" in result.stderr) == (1, True)
    ledger = pilot(tmp_path / "runs") / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b'"c0001"', b'"c0011"', 1))
    result = call(file, "--pilot", "short", "--runs", tmp_path / "runs")
    assert (result.exit_code, "check sum" in result.stderr) == (1, True)
    ledger.write_bytes(whole[:-20])  # half a record at the end
    assert call(file, "--pilot", "short", "--runs", tmp_path / "runs").exit_code == 0


def test_a_plan_is_kept_once_and_compared_with_what_happened(tmp_path: Path) -> None:
    runs, kept = tmp_path / "runs", tmp_path / "plan.json"
    spec = arms_sweep(trials=1, seeds=6)
    file = written(tmp_path, spec)
    pilot(runs)
    assert call(file, "--pilot", "short", "--runs", runs, "--write", kept).exit_code == 0
    again = call(file, "--write", kept)
    assert (again.exit_code, "a plan is not overwritten" in again.stderr) == (2, True)
    made = Ran(spec)
    for i, arm in enumerate(("plain", "deep")):
        made.trial(f"t{i:04d}", arm, each=40.0)
    made.declare().confirm(BETTER, each={"plain": 40.0, "deep": 40.0}).end().write(runs / "s")
    result = call("s", "--check", kept, "--runs", runs, "--json", tmp_path / "check.json")
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")] for line in result.stdout.splitlines()]
    assert ["confirm trials", "12", "12", "1.00"] in rows
    assert ["seconds an epoch", "10", "40", "4.00"] in rows
    assert ["verdicts", "1", "1", "1.00"] in rows
    assert "deep - plain: better" in result.stdout
    assert "an epoch took 40 s, not 10 s" in result.stdout.splitlines()[-1]
    assert json.loads((tmp_path / "check.json").read_text())["ended"] is True


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    Ran(arms_sweep()).write(tmp_path / "runs" / "s")
    (tmp_path / "x.json").write_text('{"kind": "ablate plan 0"}')
    result = call("s", "--check", tmp_path / "x.json", "--runs", tmp_path / "runs")
    assert result.exit_code == 2
    assert "not a plan that `ablate plan --write` of this version kept: kind" in result.stderr
