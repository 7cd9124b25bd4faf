"""`ablate bench sweep` at full size: what a sweep costs, as ratios against peers in the same run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ablate.bench import Record
from ablate.bench.show import markdown
from tests.evidence.checks import ABLATE
from tests.evidence.harness import ROOT, Finding, check

_EVERYWHERE = ("machine", "versions", "command")  # said once, by the harness


@check("bench")
def against_peers(scratch: Path) -> Finding:
    """About half an hour; nothing else should run beside it."""
    path = scratch / "figures.json"
    words = [ABLATE, "bench", "sweep", "--json", path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if not path.exists():
        raise RuntimeError(f"ablate bench ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    found = json.loads(path.read_text())
    about = done.stdout.partition("\n\n")[2].partition("\n\n")[0]
    return Finding(
        "An empty trial costs at least 100 times less than in Tune with a fresh TorchTrainer a trial, and 10 "
        "times less than as a plain function trial, and no more late in a sweep of 1,000. With real trials "
        "of 20 s or more, two slots on two cores spend at least 0.9 of their time in them.",
        all(record["held"] is not False for record in found),
        {"records": [{k: v for k, v in record.items() if k not in _EVERYWHERE} for record in found]},
        f"{markdown([Record(**record) for record in found])}\n\n{about}",
    )
