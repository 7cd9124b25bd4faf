"""A sweep whose server is away: `make evidence NAME=large` does the same with five hundred runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.large import large_spec
from tests.tracking.outage import outage

RUNS = 3 * 20 + 5 * 4


def test_the_sweep_ends_without_it_and_all_is_there_once_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("ablate.tracking.mirror._SLICE", 200)  # records in one go, so that it is cut in two
    found = outage(large_spec(trials=20, seeds=4), tmp_path)
    assert found.expected["runs"] == RUNS + 1
    assert 0 < found.part["runs"] < RUNS + 1
    assert found.back == found.expected
    assert found.again == found.back, "written again, it is the same"
