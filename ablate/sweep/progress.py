"""How far a sweep has come: the fold of its events that the live view and ``ablate status`` show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ablate.ledger import Event
from ablate.report.trials import TrialRecord, fold_event
from ablate.spec.arms import ArmsSpec
from ablate.spec.changes import changed
from ablate.spec.front import feasible, front
from ablate.spec.scheduler import epochs_where_they_wait, promotes
from ablate.spec.search import SearchSpec
from ablate.sweep.spent import Spent

SEARCH = "search"


@dataclass
class Progress:
    """What the events tell, and the pace since this driver began. Times are Unix seconds."""

    sweep: dict[str, Any] = field(default_factory=dict)
    records: dict[str, TrialRecord] = field(default_factory=dict)
    closed: dict[tuple[str, int], Event] = field(default_factory=dict)  # by search: arm, replicate
    declared: Event | None = None
    looked: Event | None = None  # the last look
    ended: Event | None = None
    began: float = 0.0
    now: float = 0.0
    reports: int = 0
    epochs: int = 0  # paid for by the search; those that a restarted trial repeats count once
    spent: Spent = field(default_factory=Spent)
    best: TrialRecord | None = None  # completed, of the search, and violating no constraint
    _search_spec: SearchSpec | None = None
    _compared: tuple[str, ...] = ()  # names of arms
    _paid: dict[str, int] = field(default_factory=dict)  # search trial -> the furthest epoch it reported

    def update(self, event: Event) -> None:
        """Take in one event."""
        fold_event(self.records, event)
        self.spent.see(event)
        self.now = event["time"]
        match event["event"]:
            case "opened":
                self.sweep, self.began = event["sweep"], event["time"]
                self._search_spec = SearchSpec.model_validate(self.sweep["search"])
                arms = self.sweep["arms"]
                self._compared = tuple(ArmsSpec.model_validate(arms).settings) if arms else ()
            case "resumed":
                self.began, self.reports = event["time"], 0
                self.sweep = changed(self.sweep, event["changes"])
                self._search_spec = SearchSpec.model_validate(self.sweep["search"])
            case "asked":
                self._asked(event)
            case "reported":
                self.reports += 1
                self._pay(event["trial"], event["epoch"])
            case "finished":
                self._finished(self.records[event["trial"]])
            case "retried":
                self.ended = None
            case "closed":
                self.closed[event["arm"], event["replicate"]] = event
            case "declared":
                self.declared = event
            case "looked":
                self.looked = event
            case "ended":
                self.ended = event

    def _asked(self, event: Event) -> None:
        self.ended = None
        if event["stage"] == SEARCH:  # perhaps again, after its budget was raised
            self.closed.pop((event["arm"], event["replicate"]), None)
            self.declared = None
            self._paid[event["trial"]] = self.records[event["trial"]].inherited

    def _finished(self, record: TrialRecord) -> None:
        if record.stage == SEARCH and record.state == "COMPLETE" and feasible(self.search, record.metrics):
            sign = 1 if self.search.objective.mode == "max" else -1
            value = sign * record.metrics[self.objective]
            if self.best is None or value > sign * self.best.metrics[self.objective]:
                self.best = record

    def _pay(self, trial: str, epoch: int) -> None:
        if trial in self._paid and epoch > self._paid[trial]:
            self.epochs += epoch - self._paid[trial]
            self._paid[trial] = epoch

    @property
    def search(self) -> SearchSpec:
        """How the search is set now. There is none before the sweep was opened."""
        assert self._search_spec is not None
        return self._search_spec

    @property
    def objective(self) -> str:
        return self.search.objective.metric

    @property
    def planned(self) -> int:
        """Trials of both stages, as far as it is known now."""
        return self._search_trials() + sum(self._ladder().values())

    @property
    def done(self) -> int:
        return sum(r.finished for r in self.records.values())

    @property
    def stage(self) -> str:
        return "ended" if self.ended else "confirm" if self.declared else SEARCH

    @property
    def over(self) -> bool:
        """Whether nobody asks for search trials any more."""
        return self.declared is not None or self.closed.keys() >= set(self._searches())

    @property
    def why_closed(self) -> str:
        """Why searches ask no more, "" while all do; where not all for one reason, which of them."""
        found: dict[str, list[str]] = {}
        for (arm, replicate), event in self.closed.items():
            name = f"{arm} replicate {replicate}" if replicate else arm
            found.setdefault(event["reason"], []).append(name)
        every = len(self._searches())
        return "; ".join(
            reason if len(names) == every else f"{', '.join(names)}: {reason}"
            for reason, names in found.items()
        )

    @property
    def duplicates(self) -> dict[str, str]:
        """Trials that were not run, and whose result each takes."""
        return {r.trial: r.duplicate_of for r in self.records.values() if r.duplicate_of}

    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(r.state for r in self.records.values())

    def running(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.state == "RUNNING"]

    def lost(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.state in ("FAILED", "COLLAPSED")]

    def front(self) -> list[str]:
        """With several objectives: the completed trials that no other one beats in all of them."""
        if not self.search.tradeoffs:
            return []
        complete = {r.trial: r.metrics for r in self._search() if r.state == "COMPLETE"}
        return front(self.search, complete)

    def budget(self) -> dict[str, tuple[float, float]]:
        """(used, allowed) of every limit of the file, trials first; ``arm_hours`` of the greatest search."""
        resources = self.sweep["resources"]
        gpus = resources["gpus"] * resources["workers"]
        used = {
            "trials": len(self._search()),
            "epochs": self.epochs,
            "hours": self.spent.hours(self.now),
            "gpu_hours": self.spent.slot_hours(self.now) * gpus,
            "arm_hours": max(self.spent.hours_by_search(self.now).values(), default=0.0),
        }
        limits = self.search.budget.model_dump()
        searches = len(self._searches())
        allowed = {**limits, "trials": self.search.trials * searches}
        if limits["epochs"] is not None:
            allowed["epochs"] = limits["epochs"] * searches
        return {name: (used[name], allowed[name]) for name in used if allowed[name] is not None}

    def seconds_left(self) -> float | None:
        """At the pace of epochs since this driver began; None before there is one."""
        if self.reports == 0 or self.now <= self.began:
            return None
        return self._epochs_left() * (self.now - self.began) / self.reports

    def _search(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.stage == SEARCH]

    def _search_trials(self) -> int:
        """Those of all searches; one that is closed asks no more."""
        if self.declared or self.ended:
            return len(self._search())
        asked = Counter((r.arm, r.replicate) for r in self._search())
        waiting = [key for key in self._searches() if key not in self.closed]
        return len(self._search()) + sum(max(0, self.search.trials - asked[key]) for key in waiting)

    def _epochs_left(self) -> float:
        full = max(1, self.sweep["base"]["optim"]["epochs"])
        left = self._search_epochs_left(full)
        controls, ladder = self._confirm().get("controls", ()), self._ladder()
        each = {arm: 1 if arm in controls else full for arm in ladder}
        left += sum(each[arm] * trials for arm, trials in ladder.items())
        for r in self.records.values():
            if r.stage == "confirm" and r.arm in each:
                left -= each[r.arm] if r.finished else r.epochs
        return max(0.0, left)

    def _search_epochs_left(self, full: int) -> float:
        search = [r for r in self._search() if not r.duplicate_of]
        ended = [max(1, r.own_epochs) for r in search if r.finished]
        waiting = self._search_trials() - len(self._search()) + len(search) - len(ended)
        if waiting and promotes(plan := self.search.scheduler):  # the best end first, so ends tell too much
            mean = epochs_where_they_wait(plan, full, self.search.trials)
            return max(0.0, (len(ended) + waiting) * mean - sum(r.own_epochs for r in search))
        usual = sum(ended) / len(ended) if ended else full
        return waiting * usual - sum(min(usual, r.own_epochs) for r in search if not r.finished)

    def _confirm(self) -> dict[str, Any]:
        return self.sweep["confirm"] or {}

    def _searches(self) -> list[tuple[str, int]]:
        """Arm and replicate of each search."""
        return [(arm, r) for r in range(self._replicates()) for arm in self._compared or (SEARCH,)]

    def _replicates(self) -> int:
        return int(self.sweep["arms"]["replicates"]) if self.sweep["arms"] else 1

    def _ladder(self) -> dict[str, int]:
        """The planned trials of every arm of confirmation, as far as it is known now."""
        plan = self._confirm()
        if not plan or (self.ended and not self.declared):
            return {}
        names = self._compared or ("best", *plan["references"])
        names = tuple(self.declared["arms"]) if self.declared else (*names, *plan["controls"])
        if self.looked and self.looked["stop"]:
            return dict(Counter(r.arm for r in self.records.values() if r.stage == "confirm"))
        return {n: plan["seeds"] * (1 if n in plan["controls"] else self._replicates()) for n in names}
