"""The end of a sweep in words and two tables: what the search did, and what confirm established."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablate.ledger import Event, Ledger
from ablate.report.agreement import Agreement, agreement
from ablate.report.confirm import BEST, Difference, Interval, compare_arms, metric_on_test
from ablate.report.trials import TrialRecord, fold_trials, opening
from ablate.spec.front import feasible, front, losses
from ablate.spec.search import SearchSpec

_FRONT = "Pareto front: no completed trial is better in one objective and as good in the others."
_STATES = ("COMPLETE", "PRUNED", "COLLAPSED", "FAILED", "RUNNING", "PAUSED", "WAITING")


@dataclass(frozen=True)
class Summary:
    """``states`` counts trials by state; ``stopped`` is the share of the ended search trials that were
    stopped early; ``best`` is the search's best trial and ``score`` its validation score;
    ``front`` maps the trials of the Pareto front of ``objectives`` to their values, if there are several;
    ``agreement`` is that of a label-free objective with the probe; ``closed`` is why the search asked no more
    although trials were left, empty if it asked all; ``repeats`` counts trials that repeated another and were
    not run; ``impossible`` says which references the best configuration does not admit; ``ended`` is why the
    sweep ended, empty if all was done, None if it has not."""

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
    best: str | None
    score: float | None
    params: dict[str, Any]
    metric: str
    arms: dict[str, tuple[float, ...]]
    differences: tuple[Difference, ...]
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
    chosen, declared, end = (_last(events, name) for name in ("chosen", "declared", "ended"))
    best = records[chosen["trial"]] if chosen else _best(spec, search)
    objectives = (spec.objective, *spec.tradeoffs)
    metric = metric_on_test(sweep)
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
            for trial in (front(spec, _completed(search)) if spec.tradeoffs else ())
        },
        agreement=agreement(spec.objective, search),
        closed=_closed(events),
        repeats=sum(r.duplicate_of is not None for r in search),
        best=best.trial if best else None,
        score=best.metrics.get(spec.objective.metric) if best else None,
        params=best.params if best else {},
        metric=metric,
        arms=_scores(confirm, metric),
        differences=compare_arms(folder, events),
        impossible=declared["impossible"] if declared else {},
        reasons={r.trial: r.reason for r in records.values() if r.state in ("FAILED", "COLLAPSED")},
        ended=end["reason"] if end else None,
    )


def summarise(folder: Path, console: Console | None = None) -> str:
    """Summarise a sweep's folder into its ``summary.md``, print it to ``console`` too; return the text."""
    summary = summary_of(folder, Ledger.read(folder / "ledger.jsonl"))
    text = markdown(summary)
    part = folder / f".summary.{os.getpid()}.part"
    part.write_text(text, encoding="utf-8")
    os.replace(part, folder / "summary.md")
    if console:
        show(summary, console)
    return text


def _last(events: list[Event], name: str) -> Event | None:
    return next((e for e in reversed(events) if e["event"] == name), None)


def _closed(events: list[Event]) -> str:
    """Why nothing is asked any more; a resumed sweep may have been given more to ask."""
    for event in reversed(events):
        if event["event"] == "closed":
            return str(event["reason"])
        if event["event"] == "asked" and event["stage"] == "search":
            break
    return ""


def _best(spec: SearchSpec, search: list[TrialRecord]) -> TrialRecord | None:
    """The best so far, of a search that has not chosen yet."""
    completed = _completed(search)
    fit = [r for r in search if r.trial in completed and feasible(spec, r.metrics)]
    return min(fit, key=lambda r: losses(spec, r.metrics)[0], default=None)


def _completed(search: list[TrialRecord]) -> dict[str, dict[str, float]]:
    """The metrics of each configuration that was completed, once."""
    return {r.trial: r.metrics for r in search if r.state == "COMPLETE" and not r.duplicate_of}


def _count(records: list[TrialRecord]) -> dict[str, int]:
    counts = Counter(r.state for r in records)
    return {state: counts[state] for state in _STATES if counts[state]}


def _scores(confirm: list[TrialRecord], metric: str) -> dict[str, tuple[float, ...]]:
    arms = sorted(dict.fromkeys(r.arm for r in confirm), key=lambda arm: arm != BEST)
    return {
        arm: tuple(r.metrics[metric] for r in confirm if r.arm == arm and r.finished and metric in r.metrics)
        for arm in arms
    }


def verdict(d: Difference) -> str:
    """One sentence on one comparison, with no stronger word than its design earned."""
    if d.missing:
        seeds = ", ".join(map(str, d.missing))
        return f"no claim: seed {seeds} lacks a score in one of the two; re-run it"
    if d.over_seeds is None:
        return "no claim: fewer than two seeds"
    if d.claim == "not established":
        return "covers zero: a difference is not established"
    word = "better" if d.mean > 0 else "worse"
    if d.claim == "differ":
        return f"the two configurations differ: best is {word}"
    why = "the stored test predictions are missing" if d.images is None else "that interval covers zero"
    return f"best is {word} on these test images; for other images it is not established ({why})"


