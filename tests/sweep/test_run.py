"""``run_sweep`` around driver and backend; whole sweeps through it are run by the command's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver, DriverError
from ablate.sweep.run import run_sweep
from ablate.tracking import TrackingError
from tests.search.synthetic import sweep


def test_resuming_with_another_sweep_than_the_recorded_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.sweep.run.build", lambda *_, **__: None)
    Driver(sweep(), tmp_path).close()
    with pytest.raises(DriverError, match=r"other values of search\.trials"):
        run_sweep(sweep(trials=6), runs=tmp_path, backend="inline", resume=True)


def test_a_sweep_that_would_record_a_password_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.sweep.run.build", lambda *_, **__: None)
    spec = SweepSpec.model_validate({**sweep().as_dict(), "tracking": {"uri": "https://me:secret@host"}})
    with pytest.raises(TrackingError, match="holds a password"):
        run_sweep(spec, runs=tmp_path, backend="inline")
    assert list(tmp_path.iterdir()) == []
