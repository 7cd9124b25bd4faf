"""What a search has cost in time, folded from the times of the ledger's records.

Only a driver looks at this, and it records what it concludes (``halted``, ``spent``): nothing else in a sweep
depends on a clock. The time of a driver that died counts up to its last record.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from ablate.ledger import LEFT_ITS_SLOT, Event


@dataclass
class Spent:
    """``seconds`` during which a driver ran the search, and ``held``: those that trials of each search (arm,
    replicate) held slots and have left them."""

    seconds: float = 0.0
    held: defaultdict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    _began: float | None = None  # this driver; None: nothing counts
    _last: float = 0.0
    _running: dict[str, float] = field(default_factory=dict)  # search trial -> since when
    _searches: dict[str, tuple[str, int]] = field(default_factory=dict)  # search trial -> its search

    def see(self, record: Event) -> None:
        """Take in one record, in order."""
        name, time = record["event"], record["time"]
        if name in ("opened", "resumed"):
            self._settle(self._last)
            self._began = time
        elif name == "asked" and record["stage"] == "search":
            self._searches[record["trial"]] = record["arm"], record["replicate"]
        elif name == "started" and record["trial"] in self._searches:
            self._running[record["trial"]] = time
        elif name in LEFT_ITS_SLOT and record["trial"] in self._running:
            self._leave(record["trial"], time)
        elif name in ("declared", "ended"):
            self._settle(time)
        self._last = time

    def hours(self, now: float) -> float:
        """Hours of the search until ``now`` (Unix seconds)."""
        return (self.seconds + (0.0 if self._began is None else now - self._began)) / 3600

    def slot_hours(self, now: float) -> float:
        """Hours of its running trials until ``now``."""
        return sum(self.hours_by_search(now).values())

    def hours_by_search(self, now: float) -> dict[tuple[str, int], float]:
        """Hours of the running trials of each search until ``now``."""
        seconds = self.held.copy()
        for trial, since in self._running.items():
            seconds[self._searches[trial]] += now - since
        return {search: found / 3600 for search, found in seconds.items()}

    def _leave(self, trial: str, until: float) -> None:
        self.held[self._searches[trial]] += until - self._running.pop(trial)

    def _settle(self, until: float) -> None:
        """The driver that ran until then is gone, or has no search to run any more."""
        if self._began is not None:
            self.seconds += until - self._began
        for trial in list(self._running):
            self._leave(trial, until)
        self._began = None
