"""The confirm stage as it was declared and as far as it came: units, scores, and what is missing.

Which seeds count is not chosen by looking: it is what was declared before the first confirmation trial, or
what the looks declared there have left of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ablate.ledger import Event
from ablate.report.correctness import Correctness
from ablate.report.trials import TrialRecord, ending, opening
from ablate.statistics.verdict import Comparison, Unit

_SCORED = ("COMPLETE", "COLLAPSED")  # a collapsed trial keeps its real score

Key = tuple[str, int, int]  # arm, replicate, seed


class Part(NamedTuple):
    """One unit of the statistics: a seed, or a replicate. ``whole``: all of its seeds were asked for."""

    name: str
    replicate: int
    seeds: tuple[int, ...]
    whole: bool


class Confirmation:
    """The confirmation trials of one sweep.

    ``seeds`` is how many of each replicate count, and ``alpha`` what the verdicts on them may spend; ``cut``
    says why the sweep ended before all that was declared had been run, "" if it did not.
    """

    def __init__(self, folder: Path, events: list[Event], records: Iterable[TrialRecord]) -> None:
        """Raises ValueError if nothing has been declared."""
        declared = declaration(events)
        if declared is None:
            raise ValueError("nothing has been declared to be confirmed")
        self.declared: dict[str, Any] = declared
        self.sweep = opening(events)["sweep"]
        self.metric = str(declared["metric"])
        self.replicates = int(declared["replicates"])
        self.unit: Unit = "replicate" if self.replicates > 1 else "seed"
        self.records = {(r.arm, r.replicate, r.seed): r for r in records if r.stage == "confirm"}
        self.looked = _since(events, declared, "looked")
        end = ending(events)
        self.cut = "" if end is None else str(end["reason"])
        self.seeds, self.alpha = self._reached()
        self.parts = self._replicates() if self.unit == "replicate" else self.of_seeds()
        self._correct = Correctness(folder, self.metric)

    def _reached(self) -> tuple[int, float]:
        """A look that ended confirmation, or the last one before it was cut, has the last word; otherwise all
        the seeds declared are waited for."""
        planned, looks = len(self.declared["seeds"]), self.declared["looks"]
        if self.looked and (self.looked[-1]["stop"] or self.cut):
            return int(self.looked[-1]["seeds"]), float(self.looked[-1]["alpha"])
        return planned, float(looks[-1]["alpha"] if looks else self.sweep["confirm"]["alpha"])

    def of_seeds(self) -> list[Part]:
        """The seeds of the first replicate, each a unit."""
        return [Part(str(seed), 0, (seed,), True) for seed in self.declared["seeds"][: self.seeds]]

    def _replicates(self) -> list[Part]:
        """Each replicate, with its seeds in the order of the ladder."""
        asked: dict[int, dict[int, None]] = {r: {} for r in range(self.replicates)}
        for _, replicate, seed in self.records:
            asked[replicate][seed] = None
        parts = []
        for replicate, found in asked.items():
            seeds = self.declared["seeds"] if replicate == 0 else list(found)
            counted = tuple(seeds[: self.seeds])
            parts.append(Part(str(replicate), replicate, counted, len(counted) == self.seeds))
        return parts

    def score(self, key: Key) -> float | None:
        """The test metric of one trial; None if it has none that is finite."""
        record = self.records.get(key)
        if record is None or record.state not in _SCORED:
            return None
        value = record.metrics.get(self.metric)
        return value if value is not None and math.isfinite(value) else None

    def scores(self, arm: str) -> tuple[float, ...]:
        """All scores of an arm on the seeds that count."""
        found = (self.score((arm, part.replicate, seed)) for part in self.parts for seed in part.seeds)
        return tuple(score for score in found if score is not None)

    def compare(self, arm: str, against: str, parts: list[Part]) -> Comparison:
        """The differences of the parts that are whole and have every score; the others are missing."""
        sign = 1 if self.declared["mode"] == "max" else -1
        differences: list[float] = []
        trials: list[list[tuple[str, str]]] = []
        missing: list[str] = []
        for part in parts:
            keys = [((arm, part.replicate, seed), (against, part.replicate, seed)) for seed in part.seeds]
            scores = [(self.score(a), self.score(b)) for a, b in keys]
            each = [sign * (a - b) for a, b in scores if a is not None and b is not None]
            if not part.whole or len(each) < len(keys):
                missing.append(part.name)
                continue
            differences.append(math.fsum(each) / len(each))
            trials.append([(self.records[a].trial, self.records[b].trial) for a, b in keys])
        cells = self._correct.differences(trials) if sign > 0 else None  # correctness is better if larger
        return Comparison(arm, against, tuple(differences), tuple(missing), cells)

    def gaps(self, comparison: Comparison) -> Iterator[str]:
        """What is missing, trial by trial, and the command that makes up for it."""
        failed = []
        for part in (part for part in self.parts if part.name in comparison.missing):
            if not part.whole:
                yield f"replicate {part.name}: {len(part.seeds)} of {self.seeds} seeds were begun"
            for key in ((a, part.replicate, s) for s in part.seeds for a in _arms(comparison)):
                if self.score(key) is None:
                    record = self.records.get(key)
                    yield f"{self._place(key)}: {self._why_none(record, key)}"
                    failed += [record.trial] if record is not None and record.state == "FAILED" else []
        if failed:
            name = self.sweep["name"]
            yield f"run again: `ablate retry {name} {' '.join(failed)}`, then `ablate resume {name}`"

    def _place(self, key: Key) -> str:
        arm, replicate, seed = key
        return f"{arm}, seed {seed}" + (f" of replicate {replicate}" if self.unit == "replicate" else "")

    def _why_none(self, record: TrialRecord | None, key: Key) -> str:
        if record is None:
            arm, replicate, _ = key
            impossible: dict[str, str] = self.declared["impossible"]
            return impossible.get(f"{arm}, replicate {replicate}" if replicate else arm, "was not run")
        if record.state in _SCORED:
            return f"{record.trial} has no finite {self.metric}"
        return f"{record.trial} {record.state}" + (f" ({record.reason})" if record.reason else "")


def _arms(comparison: Comparison) -> tuple[str, str]:
    return comparison.arm, comparison.against


def declaration(events: list[Event]) -> Event | None:
    """What is to be confirmed; None if it has not been declared, or is void: a larger budget lets the search
    go on, and choose again."""
    for event in reversed(events):
        if event["event"] == "declared":
            return event
        if event["event"] == "asked" and event["stage"] == "search":
            break
    return None


def _since(events: Iterable[Event], start: Event, name: str) -> list[Event]:
    """The events called ``name`` that follow ``start``."""
    found: list[Event] = []
    for event in events:
        if event is start:
            found = []
        elif event["event"] == name:
            found.append(event)
    return found
