"""`python -m tests.evidence [NAME ...]`: run the named checks, or all that have no result at this commit."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.evidence import (  # noqa: F401  (registers the checks)
    asha,
    autoscaling,
    bench,
    checks,
    claims,
    cluster,
    cluster_default,
    faults,
    gallery,
    known,
    large,
    pbt,
    recipes,
    scale,
    scaling,
    security,
    slurm,
    stored,
)
from tests.evidence.harness import CHECKS, is_current, run


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(CHECKS))
    if unknown:
        print(
            f"no evidence named {', '.join(unknown)}; there are {', '.join(sorted(CHECKS))}", file=sys.stderr
        )
        return 2
    held = True
    for name in names or [n for n in CHECKS if not is_current(n)]:
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            finding = run(name, Path(scratch))
        print(f"{'held' if finding.held else 'DID NOT HOLD'}: {finding.claim}", flush=True)
        held &= finding.held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
