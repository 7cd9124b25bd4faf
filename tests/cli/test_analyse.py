"""`ablate analyse` and `ablate audit`: what they print, write and refuse, and a real, tiny audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from ruamel.yaml import YAML
from typer.testing import CliRunner

from ablate.cli import analyse, audit
from ablate.ledger import Ledger
from ablate.spec import load_sweep
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.trial import EpochReport, TrialFailure
from tests.report.made_sweep import append
from tests.search.synthetic import METRIC, sweep
from tests.sweep.fake_trial import FakeTrial

app = typer.Typer()
app.add_typer(analyse.app)
app.add_typer(audit.app)

TRAINED: list[str] = []  # spec of every trial that an audit began


class Audited(FakeTrial):
    """A fake trial that is counted."""

    def __init__(self, spec: Any, **options: Any) -> None:
        TRAINED.append(f"{spec.optim.lr:.6f}")
        super().__init__(spec, **options)


class Interrupted(Audited):
    """Ctrl-C in the second trial."""

    def step(self) -> EpochReport:
        if len(TRAINED) == 2:
            raise KeyboardInterrupt
        return super().step()


class Broken(Audited):
    def step(self) -> EpochReport:
        raise RuntimeError("the GPU fell off the bus")


class Full(Audited):
    def step(self) -> EpochReport:
        raise TrialFailure("HALTED", "the disk is full: no space left")


class Otherwise(Audited):
    """Other numbers than the ledger's."""

    def step(self) -> EpochReport:
        report = super().step()
        return EpochReport(report.epoch, {**report.metrics, METRIC: report.metrics[METRIC] + 0.125})


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    TRAINED.clear()


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def ran(runs: Path, **options: Any) -> Path:
    """The folder of a sweep of trials without training, most of them stopped early."""
    plan: dict[str, Any] = {"trials": 24, "rungs": (1, 2), "sampler": {"kind": "random"}, **options}
    with Driver(sweep(**plan), runs) as driver:
        run_inline(driver, None, 1, FakeTrial)
    return driver.folder


def audited(runs: Path, trial: Any, monkeypatch: pytest.MonkeyPatch, *more: str) -> Result:
    monkeypatch.setattr("ablate.trial.TrialRun", trial)
    monkeypatch.setattr("ablate.data.build", lambda *_, **__: None)
    return call("audit", "s", "--runs", str(runs), *more)


def test_an_analysis_is_printed_and_written(tmp_path: Path) -> None:
    ran(tmp_path, space={"optim.lr": {"float": [0.001, 0.05], "log": True}}, rungs=())
    numbers, text = tmp_path / "numbers.json", tmp_path / "text.md"
    result = call("analyse", "s", "--runs", str(tmp_path), "--json", str(numbers), "--markdown", str(text))
    assert result.exit_code == 0, result.stderr
    assert "pressed" in result.stdout
    tree = json.loads(numbers.read_text())
    assert [c["key"] for c in tree["patch"]["changes"]] == ["optim.lr"]
    assert tree["patch"]["text"] in text.read_text()
    assert tree["patch"]["text"].rstrip("\n") in result.stdout
    assert "optim.lr: {float: [0.001, 0.35], log: true}" in result.stdout


def test_the_printed_patch_loads_beside_the_file(tmp_path: Path) -> None:
    folder = ran(tmp_path, space={"optim.lr": {"float": [0.001, 0.05], "log": True}}, rungs=())
    text = tmp_path / "s.md"
    call("analyse", "s", "--runs", str(tmp_path), "--markdown", str(text))
    patch = text.read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "s.yaml").write_text((folder / "sweep.json").read_text())
    (tmp_path / "wider.yaml").write_text(patch)
    assert YAML(typ="safe", pure=True).load(patch)["extends"] == "s.yaml"
    assert load_sweep(tmp_path / "wider.yaml").space["optim.lr"].float == (0.001, 0.35)  # type: ignore[union-attr]