def markdown(s: Summary) -> str:
    """The summary as Markdown."""
    lines = [f"# {s.name}", "", s.question.strip(), "", "## Search", ""]
    lines += [f"- {line}" for line in _search_lines(s)]
    if s.front:
        lines += ["", _FRONT, "", *_markdown_table(*_front_rows(s))]
    if s.confirm:
        lines += ["", "## Confirm", "", *_markdown_table(*_arm_rows(s))]
    if s.differences:
        lines += ["", *_markdown_table(*_difference_rows(s)), ""]
        lines += [f"- best - {d.arm}: {verdict(d)}." for d in s.differences]
        lines += ["", *_caveats(s)]
    if s.reasons:
        lines += ["", "## Trials that failed or collapsed", ""]
        lines += [f"- {trial}: {reason}" for trial, reason in s.reasons.items()]
    return "\n".join(lines) + "\n"


def show(s: Summary, console: Console) -> None:
    """Print the summary."""
    console.print(Text.assemble((s.name, "bold"), f"  {s.question.strip()}"))
    for line in _search_lines(s):
        console.print(f"  {line}", highlight=False, markup=False)
    if s.front:
        console.print("", _FRONT, _rich_table(*_front_rows(s)), sep="\n")
    for rows in (_arm_rows(s) if s.confirm else None, _difference_rows(s) if s.differences else None):
        if rows:
            console.print("", _rich_table(*rows), "", sep="\n")
    for d in s.differences:
        console.print(f"  best - {d.arm}: {verdict(d)}.", highlight=False, markup=False)
    for line in _caveats(s) if s.differences else []:
        console.print(line, style="dim", highlight=False, markup=False)
    for trial, reason in s.reasons.items():
        console.print(f"  {trial}: {reason}", style="red", highlight=False, markup=False)


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
    if s.best is None or s.score is None:
        return [*lines, "No trial was completed: there is no best configuration."]
    drawn = ", ".join(f"{key}={_value(value)}" for key, value in s.params.items())
    lines.append(f"Best in search: {s.best}, {s.objective} {s.score:.4f} ({drawn}).")
    lines.append("A search score is the best of many and so too high: it is not a result.")
    lines += [str(s.agreement)] if s.agreement else []
    for arm, reason in s.impossible.items():
        lines.append(f"Not compared with {arm}, which the best configuration does not admit: {reason}")
    return lines


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {state.lower()}" for state, n in counts.items()) or "none"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _front_rows(s: Summary) -> tuple[list[str], list[list[str]]]:
    """By the first objective, the best first, as ``objectives`` says which end is the best."""
    sign = -1 if s.objectives[0].endswith("(max)") else 1
    ordered = sorted(s.front.items(), key=lambda item: sign * item[1][0])
    rows = [[trial, *(f"{value:.4g}" for value in values)] for trial, values in ordered]
    return ["trial", *s.objectives], rows


def _arm_rows(s: Summary) -> tuple[list[str], list[list[str]]]:
    rows = [
        [arm, str(len(x)), f"{sum(x) / len(x):.4f}", f"{min(x):.4f}", f"{max(x):.4f}"] if x
        else [arm, "0", "-", "-", "-"]
        for arm, x in s.arms.items()
    ]  # fmt: skip
    return ["arm", "seeds", f"mean {s.metric}", "lowest", "highest"], rows


def _difference_rows(s: Summary) -> tuple[list[str], list[list[str]]]:
    head = ["best -", "seeds", "difference", "95% over seeds", "95% over seeds and images", "sign-flip p"]
    rows = [
        [
            d.arm,
            f"{len(d.seeds)}" + (f" ({len(d.missing)} missing)" if d.missing else ""),
            f"{d.mean:+.4f}" if d.seeds else "-",
            _interval(d.over_seeds),
            _interval(d.over_seeds_and_images),
            "-" if d.sign_flip_p is None else f"{d.sign_flip_p:.3g}",
        ]
        for d in s.differences
    ]
    return head, rows


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"[{interval.low:+.4f}, {interval.high:+.4f}]"


def _caveats(s: Summary) -> list[str]:
    seeds = max(len(d.seeds) for d in s.differences)
    images = max((d.images or 0 for d in s.differences), default=0)
    lines = [
        f"Paired differences of {s.metric}, read once, on the same seeds and splits. The interval over seeds "
        "holds for these test images only"
        + (f"; the other one also for images like these {images}." if images else ".")
    ]
    if seeds >= 2:
        lines.append(f"With {seeds} seeds the sign-flip p cannot go below {2.0 ** (1 - seeds):.3g}.")
    lines.append(
        "One search was run: this compares two configurations and does not say that a kind of head is "
        f"better. {len(s.differences)} comparisons, each at 95%, not corrected for their number."
    )
    return lines


def _markdown_table(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def _rich_table(head: list[str], rows: list[list[str]]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
