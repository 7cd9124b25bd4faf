"""`ablate analyse`: what a search tells beside its best trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import refuse, sweep_folder, user_errors
from ablate.cli.operate import Name, Runs

if TYPE_CHECKING:
    from ablate.ledger import Event

app = typer.Typer()

LEDGER = "ledger.jsonl"


@app.command()
def analyse(
    name: Name,
    runs: Runs = Path("runs"),
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.")
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the text as Markdown there too.")
    ] = None,
) -> None:
    """Analyse a search: budget curves, importance, ends of ranges, dead parameters and the change to make.

    Also early stopping, as far as `ablate audit` has run stopped trials to their end.
    """
    folder = sweep_folder(name, runs)
    with analysing(folder):
        from rich.console import Console

        from ablate.report.analysis import document
        from ablate.report.analysis.stopping_audit import read_reruns
        from ablate.report.analysis.whole import analyse as analyse_all

        found = analyse_all(recorded(folder), read_reruns(folder))
        document.show(found, Console())
    if json_file is not None:
        _write(json_file, json.dumps(found.as_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n")
    if markdown_file is not None:
        _write(markdown_file, document.markdown(found))


@contextmanager
def analysing(folder: Path) -> Iterator[None]:
    """Turn errors meant for the user, and that there is nothing to analyse, into their message."""
    with user_errors():
        from ablate.report.analysis.pools import NoAnalysis

        try:
            yield
        except NoAnalysis as error:
            refuse(f"{folder.name}: {error}", 1)


def recorded(folder: Path) -> list[Event]:
    """The ledger of a sweep's folder; without one, status 1."""
    from ablate.ledger import Ledger

    if not (folder / LEDGER).is_file():
        refuse(f"{folder}: nothing was recorded here ({LEDGER} is missing)", 1)
    return Ledger.read(folder / LEDGER)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"{file}: cannot be written: {error.strerror}", 1)
