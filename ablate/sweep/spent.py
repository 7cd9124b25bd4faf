"""What a search has cost in time, folded from the times of the ledger's records.

Only a driver looks at this, and it records what it concludes (``halted``): nothing else in a sweep depends on
a clock. The time of a driver that died counts up to its last record.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ablate.ledger import Event

_LEFT_ITS_SLOT = ("finished", "paused", "abandoned")


@dataclass
class Spent:
    """``seconds`` during which a driver ran the search, and ``slot_seconds`` of all its running trials."""

    seconds: float = 0.0
    slot_seconds: float = 0.0
    _began: float | None = None  # this driver; None: nothing counts
    _last: float = 0.0
    _running: dict[str, float] = field(default_factory=dict)  # search trial -> since when
    _search: set[str] = field(default_factory=set)

    def see(self, record: Event) -> None:
        """Take in one record, in order."""
        name, time = record["event"], record["time"]
        if name in ("opened", "resumed"):
            self._settle(self._last)
            self._began = time
        elif name == "asked" and record["stage"] == "search":
            self._search.add(record["trial"])
        elif name == "started" and record["trial"] in self._search:
            self._running[record["trial"]] = time
        elif name in _LEFT_ITS_SLOT and record["trial"] in self._running:
            self.slot_seconds += time - self._running.pop(record["trial"])
        elif name in ("declared", "ended"):
            self._settle(time)
        self._last = time

    def hours(self, now: float) -> float:
        """Hours of the search until ``now`` (Unix seconds)."""
        return (self.seconds + (0.0 if self._began is None else now - self._began)) / 3600

    def slot_hours(self, now: float) -> float:
        """Hours of its running trials until ``now``."""
        return (self.slot_seconds + sum(now - since for since in self._running.values())) / 3600

    def _settle(self, until: float) -> None:
        """The driver that ran until then is gone, or has no search to run any more."""
        if self._began is not None:
            self.seconds += until - self._began
        self.slot_seconds += sum(until - since for since in self._running.values())
        self._running.clear()
        self._began = None
