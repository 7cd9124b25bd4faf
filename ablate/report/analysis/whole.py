"""All analyses of one sweep together, from its ledger and from what ``ablate audit`` left beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.ledger import Event
from ablate.report.analysis import boundaries, importance
from ablate.report.analysis.best_so_far import BestSoFar, best_so_far
from ablate.report.analysis.dead import Relations, relations
from ablate.report.analysis.expected_best import BestOfK, expected_best
from ablate.report.analysis.patch import Patch, patch_of
from ablate.report.analysis.pools import NoAnalysis, in_words, read_search
from ablate.report.analysis.stopping_audit import ArmAudit, Rerun, audit
from ablate.report.finite import finite


@dataclass(frozen=True)
class Analysis:
    """``tradeoffs`` are the objectives that are not looked at; ``trials`` is {arm: its search trials in
    words}; ``stops_early``: whether trials may be stopped, and ``scheduler`` by what; ``ended``: whether the
    sweep has ended."""

    name: str
    question: str
    metric: str
    mode: str
    tradeoffs: tuple[str, ...]
    baseline: str | None
    ended: bool
    trials: Mapping[str, str]
    stops_early: bool
    scheduler: str
    best: tuple[BestSoFar, ...]
    expected: BestOfK
    importance: tuple[importance.Importance, ...]
    boundaries: boundaries.Boundaries
    relations: Relations
    patch: Patch
    audit: tuple[ArmAudit, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite are null."""
        tree: dict[str, Any] = finite(dataclasses.asdict(self))
        return tree


def analyse(events: list[Event], reruns: Mapping[str, Rerun], *, with_fanova: bool = True) -> Analysis:
    """Equal ledgers and audits give equal analyses. fANOVA takes a second or two for each arm.

    Raises NoAnalysis if no search trial was completed, or none has finished.
    """
    searched = read_search(events)
    every = tuple(trial for pool in searched.pools for trial in pool.trials)
    if not any(trial.score is not None for trial in every):
        raise NoAnalysis(
            f"no search trial was completed with a finite {searched.sweep.search.objective.metric} "
            f"({in_words(every)}): nothing to analyse. Best-so-far needs 1 completed trial, importance "
            f"{importance.FEWEST}, boundaries {boundaries.FEWEST} trials of any end"
        )
    ends, related = boundaries.boundaries(searched), relations(searched)
    return Analysis(
        name=searched.sweep.name,
        question=searched.sweep.question,
        metric=searched.sweep.search.objective.metric,
        mode=searched.sweep.search.objective.mode,
        tradeoffs=tuple(objective.metric for objective in searched.sweep.search.tradeoffs),
        baseline=searched.baseline,
        ended=searched.ended,
        trials={arm: in_words(searched.of(arm)) for arm in searched.arms},
        stops_early=searched.stops_early,
        scheduler=searched.sweep.search.scheduler.kind,
        best=best_so_far(searched),
        expected=expected_best(searched),
        importance=importance.importances(searched, with_fanova=with_fanova),
        boundaries=ends,
        relations=related,
        patch=patch_of(searched, ends, related),
        audit=audit(searched, reruns),
    )
