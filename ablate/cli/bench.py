"""`ablate bench`: ratios against peers as a table; the status says whether every target was reached."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Ratios against peers, in one run on this machine.", no_args_is_help=True)

Quick = Annotated[
    bool, typer.Option("--quick", help="Few, short runs, without targets: to see that it works.")
]
Repeats = Annotated[int | None, typer.Option(min=1, help="Repetitions; default 3, with --quick 1.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]


@bench_app.command("sweep")
def bench_sweep(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """What a sweep costs beside the training, against Ray Tune. Takes about half an hour.

    Status 1: a target was missed.
    """
    from rich.console import Console

    from ablate.bench import BenchError, take
    from ablate.bench.show import table, write_json
    from ablate.bench.sweep_suite import QUICK, Sizes, sweep_suite

    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    try:
        suite = sweep_suite(QUICK, say).without_targets() if quick else sweep_suite(Sizes(), say)
        records = take(suite, repeats=repeats or (1 if quick else 3), command=_command(), say=say)
    except BenchError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    say("\n" + suite.about)
    console.print(table(records), soft_wrap=True)
    if json is not None:
        write_json(records, json)
    if any(record.held is False for record in records):
        raise typer.Exit(1)


def _command() -> str:
    return " ".join(["ablate", *sys.argv[1:]])
