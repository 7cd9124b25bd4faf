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
    """A row a figure: medians, and in brackets the least and the greatest ratio."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("figure", "against", "ours", "theirs", "ratio", "target", ""):
        shown.add_column(name, justify="right" if name in ("ours", "theirs", "ratio", "target") else "left")
    for r in records:
        ratio = f"{r.ratio:.3g} [{min(r.ratios):.3g}, {max(r.ratios):.3g}]"
        ours, theirs = (f"{value:.4g} {r.unit}" for value in (r.ours, r.theirs))
        shown.add_row(r.name, r.peer, ours, theirs, ratio, r.target, _HELD[r.held])
    return shown


def markdown(records: Sequence[Record]) -> str:
    """The same as a Markdown table."""
    lines = ["| figure | against | ours | theirs | ratio [least, greatest] | target | |", "|---" * 7 + "|"]
    for r in records:
        ratio = f"{r.ratio:.3g} [{min(r.ratios):.3g}, {max(r.ratios):.3g}]"
        cells = (r.name, r.peer, f"{r.ours:.4g} {r.unit}", f"{r.theirs:.4g} {r.unit}", ratio, r.target)
        lines.append(f"| {' | '.join(cells)} | {_HELD[r.held]} |")
    return "\n".join(lines)


def write_json(records: Sequence[Record], path: Path) -> None:
    """A list of records, each complete in itself, so that files of several runs can be put together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(record) for record in records], indent=2) + "\n")