def test_equal_ledgers_give_equal_bytes(tmp_path: Path) -> None:
    ran(tmp_path)
    for name in ("a", "b"):
        written = ["--json", str(tmp_path / f"{name}.json"), "--markdown", str(tmp_path / f"{name}.md")]
        assert call("analyse", "s", "--runs", str(tmp_path), *written).exit_code == 0
    for kind in ("json", "md"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_dry_run_names_the_trials_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ran(tmp_path)
    result = audited(tmp_path, Audited, monkeypatch, "--dry-run")
    lines = result.stdout.splitlines()
    assert (result.exit_code, len(lines), lines[-1]) == (0, 4, "9 epochs to train")
    assert all("of search: stopped at epoch" in line for line in lines[:-1])
    assert {line.split("epoch ")[1][0] for line in lines[:-1]} == {"1", "2"}  # from both rungs
    assert TRAINED == []
    assert not (folder / "audit").exists()


def test_an_audit_repeats_the_ledger_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ran(tmp_path)
    before = (folder / "ledger.jsonl").read_bytes()
    result = audited(tmp_path, Audited, monkeypatch)
    assert result.exit_code == 0, result.stderr
    assert "all re-runs repeat the ledger's numbers bit for bit" in result.stdout
    assert len(TRAINED) == len(list((folder / "audit").glob("*.json"))) == 3
    assert (folder / "ledger.jsonl").read_bytes() == before
    again = audited(tmp_path, Audited, monkeypatch)
    assert (again.exit_code, again.stdout.count("already run"), len(TRAINED)) == (0, 3, 3)
    more = audited(tmp_path, Audited, monkeypatch, "--trials", "5")
    assert (more.exit_code, len(TRAINED)) == (0, 5)
    shown = call("analyse", "s", "--runs", str(tmp_path)).stdout
    assert "5 of " in shown


def test_a_trial_that_gets_better_at_the_same_pace_is_never_killed_falsely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fake trials go half-way to their quality in each epoch: the order at a rung is that of the end."""
    ran(tmp_path, space={"optim.lr": {"float": [0.01, 0.7], "log": True}})
    audited(tmp_path, Audited, monkeypatch, "--trials", "8")
    numbers = tmp_path / "numbers.json"
    call("analyse", "s", "--runs", str(tmp_path), "--json", str(numbers))
    [arm] = json.loads(numbers.read_text())["audit"]
    assert len(arm["audited"]) == 8
    assert (arm["rates"]["best"]["count"], arm["regret"]) == (0, 0)
    assert [t["tau"] for t in arm["taus"]] == pytest.approx([1, 1])


def test_an_interrupted_audit_goes_on_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ran(tmp_path)
    result = audited(tmp_path, Interrupted, monkeypatch)
    assert result.exit_code == 130
    assert f"ablate audit s --runs {tmp_path} goes on" in result.stderr
    assert len(list((folder / "audit").iterdir())) == 1
    first = TRAINED[0]
    TRAINED.clear()
    assert audited(tmp_path, Audited, monkeypatch).exit_code == 0
    assert len(TRAINED) == 2
    assert first not in TRAINED


def test_a_trial_that_fails_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(tmp_path)
    result = audited(tmp_path, Broken, monkeypatch, "--trials", "1")
    assert result.exit_code == 1
    assert "FAILED: RuntimeError: the GPU fell off the bus" in result.stdout
    assert "failed and is not counted" in result.stdout
    result = audited(tmp_path, Audited, monkeypatch, "--trials", "1")
    assert result.exit_code == 0
    assert len(TRAINED) == 2
    assert "not counted" not in result.stdout


def test_a_full_disk_ends_the_audit_and_blames_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ran(tmp_path)
    result = audited(tmp_path, Full, monkeypatch)
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    assert not (folder / "audit").exists()


def test_numbers_that_differ_from_the_ledger_are_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(tmp_path)
    result = audited(tmp_path, Otherwise, monkeypatch)
    assert result.exit_code == 0
    assert "3 of 3 re-runs did not repeat the ledger's numbers" in " ".join(result.stdout.split())
    assert "off by up to 0.12" in " ".join(result.stdout.split())


def test_wrong_calls_say_what_is_missing_without_a_traceback(tmp_path: Path) -> None:
    ran(tmp_path, trials=3, rungs=())
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/sweep.json").write_text("{}")
    runs = ["--runs", str(tmp_path)]
    for words, status, message in [
        (["analyse", "nothing"], 2, "no such sweep (found in"),
        (["audit", "nothing"], 2, "no such sweep (found in"),
        (["analyse", "begun"], 1, "nothing was recorded here (ledger.jsonl is missing)"),
        (["audit", "begun"], 1, "nothing was recorded here (ledger.jsonl is missing)"),
        (["audit", "s"], 1, "s: no search trial was stopped early: there is nothing to audit"),
        (["analyse", "s", "--json", str(tmp_path / "no/such.json")], 1, "cannot be written"),
    ]:
        result = call(*words, *runs)
        assert (result.exit_code, message in result.stderr) == (status, True), result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_sweep_in_which_nothing_completed_is_refused_with_the_numbers_that_are_needed(
    tmp_path: Path,
) -> None:
    ran(tmp_path, trials=4, rungs=(), space={"optim.lr": {"float": [0.91, 1.0]}})
    result = call("analyse", "s", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith("s: no search trial was completed with a finite probe.h.val (4 failed)")
    assert "importance 10, boundaries 12" in result.stderr


def test_a_half_written_ledger_is_read_up_to_its_last_whole_record(tmp_path: Path) -> None:
    folder = ran(tmp_path)
    path = folder / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: 3 * len(lines) // 4]) + b'{"sequence": 1')
    result = call("analyse", "s", "--runs", str(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert "has not ended" in result.stdout


def test_a_damaged_ledger_and_a_damaged_audit_are_named(tmp_path: Path) -> None:
    folder = ran(tmp_path)
    (folder / "audit").mkdir()
    (folder / "audit/t0001.json").write_text("{")
    result = call("analyse", "s", "--runs", str(tmp_path))
    assert result.exit_code == 1
    assert "t0001.json: not the record of an audited trial" in result.stderr
    path = folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seed"', b'"sead"', 1))
    for command in ("analyse", "audit"):
        result = call(command, "s", "--runs", str(tmp_path))
        assert (result.exit_code, "its check sum does not match" in result.stderr) == (1, True)


def test_a_trial_that_was_never_finished_is_left_out(tmp_path: Path) -> None:
    folder = ran(tmp_path, trials=3, rungs=())
    events = Ledger.read(folder / "ledger.jsonl")
    asked = next(e for e in events if e["event"] == "asked")
    fields = {k: v for k, v in asked.items() if k not in ("sequence", "time", "crc", "version")}
    append(folder, [{**fields, "trial": "t0099", "number": 99}])
    numbers = tmp_path / "numbers.json"
    result = call("analyse", "s", "--runs", str(tmp_path), "--json", str(numbers))
    assert result.exit_code == 0, result.stderr
    assert json.loads(numbers.read_text())["trials"] == {"search": "3 complete"}


def tiny() -> SweepSpec:
    """Real training of two epochs; with hardly any learning rate the loss is stopped at the first."""
    made = sweep(
        trials=3,
        epochs=2,
        rungs=(1,),
        space={"optim.lr": {"float": [1e-6, 0.5], "log": True}},
        objective={"metric": "loss", "mode": "min"},
        points=[{"optim.lr": 0.3}, {"optim.lr": 1e-6}, {"optim.lr": 2e-6}],
        name="tiny",
    ).as_dict()
    made["base"] |= {
        "data": {"kind": "digits", "train": 200, "test": 60},
        "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1]},
        "head": {"kind": "mlp", "depth": 1, "out": 8},
        "optim": {"kind": "sgd", "lr": 0.1, "epochs": 2, "batch": 20, "warmup_epochs": 0.1},
    }
    return SweepSpec.model_validate(made)


def test_a_real_audit_trains_to_the_end_and_repeats_the_ledger_bit_for_bit(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Driver(tiny(), tmp_path) as driver:
        run_inline(driver, cache, 1)
    result = call("audit", "tiny", "--runs", str(tmp_path), "--cache", str(cache), "--trials", "2")
    assert result.exit_code == 0, result.output
    assert "all re-runs repeat the ledger's numbers bit for bit" in " ".join(result.stdout.split())
    records = [json.loads(f.read_text()) for f in sorted((driver.folder / "audit").iterdir())]
    assert len(records) == 2
    for record in records:
        assert (record["state"], sorted(record["curve"])) == ("COMPLETE", ["1", "2"])
        assert not any(name.endswith(".test") for name in record["curve"]["2"])  # the test split is not read
    numbers = tmp_path / "numbers.json"
    call("analyse", "tiny", "--runs", str(tmp_path), "--json", str(numbers))
    [arm] = json.loads(numbers.read_text())["audit"]
    assert all(trial["same"] for trial in arm["audited"])
    assert arm["rates"]["median"]["trials"] == 2
