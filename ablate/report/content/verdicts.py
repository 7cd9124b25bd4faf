"""The evidence behind the verdicts: their table, every difference as a point, every score of every seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablate.report.claims import Claims, name_of
from ablate.report.confirm import Confirmation
from ablate.report.content.material import Material
from ablate.report.content.wording import linked, plural, run_cell, shown
from ablate.report.document.blocks import (
    Block,
    Cell,
    Folded,
    Paragraph,
    Section,
    Table,
    bullets,
    group_id,
    run_id,
)
from ablate.report.drawing import Drawn, forest, xy
from ablate.report.effects import Effect
from ablate.report.figures import Axis, Mark, Row, Series
from ablate.report.words import detail_rows, factor_rows, method_lines, percent, score_rows, verdict_rows
from ablate.statistics.intervals import Interval
from ablate.statistics.verdict import Verdict

SEEDS = "scores-by-seed"  # the table that every difference can be traced to
_LINES = 30  # seeds up to which the scores of one are joined by a line


def verdicts(m: Material) -> Section:
    """Verdicts with intervals, and the scores that they are taken over."""
    claims, found = m.summary.claims, m.confirmed
    if claims is None or found is None:
        return Section("verdicts", "Verdicts", (Paragraph(_none(m)),))
    blocks: list[Block] = []
    if claims.verdicts or claims.controls:
        caption = f"Paired differences of {claims.metric}, one comparison a row; controls last."
        blocks.append(linked("verdict-table", caption, verdict_rows(claims), lambda _: SEEDS))
    blocks += [*_forest("forest", claims, found, claims.verdicts)]
    blocks += [*_forest("forest-controls", claims, found, claims.controls)]
    blocks.append(bullets(method_lines(claims)))
    blocks += [*_scores(m, claims, found), *_more(claims), *_factors(claims)]
    return Section("verdicts", "Verdicts", tuple(blocks))


def _none(m: Material) -> str:
    if m.sweep.confirm is None:
        return "There are none: the file has no `confirm`, so that nothing was trained again on fresh seeds."
    if m.summary.confirm:
        return "There are none: nothing was declared before the trials of confirmation."
    return "There are none yet: what is compared is declared when the search has ended."


def _forest(id: str, claims: Claims, found: Confirmation, judged: Sequence[Verdict]) -> Iterator[Drawn]:
    """None where no unit is there yet in any comparison."""
    if not any(v.comparison.differences for v in judged):
        return
    wide = any(v.wide is not None for v in (*claims.verdicts, *claims.controls))
    control = judged is claims.controls
    rows = [_row(found, v, "control" if control else v.word, v.wide if wide else v.interval) for v in judged]
    said = "; ".join(f"{row.name} {row.word} {_signed(row.mean)}" for row in rows)
    margin = None if control else claims.margin
    band = "" if margin is None else f" Differences inside the band, {margin:g}, do not matter."
    unit = "seed" if control else claims.unit
    level = f"{percent(claims)} over {unit}s" + (" and images" if wide else "")
    bare = [row.name for row, v in zip(rows, judged, strict=True) if wide and v.wide is None]
    lacks = f" No interval, for want of per-example results: {', '.join(bare)}." if bare else ""
    yield forest(
        id,
        f"Differences of {claims.metric}" + (" from the controls" if control else ""),
        f"A forest plot of {plural(len(rows), 'comparison')}: {said}.",
        f"Mean, interval ({level}) and each {unit} as a point; right of zero the first is better."
        f"{band}{lacks}",
        label=f"difference of {claims.metric}, larger is better",
        rows=rows,
        margin=margin,
    )


def _row(found: Confirmation, v: Verdict, word: str, interval: Interval | None) -> Row:
    return Row(
        name=name_of(v.comparison),
        mean=v.mean if v.comparison.differences else None,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        points=tuple(_points(found, v)),
        word=word,
    )


def _points(found: Confirmation, v: Verdict) -> Iterator[Mark]:
    """One a unit, leading to the (first) run of the arm in it."""
    c = v.comparison
    parts = found.of_seeds() if v.unit == "seed" else found.parts
    there = [part for part in parts if part.name not in c.missing]
    for part, difference in zip(there, c.differences, strict=True):
        pairs = [
            tuple(found.records[name, part.replicate, seed].trial for name in (c.arm, c.against))
            for seed in part.seeds
        ]
        named = ", ".join(f"{a} - {b}" for a, b in pairs)
        yield Mark(difference, 0.0, f"{v.unit} {part.name}: {difference:+.4f} ({named})", pairs[0][0])


def _signed(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.4f}"


# --- scores ----------------------------------------------------------------------------------------------


def _scores(m: Material, claims: Claims, found: Confirmation) -> Iterator[Block]:
    arms = m.arms("confirm")
    if any(claims.scores.values()):
        yield _scores_figure(claims, found, arms)
    caption = "Scores of each arm on the seeds that count."
    yield linked("score-table", caption, score_rows(claims), lambda row: _runs_of(row[0], arms))
    yield _by_seed(claims, found, arms)


def _runs_of(arm: str, arms: Sequence[str]) -> str:
    """Where the runs of an arm are listed; nowhere before the first was asked for."""
    return group_id("confirm", arm) if arm in arms else ""


def _scores_figure(claims: Claims, found: Confirmation, arms: Sequence[str]) -> Drawn:
    series = []
    steps = list(_steps(found))
    for replicate, seed in steps if len(steps) <= _LINES else ():
        marks = tuple(_marks(found, arms, replicate, seed, link=False))
        series.append(Series(f"seed {seed}", marks, "line", faint=True))
    by_arm: dict[str, list[Mark]] = {arm: [] for arm in arms}
    for replicate, seed in steps:
        for mark in _marks(found, arms, replicate, seed, link=True):
            by_arm[arms[int(mark.x)]].append(mark)
    series += [Series(arm, tuple(marks)) for arm, marks in by_arm.items()]
    means = {arm: sum(x) / len(x) for arm, x in claims.scores.items() if x}
    said = "; ".join(f"{arm} {shown(mean)} on average" for arm, mean in means.items())
    joined = " Grey lines join the arms of one seed." if len(steps) <= _LINES else ""
    return xy(
        "scores",
        f"{claims.metric} of every arm and seed",
        f"Scores by arm, one point a seed: {said}.",
        f"One point a trial; only differences within a seed are judged.{joined}",
        x=Axis("arm", categories=tuple(arms)),
        y=Axis(claims.metric),
        series=series,
    )


def _marks(
    found: Confirmation, arms: Sequence[str], replicate: int, seed: int, *, link: bool
) -> Iterator[Mark]:
    for place, arm in enumerate(arms):
        score = found.score((arm, replicate, seed))
        if score is not None:
            trial = found.records[arm, replicate, seed].trial
            yield Mark(place, score, f"{arm}, seed {seed}: {score:.4f}", trial if link else "")


def _steps(found: Confirmation) -> Iterator[tuple[int, int]]:
    """(replicate, seed) of everything that counts."""
    for part in found.parts:
        yield from ((part.replicate, seed) for seed in part.seeds)


def _by_seed(claims: Claims, found: Confirmation, arms: Sequence[str]) -> Table:
    several = found.unit == "replicate"
    rows = []
    for replicate, seed in _steps(found):
        name = f"{seed} (replicate {replicate})" if several else str(seed)
        rows.append((Cell(name), *(_score_cell(found, arm, replicate, seed) for arm in arms)))
    caption = f"{claims.metric} of every arm on every seed that counts; each score leads to its run."
    return Table(SEEDS, caption, ("seed", *arms), tuple(rows))


def _score_cell(found: Confirmation, arm: str, replicate: int, seed: int) -> Cell:
    """The score; where there is none the state of the trial, if it was asked for."""
    record = found.records.get((arm, replicate, seed))
    if record is None:
        return Cell("-")
    score = found.score((arm, replicate, seed))
    if score is None:
        return Cell(record.state.lower(), run_id(record.trial))
    return Cell(f"{score:.4f}", run_cell(record.trial).to)


# --- further numbers -------------------------------------------------------------------------------------


def _more(claims: Claims) -> Iterator[Block]:
    if not claims.verdicts:
        return
    caption = "Further numbers of each comparison; what they are is said under Method."
    table = linked("verdict-details", caption, detail_rows(claims), lambda _: SEEDS)
    yield Folded("More numbers: other intervals, effect sizes, uncorrected p", (table,))


def _factors(claims: Claims) -> Iterator[Block]:
    if not claims.effects:
        return
    caption = "Effects of factors and of pairs of factors: explored, not declared."
    yield linked("effect-table", caption, factor_rows(claims), lambda _: SEEDS)
    rows = [_effect(claims, effect) for effect in claims.effects]
    yield forest(
        "effects",
        f"Effects of factors on {claims.metric}",
        "; ".join(f"{row.name} {_signed(row.mean)}" for row in rows) + ".",
        f"Mean, 95% interval and each {claims.unit} as a point. They point at what to test next.",
        label=f"effect on {claims.metric}, larger is better",
        rows=rows,
    )


def _effect(claims: Claims, effect: Effect) -> Row:
    points = (Mark(d, 0.0, f"{claims.unit} {i}: {d:+.4f}") for i, d in enumerate(effect.differences, 1))
    low = None if effect.interval is None else effect.interval.low
    high = None if effect.interval is None else effect.interval.high
    return Row(" x ".join(effect.factors), effect.mean, low, high, tuple(points), "explored")
