"""What `ablate status` and `ablate gc` print."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablate.sweep.housekeeping import Garbage
from ablate.sweep.live import amounts, duration
from ablate.sweep.status import Status

_SHOWN = 12  # trials of a kind


def show_json(found: Status | Sequence[Status]) -> None:
    """One object for one sweep, a list for several."""
    tree = found.as_dict() if isinstance(found, Status) else [s.as_dict() for s in found]
    typer.echo(json.dumps(tree, indent=1))


def show_table(found: Sequence[Status], runs: Path) -> None:
    """All sweeps, a row each."""
    table = Table(
        "sweep", "state", "stage", "trials", "best", "failed", "last event", title=f"Sweeps in {runs}"
    )
    for s in found:
        counts = s.counts or {}
        table.add_row(
            s.name,
            s.state,
            Text(s.stage or s.error, overflow="ellipsis", no_wrap=True),
            f"{s.done}/{s.planned}",
            "" if s.value is None else f"{s.objective} {s.value:.4f}",
            str(counts.get("FAILED", 0) + counts.get("COLLAPSED", 0) or ""),
            "" if s.last is None else f"{duration(time.time() - s.last)} ago",
        )
    Console().print(table)


def show_one(s: Status, runs: Path) -> None:
    """One sweep in detail."""
    for line in _lines(s, runs):
        typer.echo(line)


def _lines(s: Status, runs: Path) -> list[str]:
    lines = [f"{s.name}: {s.state}" + (f" ({s.driver})" if s.driver else "")]
    if s.error:
        return [*lines, f"  {s.error}"]
    if s.counts is None:
        return [*lines, "  nothing has happened yet", *_next(s, runs)]
    states = ", ".join(f"{n} {state.lower()}" for state, n in s.counts.items())
    ago = "" if s.last is None else f", last event {duration(time.time() - s.last)} ago"
    lines += [
        f"  {' '.join(s.question.split())}",
        f"  {s.stage}: {s.done} of {s.planned} trials done ({states or 'none asked'}){ago}",
    ]
    if s.seconds_left is not None:
        lines.append(f"  about {duration(s.seconds_left)} left")
    lines += _search(s)
    lines += _trials("under way", [_unfinished(s, i) for i in range(len(s.unfinished))])
    lines += _trials("lost", [f"{t.trial} {t.state} at epoch {t.epoch}: {t.reason}" for t in s.lost])
    if s.requests:
        lines.append(f"  asked of the driver, not taken up yet: {', '.join(s.requests)}")
    return [*lines, *_next(s, runs)]


def _search(s: Status) -> list[str]:
    lines = []
    if s.best and s.value is not None:
        drawn = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in (s.params or {}).items()
        )
        lines.append(f"  best in search: {s.best}, {s.objective} {s.value:.4f} ({drawn})")
    if s.front:
        lines.append(f"  Pareto front: {', '.join(s.front)}")
    lines.append(f"  the search has used {', '.join(amounts(s.budget or {}).values())}")
    if s.duplicates:
        lines.append(f"  {len(s.duplicates)} trials repeat an earlier configuration and were not run")
    if s.closed:
        lines.append(f"  the search asks for no more trials: {s.closed}")
    if s.ended:
        lines.append(f"  ended: {s.ended}")
    return lines


def _unfinished(s: Status, index: int) -> str:
    t = s.unfinished[index]
    value = "" if t.value is None else f" {s.objective} {t.value:.4f}"
    return f"{t.trial} {t.state.lower()}, epoch {t.epoch}/{t.epochs}{value}"


def _trials(title: str, rows: list[str]) -> list[str]:
    if not rows:
        return []
    more = [f"    ... {len(rows) - _SHOWN} more (--json lists all)"] if len(rows) > _SHOWN else []
    return [f"  {title}:", *(f"    {row}" for row in rows[:_SHOWN]), *more]


def _next(s: Status, runs: Path) -> list[str]:
    if s.state != "stopped":
        return []
    elsewhere = f"  kept in {s.storage}: a driver on another machine is not seen from here"
    lines = [elsewhere] if s.storage else []
    return [*lines, f"  to go on: ablate resume {s.name} --runs {runs}"]


def show_garbage(found: Sequence[Garbage], *, dry_run: bool) -> None:
    """What went, or in a dry run would go: sizes by kind, in a dry run every path too."""
    table = Table("where", "what", "files", "size", title="To be deleted" if dry_run else "Deleted")
    total = 0
    for garbage in found:
        for what, items in garbage.by_kind().items():
            bytes_ = sum(item.size for item in items)
            total += bytes_
            table.add_row(garbage.where, what, str(len(items)), size(bytes_))
    console = Console()
    console.print(table if table.row_count else "Nothing to delete.")
    for garbage in found:
        if garbage.left:
            typer.echo(f"{garbage.where}: {garbage.left}")
    if dry_run:
        for item in (i for garbage in found for i in garbage.items):
            typer.echo(f"{item.path}  {size(item.size)}  {item.what}")
    if table.row_count:
        typer.echo(f"{size(total)} {'would be' if dry_run else 'are'} freed")


def size(count: int) -> str:
    """``812 bytes``, ``1.2 kB``, ``3.4 MB``, ``5.6 GB``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
