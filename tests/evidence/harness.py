"""Registers the long checks and writes what they found, with what is needed to repeat them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.machine import cpu_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "evidence"
GALLERY = ROOT / "docs" / "gallery"
_LIBRARIES = ("torch", "torchvision", "ray", "optuna", "mlflow", "ffcv", "numpy", "scipy")


@dataclass(frozen=True)
class Finding:
    """``claim`` in one sentence, the figures seen, whether it held, and the same as Markdown."""

    claim: str
    held: bool
    figures: dict[str, Any]
    text: str


Check = Callable[[Path], Finding]  # takes an empty scratch folder
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return register


def commit() -> str:
    """The commit that is checked out, marked if the tree differs from it in more than what checks write."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    written = (f":!{path.relative_to(ROOT)}" for path in (FOLDER, GALLERY))
    dirty = git("status", "--porcelain", "--", ".", *written).strip()
    return git("rev-parse", "--short=12", "HEAD").strip() + (" with uncommitted changes" if dirty else "")


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu_model()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Python {platform.python_version()}"


def write(name: str, finding: Finding, seconds: float) -> None:
    FOLDER.mkdir(exist_ok=True)
    record = {
        "name": name,
        "claim": finding.claim,
        "held": finding.held,
        "figures": finding.figures,
        "command": f"make evidence NAME={name}",
        "commit": commit(),
        "machine": machine(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    (FOLDER / f"{name}.md").write_text(
        f"# {name}\n\n{finding.claim}\n\n**{'Held' if finding.held else 'Did not hold'}**\n\n"
        f"{finding.text.strip()}\n\n---\n`{record['command']}` at {record['commit']}, {record['date']}, "
        f"{record['seconds']} s on {record['machine']}; {versions}\n"
    )


def is_current(name: str) -> bool:
    """Whether the result at hand was made at this very commit."""
    path = FOLDER / f"{name}.json"
    return path.exists() and json.loads(path.read_text())["commit"] == commit()


def run(name: str, scratch: Path) -> Finding:
    began = time.monotonic()
    finding = CHECKS[name](scratch)
    write(name, finding, time.monotonic() - began)
    return finding
