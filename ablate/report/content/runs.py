"""Every run of the sweep, by stage and arm: where all other numbers lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablate.report.content.material import Material, Row, number
from ablate.report.content.scientific import RANK
from ablate.report.content.wording import plural, shown
from ablate.report.document.blocks import Block, Cell, Paragraph, Section, Table, group_id, run_id
from ablate.report.words import value_text

_STAGES = {"search": "Search", "confirm": "Confirmation"}


def runs(m: Material) -> Section:
    """One table for each stage and arm."""
    blocks: list[Block] = [Paragraph(_note(m))]
    blocks += [_table(m, stage, arm) for stage in ("confirm", "search") for arm in m.arms(stage)]
    if len(blocks) == 1:
        blocks = [Paragraph("No trial was asked for yet.")]
    return Section("runs", "All runs", tuple(blocks))


def _note(m: Material) -> str:
    text = (
        "Everything is in `results.parquet` beside this page, one row a trial, with all metrics and "
        "parameters; artifacts are in `trials/<trial>/` of the sweep's folder."
    )
    if m.tracked is None:
        return text
    if m.tracked.local:
        return f"{text} Links to MLflow work while `ablate ui` runs (on its usual port)."
    return f"{text} Links lead to the runs in MLflow at {m.tracked.site}."


def _table(m: Material, stage: str, arm: str) -> Table:
    rows = list(m.of(stage, arm))
    columns = list(_columns(m, stage, rows))
    name = f"{_STAGES[stage]}: {arm}" if (stage, arm) != ("search", "search") else "Search"
    caption = f"{name}, {plural(len(rows), 'run')}"
    if stage == "confirm":  # one configuration, or one for each replicate
        same = {key: texts for key, texts in columns if key in m.sweep.space and len(set(texts)) == 1}
        columns = [column for column in columns if column[0] not in same]
        caption += "".join(f", {key} {texts[0]}" for key, texts in same.items())
    tracked = [("in MLflow", [row["trial_id"] for row in rows])] if m.tracked else []
    columns = [*columns[:1], *tracked, *columns[1:]]
    body = (
        (Cell(row["trial_id"]), *(Cell(texts[i], _to(m, name, texts[i])) for name, texts in columns))
        for i, row in enumerate(rows)
    )
    return Table(group_id(stage, arm), f"{caption}.", ("trial", *(name for name, _ in columns)), tuple(body))


def _columns(m: Material, stage: str, rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """Named columns of texts; those in which no run has anything are left out."""
    yield "state", [row["state"].lower() for row in rows]
    if len({row["replicate"] for row in rows}) > 1:
        yield "replicate", [str(row["replicate"]) for row in rows]
    yield "seed", [str(row["seed"]) for row in rows]
    yield "epochs", [str(row["epochs"]) for row in rows]
    for name in _metrics(m, stage):
        texts = [shown(number(row, name)) for row in rows]
        if any(text != "-" for text in texts):
            yield name, texts
    for name in ("duplicate_of", "parent"):
        if any(row[name] for row in rows):
            yield name.replace("_", " "), [row[name] or "-" for row in rows]
    for name in m.sweep.space:
        texts = ["-" if (v := row.get(name)) is None else value_text(v) for row in rows]
        if any(text != "-" for text in texts):
            yield name, texts


def _metrics(m: Material, stage: str) -> list[str]:
    objectives = (m.sweep.search.objective, *m.sweep.search.tradeoffs)
    searched = [objective.metric for objective in objectives]
    searched += [constraint.metric for constraint in m.sweep.search.constraints]
    first = [m.score] if stage == "confirm" else []
    return list(dict.fromkeys([*first, *searched, RANK, "head.zeros"]))


def _to(m: Material, column: str, text: str) -> str:
    """Of a trial that a column names: its run in MLflow, or, if it is another, its row on the page."""
    if column == "in MLflow" and m.tracked is not None:
        return m.tracked.run(text)
    return run_id(text) if column in ("duplicate of", "parent") and text != "-" else ""
