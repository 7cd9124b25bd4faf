"""`ablate report`: the report of a sweep as a page, Markdown, LaTeX tables, figures and all results."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.analyse import LEDGER
from ablate.cli.errors import refuse, sweep_folder, user_errors
from ablate.cli.operate import Name, Runs

app = typer.Typer()


@app.command()
def report(
    name: Name,
    runs: Runs = Path("runs"),
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Log it to the sweep's run in MLflow too.")
    ] = True,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report of a sweep, ended or not: question, answer, and the evidence.

    Into NAME/report: index.html (one page that needs no network), report.md, tables.tex (booktabs), figures/
    and results.parquet. Equal ledgers give equal bytes. A sweep writes it at its end by itself.
    """
    folder = sweep_folder(name, runs)
    if not _begun(folder / LEDGER):
        refuse(f"{folder}: nothing was recorded here yet ({LEDGER} has no record)", 1)
    page = _written(folder)
    typer.echo(f"{page}  ({page.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"{page.parent}: report.md, tables.tex, figures, results.parquet")
    if mlflow:
        from ablate.tracking import log_report

        typer.echo(log_report(folder))
    if open_page:
        webbrowser.open(page.absolute().as_uri())


def _begun(ledger: Path) -> bool:
    """Whether it is there and holds a whole record."""
    if not ledger.is_file():
        return False
    with ledger.open("rb") as file:
        return file.readline().endswith(b"\n")


def _written(folder: Path) -> Path:
    with user_errors():
        from ablate.report.content import write_report

        try:
            return write_report(folder)
        except OSError as error:
            refuse(f"{folder / 'report'}: cannot be written: {error.strerror or error}", 1)
