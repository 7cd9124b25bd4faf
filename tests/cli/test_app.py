"""The command line: what it prints, its exit status, and what it leaves unimported."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ablate.cli import app
from ablate.spec import SweepSpec, load_sweep
from tests.spec.files import GOOD, write
from tests.spec.test_load import FIVE_MISTAKES

runner = CliRunner()
DIGITS = "data: {kind: digits, train: 200, test: 100}\nhead: {kind: none}\n"


def test_dry_run_prints_the_resolved_sweep_which_reads_back_equal(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    result = runner.invoke(app, ["sweep", str(path), "--dry-run", "--trials", "3", "--set", "base.seed=5"])
    assert result.exit_code == 0, result.output
    resolved = load_sweep(write(tmp_path, result.stdout, "resolved.yaml"))
    assert (resolved.search.trials, resolved.base.seed) == (3, 5)
    assert resolved == load_sweep(path, ["search.trials=3", "base.seed=5"])


def test_mistakes_end_with_status_2_one_line_each_on_stderr(tmp_path: Path) -> None:
    path = write(tmp_path, FIVE_MISTAKES)
    result = runner.invoke(app, ["sweep", str(path)])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0].removeprefix(f"{path}:") for line in lines] == [
        "7:5",
        "8:17",
        "10:3",
        "11:42",
        "12:18",
    ]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resume", "nothing", "--runs", "."], "no such sweep"),
        (["ui", "--runs", "gone"], "no such folder"),
        (["train", "gone.yaml"], "No such file"),
        (["sweep"], "Missing argument"),
    ],
)
def test_a_wrong_call_ends_with_status_2_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_sweep_and_resume_hand_their_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "ablate.sweep.run.run_sweep", lambda sweep, **options: calls.append({"sweep": sweep, **options})
    )
    path, runs = write(tmp_path, GOOD), tmp_path / "runs"
    options = ["--runs", str(runs), "--backend", "inline", "--address", "head:1"]
    assert runner.invoke(app, ["sweep", str(path), *options, "--trials", "5"]).exit_code == 0
    (runs / "good").mkdir(parents=True)
    (runs / "good" / "sweep.json").write_text(json.dumps(calls[0]["sweep"].as_dict()))
    assert runner.invoke(app, ["resume", "good", *options]).exit_code == 0
    first, second = calls
    assert first == {
        "sweep": load_sweep(path, ["search.trials=5"]),
        "runs": runs,
        "backend": "inline",
        "address": "head:1",
        "cache": None,
        "resume": False,
        "changes": None,
        "storage": None,
    }
    assert second == {**first, "resume": True}


def test_a_sweep_to_be_resumed_begins_and_the_next_time_goes_on_with_the_file_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[bool, int, int | None]] = []

    def record(sweep: SweepSpec, *, runs: Path, resume: bool, changes: SweepSpec | None, **_: Any) -> None:
        calls.append((resume, sweep.search.trials, changes and changes.search.trials))
        (runs / "good").mkdir(parents=True, exist_ok=True)
        (runs / "good" / "sweep.json").write_text(json.dumps(sweep.as_dict()))

    monkeypatch.setattr("ablate.sweep.run.run_sweep", record)
    command = ["sweep", str(write(tmp_path, GOOD)), "--resume", "--runs", str(tmp_path / "runs")]
    for trials in ("5", "9"):
        assert runner.invoke(app, [*command, "--trials", trials]).exit_code == 0
    assert calls == [(False, 5, None), (True, 5, 9)]
    simulated = runner.invoke(app, [*command, "--backend", "simulated", "--curves", "x"])
    assert (simulated.exit_code, "not resumed" in simulated.stderr) == (2, True)


def test_bad_data_ends_with_status_2_and_names_the_file(tmp_path: Path) -> None:
    text = "data: {kind: parquet, path: gone}\nhead: {kind: none}\noptim: {kind: sgd}\n"
    arguments = [str(write(tmp_path, text)), "--cache", str(tmp_path / "cache")]
    for command in (["train"], ["data", "build"], ["data", "inspect"]):
        result = runner.invoke(app, [*command, *arguments])
        assert result.exit_code == 2, result.output
        assert "gone" in result.stderr
        assert "Traceback" not in result.output


def test_train_runs_one_trial_and_writes_its_artifacts(tmp_path: Path) -> None:
    text = DIGITS + "encoder: {kind: pixels}\noptim: {kind: sgd, epochs: 0}\n"
    folder = tmp_path / "trial"
    arguments = ["--folder", str(folder), "--cache", str(tmp_path / "cache")]
    result = runner.invoke(app, ["train", str(write(tmp_path, text)), *arguments])
    assert result.exit_code == 0, result.output
    assert "COMPLETE" in result.stdout
    assert "images resident: 230 kB of pixels, at most " in result.stdout
    again = runner.invoke(app, ["train", str(folder / "spec.json"), "--cache", str(tmp_path / "cache")])
    assert again.exit_code == 0, again.output


def test_data_commands_build_list_and_inspect(tmp_path: Path) -> None:
    path, cache = write(tmp_path, DIGITS + "optim: {kind: sgd}\n"), ["--cache", str(tmp_path / "cache")]
    assert "Nothing is built" in runner.invoke(app, ["data", "list", *cache]).stdout
    built = runner.invoke(app, ["data", "build", str(path), *cache])
    assert "200 training and 100 test images" in built.stdout
    assert "digits" in runner.invoke(app, ["data", "list", *cache]).stdout.partition("Built in")[2]
    shown = runner.invoke(app, ["data", "inspect", str(path), *cache])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.rstrip().splitlines()[-2].replace("│", " ").split() == ["all", "160", "40", "100"]
    assert "images resident: 230 kB of pixels, at most " in shown.stdout


def test_a_damaged_data_set_is_listed_as_that(tmp_path: Path) -> None:
    for name, text in (("torn", '{"digest": "to'), ("empty", "{}"), ("other", "[1]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_text(text)
    result = runner.invoke(app, ["data", "list", "--cache", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("damaged (") == 3


def test_data_build_reads_a_trial_that_extends_another(tmp_path: Path) -> None:
    write(tmp_path, DIGITS + "optim: {kind: sgd}\n", "shared.yaml")
    path = write(tmp_path, "extends: shared.yaml\nseed: 3\n", "over.yaml")
    result = runner.invoke(app, ["data", "build", str(path), "--cache", str(tmp_path / "cache")])
    assert "200 training and 100 test images" in result.stdout, result.output


def test_schema_prints_json() -> None:
    for kind, key in (("sweep", "space"), ("trial", "optim")):
        result = runner.invoke(app, ["schema", kind])
        assert key in json.loads(result.stdout)["properties"]


@pytest.mark.parametrize("call", ["--help", "sweep --help", "schema", "sweep {file} --dry-run"])
def test_light_commands_import_no_heavy_library(tmp_path: Path, call: str) -> None:
    arguments = call.format(file=write(tmp_path, GOOD)).split()
    code = (
        "import sys\nfrom ablate.cli import main\n"
        f"sys.argv = ['ablate', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_usage_reports_of_ray_and_mlflow_are_off_unless_the_user_said_otherwise() -> None:
    code = (
        "import os, ablate as _\n"
        "print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    for given, expected in (({}, "0 true"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "1 true")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given
        )
        assert done.stdout.strip() == expected
