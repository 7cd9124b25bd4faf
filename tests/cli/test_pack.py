"""`ablate pack`: what it refuses, what it measures and what it says to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli import app
from ablate.spec.trial import TrialSpec
from ablate.trial.packing import Measured, Packing, choose
from tests.spec.files import GOOD, write

TRIAL = """\
data: {kind: digits, train: 200, test: 100}
encoder: {kind: tiny-resnet, width: 4, blocks: [1, 1]}
head: {kind: mlp, depth: 2, hidden: 16, out: 8}
optim: {kind: sgd, lr: 0.1, epochs: 3, batch: 64}
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pack", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def cache(tmp_path: Path) -> list[str]:
    return ["--cache", str(tmp_path / "cache")]


def test_without_a_gpu_it_refuses_and_says_what_to_do(
    tmp_path: Path, cache: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = call(str(write(tmp_path, TRIAL)), *cache)
    assert result.exit_code == 2
    assert "--device cpu" in result.stderr
    assert not (tmp_path / "cache").exists()


def test_a_trial_is_measured_on_the_cpu(tmp_path: Path, cache: list[str]) -> None:
    file = str(write(tmp_path, TRIAL))
    result = call(file, *cache, "--device", "cpu", "--most", "1", "--seconds", "0.1")
    assert result.exit_code == 0, result.output
    assert "Measured with the trial, 1 CPU thread(s) each." in result.stdout
    assert "To write: resources.slots: 1, with resources.cpus: 1" in result.stdout


def test_a_trial_that_cannot_run_ends_with_status_1_and_its_reason(tmp_path: Path, cache: list[str]) -> None:
    file = str(write(tmp_path, TRIAL))
    result = call(file, *cache, "--device", "cpu", "--set", "optim.batch=1000")
    assert result.exit_code == 1
    assert "optim.batch (1000) exceeds" in result.stderr
    assert "Traceback" not in result.output


def test_several_workers_are_not_packed(tmp_path: Path, cache: list[str]) -> None:
    file = str(write(tmp_path, GOOD))
    result = call(file, *cache, "--device", "cpu", "--set", "resources.workers=2")
    assert result.exit_code == 2
    assert "NCCL" in result.stderr


def test_of_a_sweep_the_heaviest_trial_is_measured_and_the_number_told(
    tmp_path: Path, cache: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def measure(spec: TrialSpec, **options: Any) -> Packing:
        asked.update(options, spec=spec)
        found = [Measured(1, 1000, 10**9), Measured(2, 1800, 10**9), Measured(4, 0, 0, "out of memory")]
        choice = choose(found, 10**10)
        return Packing("NVIDIA H", 10**10, {}, "hash", options["threads"], 5.0, tuple(found), choice)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("ablate.data.build", lambda *_, **__: None)
    monkeypatch.setattr("ablate.trial.packing.measure_packing", measure)
    text = f"{GOOD}resources: {{cpus: 3, gpus: auto}}\n"
    text = text.replace("  optim.lr: {", "  optim.batch: {choice: [64, 96]}\n  optim.lr: {")
    result = call(str(write(tmp_path, text)), *cache, "--most", "6")
    assert result.exit_code == 0, result.output
    assert (asked["counts"], asked["threads"], asked["device"]) == ((1, 2, 4, 6), 3, torch.device("cuda"))
    assert (asked["spec"].optim.batch, asked["spec"].head.depth) == (96, 3)
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert ["2", "1,800", "900", "1.80", "1", "GB"] in rows
    assert ["4", "out", "of", "memory"] in rows
    assert "optim.batch=96" in result.stdout
    assert (
        "To write: resources.gpus: 0.5, with resources.slots at least 2 and 6 CPU(s) for each GPU"
        in result.stdout
    )
