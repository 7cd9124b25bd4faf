"""The tables of a comparison, each cell linked to the runs that it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ablate.report.budgets import Spent, spent
from ablate.report.compare.aggregates import Aggregates
from ablate.report.compare.differences import Difference
from ablate.report.compare.settings import about
from ablate.report.compare.side import Side
from ablate.report.compare.timing import Timing
from ablate.report.compare.whole import Compared
from ablate.report.compare.wording import number, signed, unlike
from ablate.report.document.blocks import Cell, Table, run_id, slug, table
from ablate.report.trials import TrialRecord
from ablate.report.words import drawn_text, interval_text, p_text, percent
from ablate.statistics.verdict import Verdict


def runs_id(side: Side, arm: str) -> str:
    """Where the page lists the confirmation runs of an arm."""
    return f"runs-{side.letter}-{slug(arm)}"


def sweeps(compared: Compared) -> Table:
    """What each letter stands for."""
    rows = [
        [
            side.letter,
            side.label,
            " ".join(side.spec.question.split()),
            compared.data[side.letter],
            side.digest or "not known",
            str(len(side.records)),
            _state(side),
            "-" if side.found is None else side.found.declared["digest"][:16],
        ]
        for side in compared.sides
    ]
    head = ["sweep", "name", "question", "data", "digest of the data", "trials", "state", "declared"]
    return table("table-sweeps", "The sweeps, and the letters by which they are called here.", head, rows)


def _state(side: Side) -> str:
    if side.ended is None:
        return "has not ended"
    return f"ended: {side.ended['reason']}" if side.ended["reason"] else "ended, all was done"


def settings(compared: Compared) -> Table:
    """Every setting that differs."""
    rows = [[s.key, about(s.part), *s.values] for s in compared.settings]
    caption = "Settings that are not the same in all sweeps, every default written out; `-`: it is not there."
    return table("table-settings", caption, ["setting", "about", *_names(compared)], rows)


def origins(compared: Compared) -> Table:
    """Code, libraries and machines."""
    rows = [[origin.name, "yes" if origin.differs else "no", *origin.values] for origin in compared.origins]
    caption = "What else the numbers depend on, as the confirmation trials recorded it."
    return table("table-origins", caption, ["made with", "differs", *_names(compared)], rows)


def scores(compared: Compared) -> Table:
    """Mean scores of all arms on the seeds that count in each sweep."""
    arms = dict.fromkeys(arm for side in compared.sides for arm in side.arms)
    rows: list[list[str | Cell]] = [[arm, *(_score(side, arm) for side in compared.sides)] for arm in arms]
    caption = (
        f"Mean {compared.metric} of the confirmed arms (lowest to highest, trials), each on the seeds that "
        "count in its sweep."
    )
    return table("table-scores", caption, ["arm", *_names(compared)], rows)


def _score(side: Side, arm: str) -> Cell:
    if arm not in side.arms:
        return Cell("not an arm of it")
    found = side.claims.scores.get(arm, ()) if side.claims is not None else ()
    if not found:
        return Cell("no score")
    text = f"{sum(found) / len(found):.4f} ({min(found):.4f} to {max(found):.4f}, {len(found)})"
    return Cell(text, runs_id(side, arm))


def chosen(compared: Compared) -> Table:
    """What the searches of each sweep chose for each arm."""
    found = {side.letter: choices(side) for side in compared.sides}
    arms = dict.fromkeys(arm for each in found.values() for arm, _ in each)
    rows = []
    for arm in arms:
        row: list[str | Cell] = [arm]
        for side in compared.sides:
            own = [record for name, record in found[side.letter] if name == arm]
            text = "; ".join(f"{side.letter}-{r.trial}: {drawn_text(r.params)}" for r in own) or "-"
            row.append(Cell(text, run_id(f"{side.letter}-{own[0].trial}") if own else ""))
        rows.append(row)
    caption = "What each search chose; with replicates one a search. Search scores are no result."
    return table("table-chosen", caption, ["arm", *_names(compared)], rows)


def choices(side: Side) -> list[tuple[str, TrialRecord]]:
    """(arm, the trial that its search chose), by arm and replicate."""
    had = spent(side.events, side.records.values())
    return [
        (arm, side.records[trial]) for arm, each in had.items() for _, trial in sorted(each.chosen.items())
    ]


def budgets(compared: Compared) -> Table:
    """What the searches of each arm had in each sweep."""
    had = {side.letter: spent(side.events, side.records.values()) for side in compared.sides}
    arms = dict.fromkeys(arm for each in had.values() for arm in each)
    rows = [[arm, *(_had(had[side.letter].get(arm)) for side in compared.sides)] for arm in arms]
    caption = "What the searches had: an arm that was tuned with more may be better for that alone."
    return table("table-budgets", caption, ["arm", *_names(compared)], rows)


def _had(found: Spent | None) -> str:
    if found is None:
        return "-"
    return f"{sum(found.states.values())} trials, {found.epochs} epochs, searches: {found.searches}"


def verdicts(compared: Compared) -> Table:
    """The verdict of each sweep on each comparison that it declared."""
    named = dict.fromkeys(pair for side in compared.sides for pair in side.comparisons)
    rows: list[list[str | Cell]] = [
        [" - ".join(pair), *(_verdict(side, pair) for side in compared.sides)] for pair in named
    ]
    levels = ", ".join(f"{s.letter} {percent(s.claims)}" for s in compared.sides if s.claims is not None)
    caption = (
        "The verdict of each sweep on its own comparisons: word, difference, interval over units (and images "
        f"where they were recorded) at the level of that sweep ({levels}), p after Holm within that sweep."
    )
    return table("table-verdicts", caption, ["comparison", *_names(compared)], rows)


def _verdict(side: Side, pair: tuple[str, str]) -> Cell:
    found = _verdict_of(side, pair)
    if found is None:
        return Cell("not compared")
    if not found.comparison.differences:
        return Cell(found.word)
    interval = interval_text(found.wide or found.interval)
    p = "" if found.p_holm is None else f", p {p_text(found.p_holm)}"
    return Cell(f"{found.word}, {signed(found.mean)} {interval}{p}", runs_id(side, pair[0]))


def _verdict_of(side: Side, pair: tuple[str, str]) -> Verdict | None:
    found = side.claims.verdicts if side.claims is not None else ()
    return next((v for v in found if (v.comparison.arm, v.comparison.against) == pair), None)


def differences(id: str, caption: str, found: Sequence[Difference], other: Side) -> Table:
    """Differences between two sweeps."""
    rows = [_difference(d, other) for d in found]
    what = "arm" if all(len(d.arms) == 1 for d in found) else "gain"
    head = [what, f"{found[0].other} - {found[0].reference}", "95% over units", "95% over units and images"]
    head += ["p (Benjamini-Hochberg)", f"share in which {found[0].other} is better", "units", "remarks"]
    return table(id, caption, head, rows)


def _difference(d: Difference, other: Side) -> list[str | Cell]:
    units = f"{d.units[0]} pairs" if d.paired else f"{d.units[0]} and {d.units[1]}"
    remarks = [d.why_none, *unlike(d), *d.notes, "equal specs" if d.same_specs else ""]
    return [
        d.name,
        Cell(signed(d.mean), runs_id(other, d.arms[0]) if d.mean is not None else ""),
        interval_text(d.interval),
        interval_text(d.wide),
        p_text(d.p),
        number(d.p_better, 2),
        "-" if d.why_none else units,
        "; ".join(filter(None, remarks)) or "-",
    ]


def over_data(compared: Compared, found: Aggregates) -> Table:
    """Each arm over all data sets."""
    head = ["arm", *(f"mean, {compared.data[letter]}" for letter in found.sides)]
    head += ["interquartile mean", "95%", "optimality gap", "95%", "units a data set"]
    rows: list[list[str | Cell]] = []
    for each in found.arms:
        links = [runs_id(compared.side(letter), each.arm) for letter in found.sides]
        means = [Cell(number(mean), to) for mean, to in zip(each.means, links, strict=True)]
        aggregate = [number(each.iqm), interval_text(each.iqm_interval, sign=False)]
        gap = [number(each.gap), interval_text(each.gap_interval, sign=False), str(each.units)]
        rows.append([each.arm, *means, *aggregate, *gap])
    caption = (
        "Arms over the data sets. Interquartile mean: of the middle half of all scores. Optimality gap: mean "
        "shortfall below 1. Intervals: stratified bootstrap over units, these data sets only."
    )
    return table("table-over-data", caption, head, rows)


def improvements(found: Aggregates) -> Table:
    """P(better) of each comparison over all data sets."""
    rows = [
        [
            f"{each.arm} - {each.against}",
            number(each.probability, 3),
            interval_text(each.interval, sign=False),
        ]
        for each in found.improvements
    ]
    caption = (
        "Probability that a unit of the first arm scores better than one of the second, averaged over the "
        "data sets, not paired; one half: neither."
    )
    return table("table-improvements", caption, ["comparison", "P(better)", "95%"], rows)


def paces(compared: Compared, found: Timing) -> Table:
    """Views a second."""
    rows: list[list[str | Cell]] = [
        [
            f"{pace.arm}, {pace.side}",
            Cell(f"{pace.median:.0f}", runs_id(compared.side(pace.side), pace.arm)),
            f"{pace.low:.0f} to {pace.high:.0f}",
            str(pace.trials),
            "-" if pace.ratio is None else f"{pace.ratio:.2f}",
            pace.where,
        ]
        for pace in found.paces
    ]
    head = ["arm, sweep", "median views/s", "lowest to highest", "trials", "to the first", "ran on"]
    return table("table-timing", "Views a second of the confirmation trials that count.", head, rows)


def runs(side: Side) -> Iterable[Table]:
    """The runs of a sweep that any number here comes from: what was chosen, and what was confirmed."""
    metric = side.metric[0]
    picked = {record.trial: record for _, record in choices(side)}
    if picked:
        objective = side.spec.search.objective.metric
        yield table(
            f"runs-{side.letter}_chosen",  # no arm's: see `slug`
            f"{side.name}: the search trials that were chosen.",
            ["run", "arm", "replicate", f"{objective} in search", "drawn"],
            [
                [
                    _run(side, r),
                    r.arm,
                    str(r.replicate),
                    number(r.metrics.get(objective)),
                    drawn_text(r.params),
                ]
                for r in picked.values()
            ],
        )
    for arm in side.arms:
        yield table(
            runs_id(side, arm),
            f"{side.name}: {arm}, confirmed.",
            ["run", "seed", "replicate", "state", metric, "epochs", "spec"],
            [_confirmed(side, r, metric) for r in side.confirmed if r.arm == arm],
        )


def _confirmed(side: Side, r: TrialRecord, metric: str) -> list[str]:
    where = [_run(side, r), str(r.seed), str(r.replicate), r.state]
    return [*where, number(r.metrics.get(metric)), str(r.epochs), r.spec_hash or "-"]


def _run(side: Side, record: TrialRecord) -> str:
    return f"{side.letter}-{record.trial}"


def _names(compared: Compared) -> list[str]:
    return [side.name for side in compared.sides]
