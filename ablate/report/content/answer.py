"""The answer, which comes first: in words no stronger than what was repeated allows, each with its interval.

Only confirmation answers. What a search scored is named as what it is, and where nothing was established the
answer says so, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablate.report.claims import Claims
from ablate.report.content.material import Material
from ablate.report.content.wording import items, plural, shown
from ablate.report.document.blocks import Block, Paragraph
from ablate.report.words import claim_items, interval_text, percent, value_text, verdict_rows
from ablate.statistics.verdict import Verdict

_SETTLED = ("better", "worse", "equivalent")
_MOST_NOTES = 4


def answer(m: Material) -> tuple[Block, ...]:
    """What is known by now, what it rests on, and what makes it weaker."""
    claims = m.summary.claims
    lines = [*_state(m), *(_of_claims(claims) if claims else _without_claims(m))]
    found: list[Block] = [Paragraph(line) for line in lines]
    if claims:
        if claims.verdicts or claims.controls:
            found.append(items(_said(claims)))
        found += [Paragraph(label) for label in claims.labels]
    return tuple(found)


def _state(m: Material) -> Iterator[str]:
    if m.summary.ended is None:
        done = sum(record.finished for record in m.records.values())
        yield f"The sweep has not ended: this is what there is after {plural(done, 'trial')}."
    elif m.summary.ended:
        yield f"The sweep was ended before all of it was done: {m.summary.ended}."


def _of_claims(claims: Claims) -> Iterator[str]:
    if not claims.verdicts:
        yield (
            "Nothing was compared, so that there is no verdict: the file names nothing to compare the best "
            "configuration with (`confirm.references`)."
        )
        return
    settled = sum(v.word in _SETTLED for v in claims.verdicts)
    blocked = sum(v.word == "blocked" for v in claims.verdicts)
    count = len(claims.verdicts)
    open_ = count - settled - blocked
    parts = [f"{settled} of {plural(count, 'comparison')} settled"]
    parts += [f"{open_} inconclusive, which is not the same as no difference"] if open_ else []
    parts += [f"{blocked} without a claim, for scores are missing"] if blocked else []
    yield f"{', '.join(parts)}."


def _said(claims: Claims) -> list[tuple[str, list[str]]]:
    """Each comparison in a sentence, with its numbers and what belongs to it."""
    _, rows = verdict_rows(claims)
    judged = [*claims.verdicts, *claims.controls]
    found = []
    for v, (sentence, notes), row in zip(judged, claim_items(claims), rows, strict=True):
        _, _, units, difference, _, p = row
        numbers = f"difference {difference} in {claims.metric}, {_interval(claims, v)}"
        on = f"{units.removesuffix(f' {v.unit}s')} {v.unit}s"
        tested = "" if p == "-" else _tested(v)  # controls belong to no family
        measured = [f"{numbers}, on {on}{tested}"] if difference != "-" else []
        found.append((sentence, [*measured, *_short(notes)]))
    return found


def _interval(claims: Claims, v: Verdict) -> str:
    """Over units and images, if each image's results are there; else over units. Controls have units of
    their own."""
    interval, over = (v.interval, f"{v.unit}s") if v.wide is None else (v.wide, f"{v.unit}s and images")
    if interval is None:
        return "without an interval, which takes two"
    return f"{percent(claims)} over {over} {interval_text(interval)}"


def _tested(v: Verdict) -> str:
    """The p that its word rests on."""
    if v.word == "equivalent" and v.p_equivalent is not None:
        return f", p of equivalence {v.p_equivalent:.3g} after Holm"
    return "" if v.p_holm is None else f", p {v.p_holm:.3g} after Holm"


def _short(notes: Sequence[str]) -> list[str]:
    """The first notes and the last, which says what to do, if there are many."""
    if len(notes) <= _MOST_NOTES:
        return list(notes)
    left = len(notes) - _MOST_NOTES
    return [*notes[: _MOST_NOTES - 1], f"and {left} more, under What could not be concluded", notes[-1]]


def _without_claims(m: Material) -> Iterator[str]:
    s = m.summary
    if not any(m.completed("search")) and not s.confirm:
        going = " yet" if s.ended is None else ""
        yield f"No search trial was completed{going}: there is nothing to answer with."
        return
    if s.confirm:
        yield (
            "No claim: trials of confirmation are there, but nothing was declared before them, so that what "
            "to compare could have been chosen by looking at them."
        )
    elif m.sweep.confirm is None:
        yield (
            "Nothing is established: this sweep has no confirm stage, and a search score is the best of "
            "many and so too high. Add `confirm` to the file to train the choice again on seeds no search "
            "has seen."
        )
    elif s.ended is None:
        yield "Not answered yet: confirmation, which answers, has not begun. A search score is no result."
    else:
        yield "Nothing is established: the sweep ended before anything was confirmed."
    yield from _best(m)


def _best(m: Material) -> Iterator[str]:
    best = m.summary.best
    if best is not None and best.score is not None:
        named = (f"`{key}` {value_text(value)}" for key, value in best.params.items())
        drawn = ", ".join(named) or "nothing drawn"
        score = f"{m.objective} {shown(best.score)}"
        yield f"The best in search, which is no result: {best.trial}, {score} ({drawn})."
