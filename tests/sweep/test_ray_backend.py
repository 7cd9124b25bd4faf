"""Before any slot starts: what keeps Ray from starting is said in words, and small machines are spared."""

from __future__ import annotations

import logging
from collections import namedtuple
from typing import Any

import pytest

from ablate.spec.sweep import Resources
from ablate.sweep import ray_backend
from ablate.sweep.desk import SweepError

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


def failing(error: Exception) -> Any:
    def init(**_: Any) -> None:
        raise error

    return init


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        (
            "10.0.0.1:6379",
            ConnectionError("Could not find any\nrunning Ray"),
            "cluster at 10.0.0.1:6379: C",
        ),
        (None, PermissionError(13, "Permission denied", "/tmp/ray"), "set RAY_TMPDIR to one of yours"),
        (None, RuntimeError("no free port"), "cannot start Ray on this machine: no free port"),
    ],
)
def test_why_ray_cannot_be_had_is_an_error_for_the_user(
    monkeypatch: pytest.MonkeyPatch, address: str | None, error: Exception, words: str
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", failing(error))
    with pytest.raises(SweepError) as raised, ray_backend.connected(address):
        pass
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("free", "taken"), [(10_000, 200), (250, 125), (10, 80)])
def test_shared_memory_is_taken_sparingly(monkeypatch: pytest.MonkeyPatch, free: int, taken: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free * MIB))
    assert ray_backend._object_store() == taken * MIB


@pytest.mark.parametrize(("slots", "warns"), [(2, False), (8, True), (100, True)])
def test_more_workers_than_the_memory_holds_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slots: int, warns: bool
) -> None:
    monkeypatch.setattr("ray.available_resources", lambda: {"memory": 2000.0 * MIB})
    monkeypatch.setattr(ray_backend, "cluster_nodes", lambda: [{"CPU": 16.0}])
    with caplog.at_level(logging.WARNING):
        ray_backend._check_memory(Resources(slots=slots), local=True)
    assert ("lower resources.slots" in caplog.text) == warns
    if slots == 100:
        assert "16 worker(s)" in caplog.text  # no more than have a CPU
