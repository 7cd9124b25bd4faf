"""Importing the statistics is cheap."""

from __future__ import annotations

import subprocess
import sys


def test_no_heavy_library_is_imported_until_used() -> None:
    code = (
        "import sys, ablate.statistics; print(sorted({'scipy', 'statsmodels', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
