"""How busy the machine is."""

from __future__ import annotations

import logging
import time

import pytest

from ablate.tracking import machine as module
from ablate.tracking.machine import Machine


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.0)


def test_a_sample_has_mlflows_names_and_waits_until_it_is_taken() -> None:
    before, machine = time.time(), Machine()
    machine.sample()
    machine.sample()
    (first, values), (second, _) = machine.waiting
    assert before <= first <= second <= time.time()
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= values.keys()
    assert 0 < values["system/system_memory_usage_percentage"] <= 100


def test_between_two_samples_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 3600.0)
    machine = Machine()
    machine.sample()
    assert not machine.waiting


def test_while_nobody_takes_them_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    machine = Machine()
    for _ in range(5):
        machine.sample()
    assert len(machine.waiting) == 3


def test_what_cannot_be_measured_is_said_once_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

    def broken(_: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(DiskMonitor, "collect_metrics", broken)
    with caplog.at_level(logging.WARNING, "ablate.tracking"):
        machine = Machine()
        machine.sample()
        machine.sample()
    assert [r.message for r in caplog.records] == [
        "MLflow gets no metrics of DiskMonitor any more: no such device"
    ]
    assert "system/cpu_utilization_percentage" in machine.waiting[-1][1]


def test_a_monitor_that_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MONITORS", ("gone_monitor.GoneMonitor",))
    with caplog.at_level(logging.WARNING, "ablate.tracking"):
        Machine().sample()
    assert ["GoneMonitor" in r.message for r in caplog.records] == [True]
