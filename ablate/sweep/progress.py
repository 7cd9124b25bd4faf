"""How far a sweep has come: the fold of its events that the live view and ``ablate status`` show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ablate.ledger import Event
from ablate.report.trials import TrialRecord, fold_event
from ablate.spec.changes import changed
from ablate.spec.front import feasible, front
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
    ended: Event | None = None
    began: float = 0.0
    now: float = 0.0
    reports: int = 0
    epochs: int = 0  # paid for by the search; those that a restarted trial repeats count once
    spent: Spent = field(default_factory=Spent)
    best: TrialRecord | None = None  # completed, of the search, and violating no constraint
    _search_spec: SearchSpec | None = None
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
        return self._search_trials() + len(self._arms()) * self._seeds()

    @property
    def done(self) -> int:
        return sum(r.finished for r in self.records.values())

    @property
    def stage(self) -> str:
        return "ended" if self.ended else "confirm" if self.declared else SEARCH

    @property
    def over(self) -> bool:
        """Whether the search asks for no more trials."""
        return bool(self.closed or self.declared)

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
        """(used, allowed) of every limit the file sets on the search, trials first."""
        resources = self.sweep["resources"]
        gpus = resources["gpus"] * resources["workers"]
        used = {
            "trials": len(self._search()),
            "epochs": self.epochs,
            "hours": self.spent.hours(self.now),
            "gpu_hours": self.spent.slot_hours(self.now) * gpus,
        }
        allowed = {"trials": self.search.trials, **self.search.budget.model_dump()}
        return {name: (used[name], allowed[name]) for name in used if allowed[name] is not None}

    def seconds_left(self) -> float | None:
        """At the pace of epochs since this driver began; None before there is one."""
        if self.reports == 0 or self.now <= self.began:
            return None
        return self._epochs_left() * (self.now - self.began) / self.reports

    def _search(self) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.stage == SEARCH]

    def _search_trials(self) -> int:
        return len(self._search()) if self.over else self.search.trials

    def _epochs_left(self) -> float:
        full = max(1, self.sweep["base"]["optim"]["epochs"])
        search = [r for r in self._search() if not r.duplicate_of]
        ended = [max(1, r.own_epochs) for r in search if r.finished]
        usual = sum(ended) / len(ended) if ended else full
        waiting = self._search_trials() - len(self._search()) + len(search) - len(ended)
        left = waiting * usual - sum(min(usual, r.own_epochs) for r in search if not r.finished)
        for arm in self._arms():
            ladder = [r for r in self.records.values() if r.stage == "confirm" and r.arm == arm]
            each = 1 if arm in self._confirm().get("controls", ()) else full
            left += each * self._seeds() - sum(each if r.finished else r.epochs for r in ladder)
        return max(0.0, left)

    def _confirm(self) -> dict[str, Any]:
        return self.sweep["confirm"] or {}

    def _arms(self) -> list[str]:
        if self.declared:
            return list(self.declared["arms"])
        plan = {} if self.ended else self._confirm()
        return ["best", *plan["references"], *plan["controls"]] if plan else []

    def _seeds(self) -> int:
        return int(self._confirm().get("seeds", 0))
