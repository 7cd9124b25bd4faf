"""Verdicts on results that came from elsewhere: a table of arms, seeds and one metric.

Nothing of such runs was declared beforehand, and no per-example results come with them, so the claims are
weaker and say so: over seeds, on the one test set.

A pair of which one has no score blocks the verdict: runs that diverge or crash do so more in one arm than in
another, and a comparison of those that are left would flatter it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ablate.report.claims import Claims, name_of, weaker_labels
from ablate.report.words import listed
from ablate.statistics.verdict import Comparison, Unit, judge

NOT_DECLARED = (
    "Nothing was declared beforehand: these comparisons, this metric and this number of seeds may have been "
    "chosen because of the results."
)
UNPAIRED = (
    "Runs of the same {unit} are compared as pairs; whether they shared initial weights, order of the data "
    "and splits is not known."
)
_SHOWN = 8  # names in a message

_SUBJECT = "method"  # nobody knows whether the arms are kinds of head


class ForeignError(ValueError):
    """The table cannot be judged; the message says why and what is allowed."""


@dataclass(frozen=True)
class Columns:
    """The columns of arm, seed and metric, and of the replicate (one search each) if there is one."""

    arm: str
    seed: str
    metric: str
    replicate: str | None = None

    @property
    def names(self) -> list[str]:
        """Without the metric."""
        return [self.arm, self.seed, *([] if self.replicate is None else [self.replicate])]


@dataclass(frozen=True)
class ForeignRun:
    """One row. ``name`` is how messages call it; ``score`` None: it has none, ``state`` says why.

    ``over`` is False of a run that crashed or still runs, which another of the same arm and seed replaces.
    """

    name: str
    arm: str
    seed: str
    replicate: str
    score: float | None
    state: str = ""
    over: bool = True


@dataclass(frozen=True)
class ForeignTable:
    """``left_out`` counts rows that have no arm, seed or replicate."""

    runs: tuple[ForeignRun, ...]
    left_out: int = 0


def read_parquet(file: Path, columns: Columns) -> ForeignTable:
    """The rows of a Parquet file. Raises ForeignError for a file or columns that do not hold such a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise ForeignError(f"{file}: cannot be read: there is no such file")
    try:
        table = pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException):
        raise ForeignError(f"{file}: cannot be read: it is not a whole Parquet file") from None
    for name in (*columns.names, columns.metric):
        check_known(name, table.column_names, f"{file}: no column", "columns")
        if table.column_names.count(name) > 1:
            raise ForeignError(f"{file}: {table.column_names.count(name)} columns are called {name!r}")
    kind = table.schema.field(columns.metric).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise ForeignError(f"{file}: column {columns.metric!r} holds {kind}, expected numbers")
    values = {name: table.column(name).to_pylist() for name in (*columns.names, columns.metric)}
    rows = [
        foreign_run(f"row {i}", {name: values[name][i] for name in values}, columns)
        for i in range(table.num_rows)
    ]
    return table_of(rows)


def table_of(rows: Sequence[ForeignRun | None]) -> ForeignTable:
    """Rows that lack an arm, a seed or a replicate are None; they are left out and counted."""
    runs = tuple(row for row in rows if row is not None)
    return ForeignTable(runs, len(rows) - len(runs))


def foreign_run(name: str, values: dict[str, Any], columns: Columns) -> ForeignRun | None:
    """One row from its values by column; None without an arm, a seed or a replicate."""
    found = [_text(values.get(column)) for column in columns.names]
    if not all(found):
        return None
    arm, seed, replicate = (*found, "0")[:3]
    score, state = values.get(columns.metric), ""
    if score is None:
        state = f"has no {columns.metric}"
    elif not math.isfinite(score):
        score, state = None, f"has {columns.metric} {score}"
    return ForeignRun(name, arm, seed, replicate, None if score is None else float(score), state)


