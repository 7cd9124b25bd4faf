"""How busy the machine of the driver is, as MLflow's own system metrics: CPU, memory, disk, network, GPU.

MLflow's monitor of these ends for good when its server is away once; ours only measures, and the mirror
delivers when it can.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections import deque
from typing import Any

_log = logging.getLogger(__name__)
_INTERVAL = 10.0  # seconds between two samples
_KEPT = 6 * 60 * 24  # samples that wait while the store is away: a day's
_PLACE = "mlflow.system_metrics.metrics"
_MONITORS = ("cpu_monitor.CPUMonitor", "disk_monitor.DiskMonitor", "network_monitor.NetworkMonitor")
_GPU_MONITORS = ("gpu_monitor.GPUMonitor", "rocm_monitor.ROCMMonitor")

Sample = tuple[float, dict[str, float]]  # Unix time, values by name


class Machine:
    """Samples of this machine; the latest of them wait in ``waiting`` until somebody takes them away."""

    def __init__(self) -> None:
        self.waiting: deque[Sample] = deque(maxlen=_KEPT)
        self._monitors = [m for m in map(_monitor, _MONITORS) if m is not None]
        self._monitors += [m for m in map(_monitor, _GPU_MONITORS) if m is not None][:1]
        self._measure()  # what some measure is since the last time
        self._last = time.monotonic()

    def sample(self) -> None:
        """Measure, if the last time is long enough ago."""
        if time.monotonic() - self._last < _INTERVAL:
            return
        self._last = time.monotonic()
        if values := self._measure():
            self.waiting.append((time.time(), values))

    def _measure(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in list(self._monitors):
            try:
                monitor.collect_metrics()
                found = monitor.aggregate_metrics()
            except Exception as error:  # of the system, or of a vendor's library
                self._monitors.remove(monitor)
                _log.warning("MLflow gets no metrics of %s any more: %s", type(monitor).__name__, error)
                continue
            values |= {f"system/{key}": float(value) for key, value in found.items()}
            monitor.clear_metrics()
        return values


def _monitor(name: str) -> Any | None:
    """One of MLflow's monitors; None if it cannot measure here. Most machines lack the GPU of at least one
    vendor, which is nothing to tell."""
    module, _, kind = name.rpartition(".")
    try:
        return getattr(importlib.import_module(f"{_PLACE}.{module}"), kind)()
    except Exception as error:  # ImportError, or whatever a vendor's library raises
        tell = _log.debug if name in _GPU_MONITORS else _log.warning
        tell("MLflow gets no metrics of %s: %s", kind, error)
        return None
