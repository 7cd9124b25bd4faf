"""What the confirm stage established: every declared comparison with its verdict, and no stronger claim.

What may be claimed depends on what was repeated. The *unit* is the seed where each arm was searched once:
seed s gives both arms the same initial encoder, data order, views and split, so they are compared by the
differences within seeds, and a verdict is about two configurations. The unit is the replicate where arms were
searched several times, on seeds of their own: the difference of a replicate is the mean over its seeds, and
with six replicates or more a verdict is about the arm, as a kind.

Comparisons, looks, alpha and margin are those of the event ``declared``, recorded before the first
confirmation trial; nothing is claimed without it. Controls are measured and shown, outside the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.ledger import Event
from ablate.report.budgets import matched_by, spent, unequal
from ablate.report.confirm import Confirmation, declaration
from ablate.report.effects import Effect, effects
from ablate.report.machines import machines_of
from ablate.report.trials import TrialRecord, fold_trials
from ablate.spec.arms import ArmsSpec
from ablate.statistics.verdict import Comparison, Unit, Verdict, judge

KIND_OF_HEAD = "kind of head"
LEAST_REPLICATES = 6  # the exact sign-flip p of five cannot go below .0625


@dataclass(frozen=True)
class Look:
    """One of the looks declared: after ``seeds`` of each replicate, spending ``alpha``."""

    seeds: int
    alpha: float
    taken: bool


@dataclass(frozen=True)
class Claims:
    """Verdicts on comparisons, and what has to be said with them.

    ``alpha`` is the chance of any false verdict that these verdicts spend: that of the last look taken.
    ``seeds_used`` of ``seeds_planned`` are those of each replicate. ``scores`` maps arms, controls too, to
    their scores in ``metric`` on the seeds used. ``budgets`` says what else the searches of arms had not the
    same of, "" if nothing; ``labels`` what makes all claims weaker; ``notes`` what belongs to one comparison
    (see ``name_of``): what is missing, and unequal budgets. ``effects`` of factors are explored only.
    ``subject`` is what independent searches allow to be called better.
    """

    unit: Unit
    metric: str
    mode: Literal["max", "min"]
    alpha: float
    margin: float | None
    verdicts: tuple[Verdict, ...]
    replicates: int
    seeds_used: int
    seeds_planned: int
    controls: tuple[Verdict, ...] = ()
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    digest: str = ""
    budgets: str = ""
    labels: tuple[str, ...] = ()
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    subject: str = KIND_OF_HEAD


def name_of(comparison: Comparison) -> str:
    """How tables and notes call a comparison."""
    return f"{comparison.arm} - {comparison.against}"


def claims_of(folder: Path, events: list[Event]) -> Claims | None:
    """The claims of the sweep in ``folder``, whose ledger has ``events``.

    Per-example correctness is read from ``trials/<trial>/correct.npz``. None if nothing was declared to be
    confirmed (yet).
    """
    declared = declaration(events)
    if declared is None or not declared["arms"]:
        return None
    records = list(fold_trials(events).values())
    found = Confirmation(folder, events, records)
    compared = [found.compare(arm, against, found.parts) for arm, against in declared["comparisons"]]
    verdicts = judge(compared, alpha=found.alpha, margin=declared["margin"], unit=found.unit)
    differing = _budgets(folder, events, records, found)
    notes = {name_of(c): (*found.gaps(c), *differing.get(name_of(c), ([], []))[0]) for c in compared}
    realised = dict.fromkeys(said for _, others in differing.values() for said in others)
    subject = subject_of(found.sweep)
    taken = {event["seeds"] for event in found.looked}
    return Claims(
        unit=found.unit,
        metric=found.metric,
        mode=declared["mode"],
        alpha=found.alpha,
        margin=declared["margin"],
        verdicts=tuple(verdicts),
        replicates=found.replicates,
        seeds_used=found.seeds,
        seeds_planned=len(declared["seeds"]),
        controls=_controls(found),
        scores={arm: found.scores(arm) for arm in declared["arms"]},
        looks=tuple(Look(k["seeds"], k["alpha"], k["seeds"] in taken) for k in declared["looks"]),
        digest=declared["digest"],
        budgets="; ".join(realised),
        labels=(*weaker_labels(found.unit, found.replicates, verdicts, subject), *_cut(found)),
        notes={name: said for name, said in notes.items() if said},
        effects=effects(found),
        subject=subject,
    )


def subject_of(sweep: Mapping[str, Any]) -> str:
    """What the arms of a sweep, or its references, differ in: arms need not be kinds of head."""
    changes = list(ArmsSpec.model_validate(sweep["arms"]).settings.values()) if sweep.get("arms") else []
    changes += (sweep.get("confirm") or {}).get("references", {}).values()
    keys = [key for change in changes for key in change] or list(sweep["space"])
    return KIND_OF_HEAD if any(key.split(".")[0] == "head" for key in keys) else "setting"


def weaker_labels(unit: Unit, replicates: int, verdicts: Sequence[Verdict], subject: str) -> list[str]:
    """What makes the claims weaker than "this ``subject`` is better"; none if there are no verdicts."""
    labels: list[str] = []
    if not verdicts:
        return labels
    subjects = "kinds of head" if subject == KIND_OF_HEAD else f"{subject}s"
    if unit == "seed":
        labels.append(
            f"The unit is the seed: a verdict is on two configurations, not on {subjects}. That takes "
            f"independent replicates of the search, {LEAST_REPLICATES} or more."
        )
    elif replicates < LEAST_REPLICATES:
        labels.append(
            f"{replicates} replicates are too few for a verdict on {subjects}; it takes "
            f"{LEAST_REPLICATES} or more."
        )
    measured = [v.comparison for v in verdicts if v.comparison.differences]
    bare = [name_of(comparison) for comparison in measured if comparison.cells is None]
    if bare:
        which = "" if len(bare) == len(measured) else f" ({', '.join(bare)})"
        labels.append(f"Over {unit}s, on this test set only: no per-example results{which}.")
    return labels


def _controls(found: Confirmation) -> tuple[Verdict, ...]:
    """Each control against the arm that it was made of, in the first replicate, judged on its own."""
    planned = (found.sweep.get("confirm") or {}).get("controls", ())
    arms, comparisons = found.declared["arms"], found.declared["comparisons"]
    of = comparisons[0][1] if comparisons and found.sweep.get("arms") else arms[0]
    compared = [found.compare(of, arm, found.of_seeds()) for arm in arms if arm in planned]
    return tuple(judge([each], alpha=found.alpha, unit="seed")[0] for each in compared)


def _cut(found: Confirmation) -> list[str]:
    """The label of a confirmation that was ended from outside."""
    if not found.cut or (found.looked and found.looked[-1]["stop"]):
        return []
    judged = f"; judged by the look after {found.seeds} seeds" if found.looked else ""
    return [f"The sweep was ended before all that was declared had been run ({found.cut}){judged}."]


def _budgets(
    folder: Path, events: list[Event], records: list[TrialRecord], found: Confirmation
) -> dict[str, tuple[list[str], list[str]]]:
    """For each comparison of two arms, where their searches had not the same (see ``unequal``)."""
    if not found.sweep.get("arms"):
        return {}
    matched = matched_by(found.sweep)
    timed = [record.trial for record in records] if matched == "arm_hours" else []
    had = spent(events, records, machines_of(folder, timed))
    differing = {}
    for arm, against in found.declared["comparisons"]:
        promised, realised = unequal(had[arm], had[against], matched)
        said = [f"unequal budgets: {'; '.join(promised)}"] if promised else []
        differing[f"{arm} - {against}"] = (said, realised)
    return differing
