"""Every file in search_spaces resolves, and its header says what it asks, its source, cost and outcome."""

import re
from itertools import takewhile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.cli.app import app
from ablate.spec import load_sweep, load_trial

SPACES = Path(__file__).parents[1] / "search_spaces"
TRIALS = [SPACES / "full" / "calibration.yaml"]
SWEEPS = sorted({*SPACES.glob("*.yaml"), *(SPACES / "full").glob("*.yaml")} - set(TRIALS))
ALL = [*SWEEPS, *TRIALS, *sorted((SPACES / "theory").glob("*.yaml"))]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.relative_to(SPACES).as_posix())
def test_every_sweep_resolves(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.confirm is not None
    shown = CliRunner().invoke(app, ["sweep", str(path), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert f"name: {sweep.name}" in shown.output


@pytest.mark.parametrize("path", TRIALS, ids=lambda p: p.name)
def test_every_trial_resolves(path: Path) -> None:
    assert load_trial(path).optim.epochs == 200


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.relative_to(SPACES).as_posix())
def test_every_header_is_filled_in(path: Path) -> None:
    header = "\n".join(takewhile(lambda line: line.startswith("#"), path.read_text().splitlines()))
    for part in ("Source", "Command", "Cost", "Observed"):
        assert re.search(rf"^# {part}:\s+\S", header, re.MULTILINE), f"{path}: no {part}"
    assert not re.search(r"OBSERVED_", header)


def test_names_are_distinct() -> None:
    names = [load_sweep(path).name for path in SWEEPS]
    assert len(set(names)) == len(names)