def _text(value: Any) -> str:
    """Equal for equal values however they are stored: 3 and 3.0 are the same seed."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_known(name: str, known: Iterable[str], what: str, many: str) -> None:
    """Raise ForeignError if ``name`` is not among the ``known``, with the nearest."""
    names = sorted(set(known))
    if name in names:
        return
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ForeignError(f"{what} {name!r}{hint} ({many}: {listed(names, _SHOWN)})")


def claims_from(
    table: ForeignTable,
    *,
    baseline: str,
    metric: str,
    mode: Literal["max", "min"],
    alpha: float = 0.05,
    margin: float | None = None,
) -> Claims:
    """Every other arm against ``baseline``. The unit is the replicate where there are several, else the seed.

    Raises ForeignError where nothing can be said. A pair that is not complete blocks its comparison only.
    """
    runs = _one_each(table.runs)
    _check(runs, baseline, metric)
    replicates = len({run.replicate for run in runs.values()})
    unit: Unit = "replicate" if replicates > 1 else "seed"
    arms = [arm for arm in dict.fromkeys(run.arm for run in runs.values()) if arm != baseline]
    compared = [_compare(runs, arm, baseline, mode, unit) for arm in arms]
    verdicts = judge(compared, alpha=alpha, margin=margin, unit=unit)
    seeds = Counter((run.arm, run.replicate) for run in runs.values())
    labels = [
        *weaker_labels(unit, replicates, verdicts, _SUBJECT),
        UNPAIRED.format(unit=unit),
        NOT_DECLARED,
    ]
    if table.left_out:
        labels.append(f"{table.left_out} rows without an arm or a seed were left out.")
    if len(set(seeds.values())) > 1:
        labels.append(f"Unequal numbers of seeds: {_counts(seeds, unit)}.")
    return Claims(
        unit=unit,
        metric=metric,
        mode=mode,
        alpha=alpha,
        margin=margin,
        verdicts=tuple(verdicts),
        replicates=replicates,
        seeds_used=max(seeds.values()),
        seeds_planned=max(seeds.values()),
        subject=_SUBJECT,
        scores={arm: _scores(runs, arm) for arm in (baseline, *arms)},
        labels=tuple(labels),
        notes={name_of(c): tuple(_gaps(runs, c, unit)) for c in compared if c.missing},
    )


_Key = tuple[str, str, str]  # arm, replicate, seed


def _one_each(runs: Sequence[ForeignRun]) -> dict[_Key, ForeignRun]:
    """The run of each arm and seed: one that is over goes before those that crashed or still run."""
    found: dict[_Key, list[ForeignRun]] = {}
    for run in runs:
        found.setdefault((run.arm, run.replicate, run.seed), []).append(run)
    for (arm, _, seed), same in found.items():
        over = [run for run in same if run.over]
        if len(over) > 1:
            names = listed([run.name for run in over], _SHOWN)
            raise ForeignError(
                f"arm {arm!r} has {len(over)} results for seed {seed} ({names}); keep one of each, and say "
                "which search each belongs to with --replicate if they are of several"
            )
    return {key: next((run for run in same if run.over), same[-1]) for key, same in found.items()}


def _check(runs: dict[_Key, ForeignRun], baseline: str, metric: str) -> None:
    if not runs:
        raise ForeignError("no runs: there is nothing to compare")
    arms = list(dict.fromkeys(run.arm for run in runs.values()))
    check_known(baseline, arms, "no arm is called", "arms")
    if len(arms) == 1:
        raise ForeignError(f"the only arm is the baseline {baseline!r}: there is nothing to compare it with")
    if all(run.score is None for run in runs.values()):
        reasons = Counter(run.state for run in runs.values())
        said = ", ".join(f"{n} {state}" for state, n in reasons.most_common(_SHOWN))
        raise ForeignError(f"none of {len(runs)} runs has a score in {metric}: {said}")
    if len({(run.replicate, run.seed) for run in runs.values()}) == 1:
        raise ForeignError("one seed: chance cannot be told from a difference; run each arm on six or more")


def _compare(
    runs: dict[_Key, ForeignRun], arm: str, against: str, mode: Literal["max", "min"], unit: Unit
) -> Comparison:
    """The units of which both arms have every score; those of which one lacks any are missing."""
    sign = 1 if mode == "max" else -1
    differences, missing = [], []
    for name, steps in _units(runs, arm, against, unit).items():
        pairs = [(_score(runs, (arm, *step)), _score(runs, (against, *step))) for step in steps]
        each = [sign * (a - b) for a, b in pairs if a is not None and b is not None]
        if len(each) < len(pairs):
            missing.append(name)
        else:
            differences.append(math.fsum(each) / len(each))
    return Comparison(arm, against, tuple(differences), tuple(missing))


def _units(
    runs: dict[_Key, ForeignRun], arm: str, against: str, unit: Unit
) -> dict[str, list[tuple[str, str]]]:
    """The steps (replicate, seed) of each unit that at least one of the two arms has."""
    steps = {(r, seed) for name, r, seed in runs if name in (arm, against)}
    found: dict[str, list[tuple[str, str]]] = {}
    for replicate, seed in sorted(steps, key=lambda step: (_order(step[0]), _order(step[1]))):
        found.setdefault(seed if unit == "seed" else replicate, []).append((replicate, seed))
    return found


def _score(runs: dict[_Key, ForeignRun], key: _Key) -> float | None:
    run = runs.get(key)
    return None if run is None else run.score


def _scores(runs: dict[_Key, ForeignRun], arm: str) -> tuple[float, ...]:
    return tuple(run.score for run in runs.values() if run.arm == arm and run.score is not None)


def _gaps(runs: dict[_Key, ForeignRun], comparison: Comparison, unit: Unit) -> list[str]:
    units = _units(runs, comparison.arm, comparison.against, unit)
    said = []
    for replicate, seed in (step for name in comparison.missing for step in units[name]):
        for arm in (comparison.arm, comparison.against):
            run = runs.get((arm, replicate, seed))
            of = "" if unit == "seed" else f" of replicate {replicate}"
            if run is None:
                said.append(f"{arm} has no run with seed {seed}{of}")
            elif run.score is None:
                said.append(f"{arm}, seed {seed}{of}: {run.name} {run.state}")
    more = len(said) - _SHOWN
    return said if more <= 0 else [*said[:_SHOWN], f"and {more} more"]


def _counts(seeds: Counter[tuple[str, str]], unit: Unit) -> str:
    said = [f"{arm} {n}" if unit == "seed" else f"{arm}/{r} {n}" for (arm, r), n in seeds.items()]
    return listed(said, _SHOWN)


def _order(name: str) -> tuple[bool, float, str]:
    """Numbers by value, before other names."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def failed(run: ForeignRun, state: str) -> ForeignRun:
    """The same run, which did not end well: whatever it logged is no score."""
    return replace(run, score=None, state=state, over=False)
