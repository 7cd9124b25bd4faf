"""The set-up script refuses in words what it cannot do, wherever it is called from; nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the script reads of a clone."""
    (tmp_path / "clusters").mkdir()
    for name in ("clusters/setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def python(path: Path, version: str) -> Path:
    """A program that says it is Python of this version, and refuses whatever it is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\nexit {int(version == '3.9')}\n")
    path.chmod(0o755)
    return path


def refusal(copy: Path, with_python: Path | str) -> str:
    done = subprocess.run(
        ["./setup.sh"],
        cwd=copy / "clusters",
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(with_python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_missing_or_old_python_is_named(copy: Path) -> None:
    assert "'nowhere' is missing" in refusal(copy, "nowhere")
    old = python(copy / "python3", "3.9")
    assert refusal(copy, old).startswith(f"setup: Python 3.11 or newer is needed; '{old}' is 3.9.")


def test_an_environment_of_another_python_is_not_reused_silently(copy: Path) -> None:
    python(copy / ".venv/bin/python", "3.11")
    assert ".venv is 3.11, but" in refusal(copy, python(copy / "python3", "3.12"))
