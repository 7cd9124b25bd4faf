"""What each search had, and how it went: trials, epochs, hours, its choice, the best so far with a band."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.report.analysis import document as analysed
from ablate.report.analysis.best_so_far import BestSoFar, Course
from ablate.report.budgets import matched_by, unequal
from ablate.report.content.material import Material, Row, number, panels
from ablate.report.content.wording import folded, group_cell, of_analysis, plural, run_cell, shown
from ablate.report.document.blocks import (
    Block,
    Cell,
    Paragraph,
    Section,
    Table,
    bullets,
    group_id,
    run_id,
    slug,
    table,
)
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis, Mark, Series
from ablate.report.summary import STATES
from ablate.report.words import FRONT

_BANDS = 4  # arms in one figure of budget curves: the bands of more hide one another


def searches(m: Material) -> Section:
    """Every search: what it was given, what it took, what it chose and how soon it got there."""
    blocks: list[Block] = [Paragraph(_how(m)), _had(m)]
    if said := [*_unequal(m), *_others(m)]:
        blocks.append(bullets(said))
    if m.analysis is None:
        blocks.append(Paragraph(f"Budget curves are not given: {m.no_analysis}."))
    else:
        best, expected, *_ = analysed.sections(m.analysis)
        blocks += [*_courses(m), *of_analysis(best, "best-so-far", (_BEST,), _to_search)]
        blocks.append(folded(expected, "best-of-k", _BEST_OF_K, _to_search))
    return Section("searches", "What each search had, and how it went", (*blocks, *_front(m)))


_BEST = (
    "The best so far at quarters of the budget, with the 95% band of resampled orders: a search in trials "
    "and in epochs."
)
_BEST_OF_K = ("The best of k random trials to be expected, by arm.", "The same, arm minus baseline.")


def _to_search(row: Sequence[str]) -> str:
    return group_id("search", row[0].partition(" #")[0])


def _how(m: Material) -> str:
    search = m.sweep.search
    each = "Each arm was searched" if m.sweep.arms else "The space was searched"
    times = f", {m.sweep.replicates} times independently" if m.sweep.replicates > 1 else ""
    rungs = getattr(search.scheduler, "rungs", ())
    at = f" at epochs {', '.join(map(str, rungs))}" if rungs else ""
    stopping = "no trial stopped early" if search.scheduler.kind == "none" else f"{search.scheduler.kind}{at}"
    budget = {"trials": plural(search.trials, "trial"), "epochs": f"{search.budget.epochs} epochs"}
    budget["arm_hours"] = f"{search.budget.arm_hours} hours of slots"
    given = budget[matched_by(m.sweep.as_dict())]
    mode = "larger" if search.objective.mode == "max" else "smaller"
    return (
        f"{each}{times} with {search.sampler.kind}, given {given}; {stopping}. The objective was "
        f"{m.objective} ({mode} is better), on validation. A search score is the best of many and no "
        "result: it chooses."
    )


def _had(m: Material) -> Table:
    every = [_Search.of(m, arm, replicate) for arm in m.arms("search") for replicate in _replicates(m, arm)]
    states = [state for state in STATES if any(search.states[state] for search in every)]
    closed = any(search.closed for search in every)
    rows = [_search_row(m, search, states, closed) for search in every]
    head = ["search", "trials", *(state.lower() for state in states), "epochs", "slot hours"]
    head += ["chosen", f"its {m.objective}", *(["ended early"] if closed else [])]
    caption = "Every search: its trials by how they ended, what they took, and its choice."
    return table("search-table", caption, head, rows)


@dataclass(frozen=True)
class _Search:
    """What one search came to; ``closed``: why it asked for no more, "" if it asked for all."""

    arm: str
    name: str
    states: Counter[str]
    epochs: int
    hours: float
    chosen: str | None
    closed: str

    @classmethod
    def of(cls, m: Material, arm: str, replicate: int) -> _Search:
        mine = [r for r in m.records.values() if (r.stage, r.arm, r.replicate) == ("search", arm, replicate)]
        had = m.searches[arm]
        return cls(
            arm=arm,
            name=arm if had.searches == 1 else f"{arm} #{replicate}",
            states=Counter(record.state for record in mine),
            epochs=sum(record.own_epochs for record in mine),
            hours=sum(m.seconds.get(record.trial, 0.0) for record in mine) / 3600,
            chosen=had.chosen.get(replicate),
            closed=had.closed.get(replicate, ("", ""))[1],
        )


def _search_row(m: Material, search: _Search, states: Sequence[str], closed: bool) -> list[Cell]:
    counts = [search.states.total(), *(search.states[state] for state in states), search.epochs]
    texts = [search.name, *map(str, counts), f"{search.hours:.3g}"]
    row = [group_cell(text, "search", search.arm) for text in texts]
    if search.chosen is None:
        row += [Cell("-"), Cell("-")]
    else:
        score = shown(number(m.rows[search.chosen], m.objective))
        row += [run_cell(search.chosen), Cell(score, run_id(search.chosen))]
    return [*row, *([Cell(search.closed or "no")] if closed else [])]


def _replicates(m: Material, arm: str) -> list[int]:
    return sorted({r.replicate for r in m.records.values() if (r.stage, r.arm) == ("search", arm)})


def _unequal(m: Material) -> Iterator[str]:
    """Where an arm's searches had not what the baseline's had."""
    if m.sweep.arms is None:
        return
    base = m.searches.get(m.sweep.arms.reference)
    for arm, had in m.searches.items():
        if base is None or arm == base.arm:
            continue
        promised, realised = unequal(had, base, matched_by(m.sweep.as_dict()))
        if promised:
            yield f"Unequal budgets, {arm} and {base.arm}: {'; '.join(promised)}."
        if realised:
            yield f"The budgets were equal, what was spent was not: {'; '.join(realised)}."


def _others(m: Material) -> Iterator[str]:
    s = m.summary
    if s.closed:
        yield f"The search was ended before all its trials: {s.closed}."
    if s.repeats:
        yield f"{plural(s.repeats, 'trial')} repeated the configuration of another and took its result."
    if children := sum(r.parent is not None for r in m.records.values()):
        yield f"{plural(children, 'trial')} went on from the weights of another (population based training)."
    if s.agreement:
        yield str(s.agreement)
    for arm, reason in s.impossible.items():
        yield f"Not compared: {arm}: {reason}."


# --- figures ---------------------------------------------------------------------------------------------


def _courses(m: Material) -> Iterator[Drawn]:
    assert m.analysis is not None
    arms = tuple(dict.fromkeys(b.arm for b in m.analysis.best))
    shown_arms = panels(arms, _BANDS)
    for i, panel in enumerate(shown_arms, 1):
        best = [b for b in m.analysis.best if b.arm in panel]
        for unit in ("trials", "epochs"):
            yield _course(m, best, unit, f"budget-{unit}" + (f"-{i}" if len(shown_arms) > 1 else ""))


def _course(m: Material, best: Sequence[BestSoFar], unit: str, id: str) -> Drawn:
    courses = [(b, b.by_trials if unit == "trials" else b.by_epochs) for b in best]
    bands = not any(b.replicate for b in best)  # real searches show their spread better
    series = [
        Series(_search_name(best, b), _marks(course), "steps", _band(course) if bands else (), group=b.arm)
        for b, course in courses
    ]
    ends = ", ".join(f"{_search_name(best, b)} {shown(course.best[-1])}" for b, course in courses)
    spent = "finished trials" if unit == "trials" else "epochs trained for finished trials"
    standing = ", descriptive only" if any(b.standing == "descriptive" for b in best) else ""
    shaded = f"Bands: 95% of resampled orders{standing}" if bands else "One line an independent search"
    return xy(
        id,
        f"Best {m.objective} so far against {unit}",
        f"Best so far against {spent}; at the end {ends}.",
        f"The best completed trial after so many {spent}. {shaded}.",
        x=Axis(spent),
        y=Axis(f"best {m.objective}"),
        series=series,
        narrow=True,
        order=m.order,
    )


def _search_name(best: Sequence[BestSoFar], b: BestSoFar) -> str:
    return f"{b.arm} #{b.replicate}" if any(o.replicate for o in best) else b.arm


def _marks(course: Course) -> tuple[Mark, ...]:
    return tuple(Mark(x, y) for x, y in zip(course.budget, course.best, strict=True) if y is not None)


def _band(course: Course) -> tuple[tuple[float, float, float], ...]:
    ends = zip(course.budget, course.low, course.high, strict=True)
    return tuple((x, low, high) for x, low, high in ends if low is not None and high is not None)


# --- several objectives ----------------------------------------------------------------------------------


def _front(m: Material) -> Iterator[Block]:
    """Of several objectives: the Pareto front as a table, and the first two against one another."""
    if not m.sweep.search.tradeoffs:
        return
    if m.sweep.arms is not None:
        yield Paragraph(
            "There are several objectives; no front is given, for trials of arms are not compared."
        )
        return
    objectives = (m.sweep.search.objective, *m.sweep.search.tradeoffs)
    first = objectives[0]
    front = sorted(m.summary.front.items(), key=lambda f: f[1][0], reverse=first.mode == "max")
    rows = [[run_cell(t), *(Cell(shown(v), run_cell(t).to) for v in values)] for t, values in front]
    yield table("front-table", FRONT, ("trial", *m.summary.objectives), rows)
    names = (objectives[0].metric, objectives[1].metric)
    rest = [r for r in m.completed("search") if r["trial_id"] not in m.summary.front]
    on_it = [m.rows[trial] for trial, _ in front]
    yield xy(
        f"front-{slug(names[1])}",
        f"{names[0]} against {names[1]}",
        f"{len(on_it)} trials on the Pareto front and {len(rest)} off it.",
        "Completed search trials; those on the front are marked.",
        x=Axis(names[1]),
        y=Axis(names[0]),
        series=[
            Series("on the front", tuple(_points(on_it, names))),
            Series("off the front", tuple(_points(rest, names)), faint=True),
        ],
    )


def _points(rows: Sequence[Row], names: tuple[str, str]) -> Iterator[Mark]:
    for row in rows:
        y, x = (number(row, name) for name in names)
        if x is not None and y is not None:
            yield Mark(x, y, row["trial_id"], row["trial_id"])
