"""What could not be concluded, and what it would take.

The noise is that of the comparison's own differences. Nothing is said of the power to find the difference
that was seen: that only repeats its p. What is given is how large a difference would have been found, and how
many more units a difference as large as the margin takes, by the closed form of ``planning.precision`` with
the upper 80% bound of the noise, as a plan does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ablate.report.claims import LEAST_REPLICATES, Claims, name_of
from ablate.report.content.material import Material
from ablate.report.content.verdicts import SEEDS
from ablate.report.content.wording import items, plural, shown
from ablate.report.document.blocks import Block, Cell, Code, Paragraph, Section, table
from ablate.report.planning.pilot import Noise
from ablate.report.planning.precision import Precision
from ablate.statistics import seeds_needed, smallest_p
from ablate.statistics.multiplicity import reached
from ablate.statistics.verdict import Verdict

POWER = 0.8
_OPEN = ("inconclusive", "blocked")
_ROUNDING = 1e-12
_MORE = (1, 2, 4)  # times the units that there were


@dataclass(frozen=True)
class Reach:
    """What n units tell at the noise of one comparison. Differences are in the metric's units; None: no
    number of units up to 1,000 does, or no margin was stated."""

    sd: float
    detectable: tuple[float, ...]  # with 1, 2 and 4 times the units
    to_find: int | None
    to_equate: int | None


def unsettled(m: Material) -> Section:
    """Open comparisons, claims that the design could not earn, and what the search left open."""
    blocks: list[Block] = []
    claims = m.summary.claims
    if claims is not None:
        blocks += _comparisons(claims)
    lines = [*_design(m, claims), *_search(m)]
    if lines:
        blocks.append(items(lines))
    if again := _failed(m):
        blocks.append(Code(f"ablate retry {m.name} {' '.join(again)}\nablate resume {m.name}", "sh"))
    if not blocks:
        blocks.append(
            Paragraph("Every comparison is settled, and nothing else that this report looks at is open.")
        )
    return Section("unsettled", "What could not be concluded, and what it would take", tuple(blocks))


# --- comparisons -----------------------------------------------------------------------------------------


def _comparisons(claims: Claims) -> Iterator[Block]:
    open_ = [v for v in claims.verdicts if v.word in _OPEN]
    if open_:
        yield items([(_said(v), list(_takes(claims, v))) for v in open_])
    known = {name_of(v.comparison): (v, r) for v in claims.verdicts if (r := reach(claims, v)) is not None}
    if not known:
        return
    units = [f"{times * len(v.comparison.differences)}" for v, _ in known.values() for times in _MORE]
    same = len(set(units)) == len(_MORE)
    names = units[: len(_MORE)] if same else [f"{times} times as many" for times in _MORE]
    head = ["comparison", "sd", *(f"found with {name} {claims.unit}s" for name in names)]
    head += (
        [f"{claims.unit}s to find the margin", f"{claims.unit}s to show it equal"] if claims.margin else []
    )
    rows = [
        [Cell(name, SEEDS), *(Cell(text, SEEDS if text != "none" else "") for text in _numbers(claims, r))]
        for name, (_, r) in known.items()
    ]
    caption = (
        f"The difference that would be found with power {POWER:g} at the noise seen (upper 80% bound of "
        f"the sd of paired differences), after Holm, by so many {claims.unit}s."
    )
    yield table("reach-table", caption, head, rows)


def _said(v: Verdict) -> str:
    return f"{name_of(v.comparison)}: {v.word}: {v.why}."


def _takes(claims: Claims, v: Verdict) -> Iterator[str]:
    """What it would take to settle one comparison."""
    found = reach(claims, v)
    n = len(v.comparison.differences)
    if v.word == "blocked":
        yield from claims.notes.get(name_of(v.comparison), ("scores of two units or more in both arms",))
        return
    if not reached(smallest_p(n) * len(claims.verdicts), claims.alpha):
        least = f"at least {_least(claims)} {claims.unit}s"
        yield f"{least}: with {n} no difference, however large, could be established"
    if found is None:
        return
    yield (
        f"with {n} {claims.unit}s a difference of about {shown(found.detectable[0])} would have been found "
        f"with power {POWER:g}; a smaller one could well have been missed"
    )
    if claims.margin is not None:
        yield f"to find one of {claims.margin:g}, the margin: {_enough(found.to_find, claims)}"
        yield f"to show the two equal within {claims.margin:g}: {_enough(found.to_equate, claims)}"
    else:
        yield "to call the two equivalent: a `confirm.margin`, the largest difference that does not matter"


def _least(claims: Claims) -> str:
    try:
        return str(seeds_needed(claims.alpha, len(claims.verdicts)))
    except ValueError:
        return "more than any number of"


def _enough(units: int | None, claims: Claims) -> str:
    if units is not None:
        return f"about {units} {claims.unit}s"
    images = any(v.comparison.cells is not None for v in claims.verdicts)
    return f"no number of {claims.unit}s would do" + (" with so few test images" if images else "")


def _numbers(claims: Claims, r: Reach) -> list[str]:
    found = [shown(r.sd), *map(shown, r.detectable)]
    if claims.margin is None:
        return found
    return [*found, *("none" if n is None else str(n) for n in (r.to_find, r.to_equate))]


def reach(claims: Claims, v: Verdict) -> Reach | None:
    """What the noise of a comparison lets anyone find; None with fewer than three units, or without noise."""
    differences = v.comparison.differences
    n, level = len(differences), claims.alpha / len(claims.verdicts)
    sd = float(np.std(differences, ddof=1)) if n > 2 else 0.0
    if sd <= _ROUNDING * max(map(abs, differences), default=0.0):  # all equal
        return None
    noise = Noise(sd, n - 1, "confirm", claims.unit, blocks=n)
    cells = v.comparison.cells
    precision = Precision.of(noise.cautious, cells if cells is not None and min(cells.shape) > 1 else None)
    margin = claims.margin
    return Reach(
        sd=sd,
        detectable=tuple(precision.detectable(times * n, level, POWER) for times in _MORE),
        to_find=None if margin is None else precision.units_to_find(margin, level, POWER),
        to_equate=None if margin is None else precision.units_to_equate(margin, level, POWER),
    )


# --- the design ------------------------------------------------------------------------------------------


def _design(m: Material, claims: Claims | None) -> Iterator[tuple[str, list[str]]]:
    if m.sweep.confirm is None:
        yield (
            "Nothing was trained again on fresh seeds, so that nothing is established.",
            ["add `confirm` to the file; `ablate plan FILE --pilot SWEEP` says how many seeds"],
        )
    elif claims is None:
        yield "Nothing has been confirmed.", ["`ablate resume` goes on with a sweep that has not ended"]
    elif claims.verdicts:
        yield from _claimed(m, claims)
    for arm, reason in m.summary.impossible.items():
        yield f"{arm} was not compared: {reason}.", []
    if claims is not None and claims.verdicts:
        yield (
            "Other data sets: one data set and one split were used.",
            ["the same file with another `base.data`, and `ablate compare` of the sweeps"],
        )


def _claimed(m: Material, claims: Claims) -> Iterator[tuple[str, list[str]]]:
    if m.sweep.arms is None:
        yield (
            f"Whether this {claims.subject} is better, and not only this configuration: only the whole space "
            "was searched, and what it is compared with was not.",
            [f"`arms` in place of `confirm.references`, with `arms.replicates: {LEAST_REPLICATES}` or more"],
        )
    elif claims.unit == "seed":
        yield (
            f"Whether this {claims.subject} is better, and not only this configuration: each arm was "
            "searched once.",
            [f"`arms.replicates: {LEAST_REPLICATES}` or more: independent searches of every arm"],
        )
    elif claims.replicates < LEAST_REPLICATES:
        yield (
            f"Whether this {claims.subject} is better: {plural(claims.replicates, 'replicate')} are too few.",
            [f"`arms.replicates: {LEAST_REPLICATES}` or more"],
        )
    bare = [name_of(v.comparison) for v in claims.verdicts if v.comparison.cells is None]
    if bare:
        yield (
            f"Whether it holds for other test images ({', '.join(bare)}): there are no per-example results.",
            ["`trials/<trial>/correct.npz` of every trial of confirmation"],
        )


# --- the search ------------------------------------------------------------------------------------------


def _search(m: Material) -> Iterator[tuple[str, list[str]]]:
    a = m.analysis
    if a is None:
        return
    if pressed := [f"{s.key} ({s.end} end, {s.arm})" for s in a.boundaries.ends if s.pressed]:
        yield (
            f"Whether better configurations lie beyond these ends of ranges: {', '.join(pressed)}.",
            ["the change to make under What the parameters did, and the search again"],
        )
    unseen = [r for r in a.relations.found if r.word == "unseen"]
    if unseen:
        worst = max(unseen, key=lambda r: r.bound or 0.0)
        yield (
            f"Whether {plural(len({r.key for r in unseen}), 'parameter')} without a visible relation do "
            f"anything: one may still explain up to {worst.bound or 0:.0%} ({worst.key} in {worst.arm}).",
            ["more trials; 64 to 78 an arm before a parameter can be called dead"],
        )
    for i in a.importance:
        if i.refused:
            yield f"Importance of parameters in {i.arm}: {i.refused}.", []
    waiting = [arm for arm in a.audit if arm.stopped and not arm.audited]
    if waiting:
        stopped = sum(arm.stopped for arm in waiting)
        yield (
            f"Whether early stopping stopped the wrong trials: none of {stopped} was run to its end.",
            [f"`ablate audit {m.name}`"],
        )


def _failed(m: Material) -> list[str]:
    """Trials of confirmation that failed, which block verdicts."""
    return [r["trial_id"] for r in m.of("confirm") if r["state"] == "FAILED"]
