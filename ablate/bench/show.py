"""How figures are shown: a table, and JSON for whoever goes on with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from ablate.bench.figures import Record

_HELD = {True: "held", False: "MISSED", None: ""}


def table(records: Sequence[Record]) -> Table:
    """A row a figure: medians, and in brackets the least and the greatest of what the figure is about."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("figure", "against", "ours", "theirs", "ratio", "target", ""):
        shown.add_column(name, justify="right" if name in ("ours", "theirs", "ratio", "target") else "left")
    for record in records:
        shown.add_row(*_cells(record))
    return shown


def markdown(records: Sequence[Record]) -> str:
    """The same as a Markdown table."""
    lines = ["| figure | against | ours | theirs | ratio [least, greatest] | target | |", "|---" * 7 + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(record))} |" for record in records)])


def _cells(r: Record) -> tuple[str, ...]:
    ours, theirs, ratio = f"{r.ours:.4g} {r.unit}".rstrip(), "", ""
    if r.ratio is None or r.theirs is None:
        ours += f" {_spread(r.each)}"
    else:
        theirs, ratio = f"{r.theirs:.4g} {r.unit}".rstrip(), f"{r.ratio:.3g} {_spread(r.ratios)}"
    return r.name, r.peer, ours, theirs, ratio, r.target, _HELD[r.held]


def _spread(values: Sequence[float]) -> str:
    return f"[{min(values):.3g}, {max(values):.3g}]"


def write_json(records: Sequence[Record], path: Path) -> None:
    """A list of records, each complete in itself, so that files of several runs can be put together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(record) for record in records], indent=2) + "\n")
