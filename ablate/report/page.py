"""The summary of a sweep on the page: as Markdown, and printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablate.report.words import (
    FRONT,
    Rows,
    claim_items,
    detail_rows,
    drawn_text,
    factor_rows,
    markdown_table,
    method_lines,
    score_rows,
    verdict_rows,
)

if TYPE_CHECKING:
    from ablate.report.claims import Claims
    from ablate.report.summary import ArmSearch, Summary


def markdown(s: Summary) -> str:
    """The summary as Markdown."""
    lines = [f"# {s.name}", "", s.question.strip(), "", "## Search", ""]
    lines += [f"- {line}" for line in _search_lines(s)]
    if s.front:
        lines += ["", FRONT, "", *markdown_table(*_front_rows(s))]
    if s.claims:
        lines += ["", "## Confirm", "", *markdown_table(*score_rows(s.claims))]
        lines += _markdown_claims(s.claims)
    if s.reasons:
        lines += ["", "## Trials that failed or collapsed", ""]
        lines += [f"- {trial}: {reason}" for trial, reason in s.reasons.items()]
    return "\n".join(lines) + "\n"


def _markdown_claims(claims: Claims) -> list[str]:
    if not claims.verdicts and not claims.controls:
        return []
    lines = ["", "## Verdicts", ""]
    for sentence, notes in claim_items(claims):
        lines += [f"- {sentence}", *(f"  - {note}" for note in notes)]
    for rows in _tables(claims):
        lines += ["", *markdown_table(*rows)]
    return [*lines, "", *[f"- {line}" for line in method_lines(claims)]]


def _tables(claims: Claims) -> list[Rows]:
    tables = [verdict_rows(claims)]
    tables += [detail_rows(claims)] if claims.verdicts else []
    return tables + ([factor_rows(claims)] if claims.effects else [])


def show(s: Summary, console: Console) -> None:
    """Print the summary."""
    console.print(Text.assemble((s.name, "bold"), f"  {s.question.strip()}"))
    for line in _search_lines(s):
        console.print(f"  {line}", highlight=False, markup=False)
    if s.front:
        console.print("", FRONT, rich_table(*_front_rows(s)), sep="\n")
    if s.claims:
        console.print("", rich_table(*score_rows(s.claims)), sep="\n")
        show_claims(s.claims, console)
    for trial, reason in s.reasons.items():
        console.print(f"  {trial}: {reason}", style="red", highlight=False, markup=False)


def show_claims(claims: Claims, console: Console) -> None:
    """Print the verdicts: tables, a sentence for each, and how they were come by."""
    if not claims.verdicts and not claims.controls:
        return
    for rows in _tables(claims):
        console.print("", rich_table(*rows), sep="\n")
    console.print("")
    for sentence, notes in claim_items(claims):
        for line in (f"  {sentence}", *(f"    {note}" for note in notes)):
            console.print(line, highlight=False, markup=False)
    for line in method_lines(claims):
        console.print(line, style="dim", highlight=False, markup=False)


def rich_table(head: list[str], rows: list[list[str]]) -> Table:
    """A table for the terminal; the first column on the left."""
    table = Table(show_edge=False, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _search_lines(s: Summary) -> list[str]:
    lines = [f"{sum(s.search.values())} trials: {_words(s.search)}."]
    if s.stopped is not None and s.rungs:
        rungs = ", ".join(map(str, s.rungs))
        lines.append(f"Stopped early: {s.stopped:.0%} of the trials that ended (rungs at epochs {rungs}).")
    if s.repeats:
        lines.append(f"{s.repeats} repeated the configuration of another, and were not run again.")
    if s.closed:
        lines.append(f"The search was ended before all its trials: {s.closed}.")
    if s.ended is None:
        lines.append("The sweep has not ended: these are the trials so far.")
    lines += [line for arm in s.arms for line in _arm_lines(arm)] if s.arms else _best_lines(s)
    lines += [str(s.agreement)] if s.agreement else []
    if s.confirm and s.claims is None:
        lines.append("Trials of confirmation are there, but nothing was declared before them: no claim.")
    lines += [_not_compared(s, arm, reason) for arm, reason in s.impossible.items()]
    return [*lines, f"The sweep was ended before all of it was done: {s.ended}."] if s.ended else lines


def _not_compared(s: Summary, arm: str, reason: str) -> str:
    """A reference that the best configuration does not admit, or an arm whose search chose nothing."""
    if s.arms:
        return f"Not compared: {arm}: {reason}."
    return f"Not compared with {arm}, which the best configuration does not admit: {reason}"


def _best_lines(s: Summary) -> list[str]:
    if s.best is None or s.best.score is None:
        return ["No trial was completed: there is no best configuration."]
    return [
        f"Best in search: {s.best.trial}, {s.objective} {s.best.score:.4f} ({drawn_text(s.best.params)}).",
        "A search score is the best of many and so too high: it is not a result.",
    ]


def _arm_lines(arm: ArmSearch) -> list[str]:
    had = arm.spent
    searches = "" if had.searches == 1 else f"{had.searches} searches, "
    trials = f"{sum(had.states.values())} trials ({_words(had.states)}), {had.epochs} epochs"
    lines = [f"{had.arm}: {searches}{trials}."]
    for replicate, (_, reason) in sorted(had.closed.items()):
        lines.append(f"{had.arm}{_of(had.searches, replicate)}: ended before all its trials: {reason}.")
    chosen = ", ".join(f"{each.trial} ({drawn_text(each.params)})" for each in arm.chosen.values())
    return [*lines, f"{had.arm} chose {chosen}."] if chosen else lines


def _of(searches: int, replicate: int) -> str:
    return "" if searches == 1 else f", replicate {replicate}"


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {state.lower()}" for state, n in counts.items()) or "none"


def _front_rows(s: Summary) -> Rows:
    """By the first objective, the best first, as ``objectives`` says which end is the best."""
    sign = -1 if s.objectives[0].endswith("(max)") else 1
    ordered = sorted(s.front.items(), key=lambda item: sign * item[1][0])
    rows = [[trial, *(f"{value:.4g}" for value in values)] for trial, values in ordered]
    return ["trial", *s.objectives], rows
