"""What the parameters did in the searches: importance, ends of ranges, relations, all side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ablate.report.analysis import document as analysed
from ablate.report.analysis.importance import Importance, Share
from ablate.report.content.material import Material, Row, number
from ablate.report.content.wording import folded, plural
from ablate.report.document.blocks import Block, Paragraph, Section, group_id, slug
from ablate.report.drawing import Drawn, bars, parallel
from ablate.report.figures import Bar, Dimension
from ablate.spec.space import Choice

_MOST_DIMENSIONS = 12  # beside the objective: more axes than a page is wide for


def parameters(m: Material) -> Section:
    """Importance, parallel coordinates, and what to change."""
    blocks: list[Block] = []
    if m.analysis is None:
        blocks.append(Paragraph(f"Importance and relations are not given: {m.no_analysis}."))
    else:
        _, _, importance, ends, related, change, _ = analysed.sections(m.analysis)
        blocks += _importance(m.analysis.importance, m.order)
        blocks.append(folded(importance, "importance-table", (_IMPORTANCE,), _arm))
    blocks += _parallel(m)
    if m.analysis is not None:
        blocks.append(folded(ends, "ends", (_ENDS,), _arm))
        blocks.append(folded(related, "relations", (_RELATIONS,), _arm))
        blocks.append(folded(change, "change", (), _arm))
    return Section("parameters", "What the parameters did", tuple(blocks))


_IMPORTANCE = "Importance of each parameter within each arm, with the 95% interval of its rank."
_ENDS = "Ends of ranges, and how many of the best quarter of the trials lie there."
_RELATIONS = "How much of the differences between trials each parameter explains, within each arm."


def _arm(row: Sequence[str]) -> str:
    return group_id("search", row[0])


# --- importance ------------------------------------------------------------------------------------------


def _importance(found: Sequence[Importance], order: Sequence[str]) -> Iterator[Drawn]:
    for method in dict.fromkeys(i.method for i in found):
        of_method = [i for i in found if i.method == method and i.shares]
        if not of_method:
            continue
        groups = {i.arm: [_bar(s, i.trials) for s in i.shares] for i in of_method}
        first = "; ".join(f"{i.arm}: {i.shares[0].key} {i.shares[0].share:.0%}" for i in of_method)
        biased = any(note.startswith("biased") for i in of_method for note in i.notes)
        caution = " Biased by how the trials were chosen, as said below." if biased else ""
        yield bars(
            f"importance-{slug(method)}",
            f"Importance of parameters by {method}",
            f"The most important parameter of each arm: {first}.",
            "Shares of one arm add up to 1. No test: a parameter that does nothing gets some "
            f"share.{caution}",
            label="share of importance",
            groups=groups,
            order=order,
        )


def _bar(share: Share, trials: int) -> Bar:
    have = "" if share.trials == trials else f", {share.trials} of {trials} trials have it"
    rank = f"rank {share.rank:g} [{share.rank_low:g}, {share.rank_high:g}]{have}"
    return Bar(share.key, share.share, note=rank)


# --- parallel coordinates --------------------------------------------------------------------------------


def _parallel(m: Material) -> Iterator[Block]:
    every = m.completed("search")
    rows = [row for row in every if number(row, m.objective) is not None]
    drawn = [key for key in m.sweep.space if len({repr(row.get(key)) for row in rows}) > 1]
    if len(rows) < 2 or not drawn:
        yield Paragraph("No parallel coordinates: they take two completed trials that differ in a parameter.")
        return
    keys, left_out = drawn[:_MOST_DIMENSIONS], drawn[_MOST_DIMENSIONS:]
    dimensions = [*(_dimension(m, rows, key) for key in keys), _objective(m, rows)]
    note = f" Left out for want of room: {', '.join(left_out)}." if left_out else ""
    others = sum(1 for _ in m.of("search")) - len(rows)
    note += (
        f" Not shown: {plural(others, 'trial')} that did not run to the end, or repeat another."
        if others
        else ""
    )
    yield parallel(
        "parallel",
        f"Completed search trials by their parameters and {m.objective}",
        f"Parallel coordinates of {plural(len(rows), 'trial')} over {', '.join(keys)} and {m.objective}.",
        f"One line a completed trial, each configuration once; a gap where it has not that key.{note}",
        dimensions=dimensions,
        trials=[row["trial_id"] for row in rows],
        groups=[row["arm"] for row in rows],
        order=m.order,
    )


def _dimension(m: Material, rows: Sequence[Row], key: str) -> Dimension:
    entry = m.sweep.space[key]
    if isinstance(entry, Choice):
        return Dimension(key, tuple(_text(row.get(key)) for row in rows))
    return Dimension(key, tuple(number(row, key) for row in rows), entry.log)


def _objective(m: Material, rows: Sequence[Row]) -> Dimension:
    return Dimension(m.objective, tuple(number(row, m.objective) for row in rows))


def _text(value: object) -> str | None:
    """A choice as the column of results.parquet has it, null for a run that has not this key."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
