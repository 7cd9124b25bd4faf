"""The best of each search so far: a curve on the sweep's own run, which would otherwise show no numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablate.report.trials import TrialRecord

BestPoint = tuple[str, float, int, float]  # metric, value, trials that have ended, Unix time


class Best:
    """Follows the trials of a resolved ``sweep`` as they end."""

    def __init__(self, sweep: Mapping[str, Any]) -> None:
        objective = sweep["search"]["objective"]
        self._metric, self._sign = objective["metric"], 1 if objective["mode"] == "max" else -1
        self._best: dict[str, float] = {}
        self._ended: dict[str, set[str]] = {}

    def note(self, record: TrialRecord) -> BestPoint | None:
        """The trial has ended. None if its search has no completed trial with a score yet, or it is not of a
        search."""
        if record.stage != "search" or record.ended is None:
            return None
        name = f"best.{record.arm}" + (f".{record.replicate}" if record.replicate else "")
        ended = self._ended.setdefault(name, set())
        ended.add(record.trial)
        value = record.final.get(self._metric, math.nan)
        if record.state == "COMPLETE" and math.isfinite(value):
            before = self._best.get(name, value)
            self._best[name] = max(before, value, key=lambda score: self._sign * score)
        return (name, self._best[name], len(ended), record.ended) if name in self._best else None
