"""What a sweep came to: what its searches did, and what confirm established."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ablate.durable import replace_file
from ablate.ledger import Event, Ledger
from ablate.report.agreement import Agreement, agreement
from ablate.report.budgets import Spent, matched_by, spent
from ablate.report.claims import Claims, claims_of
from ablate.report.confirm import declaration
from ablate.report.machines import machines_of
from ablate.report.page import markdown, show
from ablate.report.trials import TrialRecord, ending, fold_trials, opening
from ablate.spec.front import feasible, front, losses, missing
from ablate.spec.search import SearchSpec

STATES = ("COMPLETE", "PRUNED", "COLLAPSED", "FAILED", "RUNNING", "PAUSED", "WAITING")


@dataclass(frozen=True)
class Chosen:
    """The best trial of one search, its ``score`` in the objective and the parameters that were drawn;
    ``score`` None: it has none."""

    trial: str
    score: float | None
    params: dict[str, Any]


@dataclass(frozen=True)
class ArmSearch:
    """What the searches of one arm had, and what they chose, by replicate; a search may have chosen none."""

    spent: Spent
    chosen: dict[int, Chosen]


@dataclass(frozen=True)
class Summary:
    """``search`` and ``confirm`` count trials by state; ``stopped`` is the share of the ended search trials
    that were stopped early; ``best`` is the best trial of a sweep without arms, ``arms`` are the searches of
    one with arms, where trials of different arms are not compared; ``front`` maps the trials of the Pareto
    front of ``objectives`` to their values, if there are several objectives and no arms; ``agreement`` is
    that of a label-free objective with the probe; ``closed`` is why the search asked no more although trials
    were left, empty if it asked all; ``repeats`` counts trials that repeated another and were not run;
    ``claims`` is None until something was declared to be confirmed; ``impossible`` says what could not be
    compared; ``ended`` is why the sweep ended, empty if all was done, None if it has not."""

    name: str
    question: str
    search: dict[str, int]
    confirm: dict[str, int]
    stopped: float | None
    rungs: tuple[int, ...]
    objective: str
    objectives: tuple[str, ...]
    front: dict[str, tuple[float, ...]]
    agreement: Agreement | None
    closed: str
    repeats: int
    best: Chosen | None
    arms: tuple[ArmSearch, ...]
    claims: Claims | None
    impossible: dict[str, str]
    reasons: dict[str, str]
    ended: str | None


def summary_of(folder: Path, events: list[Event]) -> Summary:
    """Everything that the summary says, from the ledger's events and the sweep's folder."""
    sweep = opening(events)["sweep"]
    records = fold_trials(events)
    search = [r for r in records.values() if r.stage == "search"]
    confirm = [r for r in records.values() if r.stage == "confirm"]
    ended = [r for r in search if r.finished]
    spec = SearchSpec.model_validate(sweep["search"])
    declared, end = declaration(events), ending(events)
    objectives = (spec.objective, *spec.tradeoffs)
    single = not sweep.get("arms")
    timed = [record.trial for record in search] if matched_by(sweep) == "arm_hours" else []
    searches = spent(events, search, machines_of(folder, timed))
    return Summary(
        name=sweep["name"],
        question=sweep["question"],
        search=_count(search),
        confirm=_count(confirm),
        stopped=sum(r.state == "PRUNED" for r in ended) / len(ended) if ended else None,
        rungs=tuple(sweep["search"]["scheduler"].get("rungs", ())),
        objective=spec.objective.metric,
        objectives=tuple(f"{o.metric} ({o.mode})" for o in objectives),
        front={
            trial: tuple(records[trial].metrics[o.metric] for o in objectives)
            for trial in (front(spec, _completed(search)) if single and spec.tradeoffs else ())
        },
        agreement=agreement(spec.objective, search),
        closed=next((why for s in searches.values() for _, why in s.closed.values()), "") if single else "",
        repeats=sum(r.duplicate_of is not None for r in search),
        best=_best(spec, searches, search, records) if single else None,
        arms=() if single else tuple(_arm(spec, each, records) for each in searches.values()),
        claims=claims_of(folder, events),
        impossible=declared["impossible"] if declared else {},
        reasons={r.trial: r.reason for r in records.values() if r.state in ("FAILED", "COLLAPSED")},
        ended=end["reason"] if end else None,
    )


def summarise(folder: Path, console: Console | None = None) -> str:
    """Summarise a sweep's folder into its ``summary.md``, print it to ``console`` too; return the text."""
    summary = summary_of(folder, Ledger.read(folder / "ledger.jsonl"))
    text = markdown(summary)
    replace_file(folder / "summary.md", text.encode())
    if console:
        show(summary, console)
    return text


def _arm(spec: SearchSpec, had: Spent, records: dict[str, TrialRecord]) -> ArmSearch:
    chosen = {replicate: _chosen(spec, records[trial]) for replicate, trial in sorted(had.chosen.items())}
    return ArmSearch(had, chosen)


def _best(
    spec: SearchSpec,
    searches: dict[str, Spent],
    search: list[TrialRecord],
    records: dict[str, TrialRecord],
) -> Chosen | None:
    """What the only search chose, or the best so far if it has not chosen yet."""
    chosen = [trial for each in searches.values() for trial in each.chosen.values()]
    if chosen:
        return _chosen(spec, records[chosen[-1]])
    completed = _completed(search)
    scored = [r for r in search if r.trial in completed and not missing(spec, r.metrics)]
    fit = [r for r in scored if feasible(spec, r.metrics)]
    best = min(fit, key=lambda r: losses(spec, r.metrics)[0], default=None)
    return None if best is None else _chosen(spec, best)


def _chosen(spec: SearchSpec, record: TrialRecord) -> Chosen:
    return Chosen(record.trial, record.metrics.get(spec.objective.metric), record.params)


def _completed(search: list[TrialRecord]) -> dict[str, dict[str, float]]:
    """The metrics of each configuration that was completed, once."""
    return {r.trial: r.metrics for r in search if r.state == "COMPLETE" and not r.duplicate_of}


def _count(records: list[TrialRecord]) -> dict[str, int]:
    counts = Counter(r.state for r in records)
    return {state: counts[state] for state in STATES if counts[state]}
