"""`ablate bench` at full size: what a sweep costs, and how fast the engine is, against peers in the same run.

Nothing else should run beside these checks.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ablate.bench import Record
from ablate.bench.show import markdown
from tests.evidence.checks import ABLATE, DATA
from tests.evidence.harness import ROOT, Finding, check

_EVERYWHERE = ("machine", "command")  # said once, by the harness
ENGINE = ("views", "load", "step", "start", "memory")
_WITH_PHOTOS = ("views", "load")
_PHOTOS = DATA / "imagenet-sample"


def taken(suite: str, scratch: Path, *words: str | Path) -> tuple[list[dict[str, Any]], str]:
    """The records of `ablate bench <suite>`, and what was run, in the suite's own words."""
    path = scratch / f"{suite}.json"
    command = [ABLATE, "bench", suite, "--json", path, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not path.exists():
        raise RuntimeError(f"{suite} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return json.loads(path.read_text()), done.stdout.partition("\n\n")[2].partition("\n\n")[0]


def held(records: list[dict[str, Any]]) -> bool:
    return all(record["held"] is not False for record in records)


def figures(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in _EVERYWHERE} for record in records]


def shown(records: list[dict[str, Any]]) -> str:
    return markdown([Record(**record) for record in records])


@check("bench")
def against_peers(scratch: Path) -> Finding:
    """About half an hour."""
    records, about = taken("sweep", scratch)
    return Finding(
        "An empty trial costs at least 100 times less than in Tune with a fresh TorchTrainer a trial, and 10 "
        "times less than as a plain function trial, and no more late in a sweep of 1,000. With real trials "
        "of 20 s or more, two slots on two cores spend at least 0.9 of their time in them.",
        held(records),
        {"records": figures(records)},
        f"{shown(records)}\n\n{about}",
    )


@check("engine")
def engine(scratch: Path) -> Finding:
    """About half an hour; photos are those of imagenet-sample beside the other test data, where it is."""
    photos = ["--photos", _PHOTOS] if _PHOTOS.is_dir() else []
    records: list[dict[str, Any]] = []
    texts = [f"Photos: {'those of imagenet-sample' if photos else 'made up'}.\n"]
    for suite in ENGINE:
        found, about = taken(suite, scratch, *(photos if suite in _WITH_PHOTOS else ()))
        records += found
        texts.append(f"**{suite}**: {about.strip()}\n")
    libraries = {name: version for record in records for name, version in record["versions"].items()}
    texts.append(f"With {', '.join(f'{name} {version}' for name, version in libraries.items())}.")
    return Finding(
        "Two views are made at least 15 times as fast as by torchvision and 8 times as fast as by kornia at "
        "32 px, 5 times as fast as by torchvision at 224 px with blur. JPEG photos become two views at least "
        "4 times as fast as by torchvision and 1.5 times as fast as by plain FFCV, small resident images 20 "
        "times. A step of SimCLR is at least twice as fast as lightly's, .8 as fast as the bare encoder. A "
        "warm slot's next trial takes its first step within .3 s, `ablate --help` takes less than .5 s. "
        "InfoNCE in chunks has the same loss and gradient to 1e-5.",
        held(records),
        {"records": figures(records)},
        f"{shown(records)}\n\n" + "\n".join(texts),
    )
