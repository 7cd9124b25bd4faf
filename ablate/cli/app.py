"""The command line.

Exit status 2: a file, an option or the data is wrong, one line for each mistake. 1: it did not succeed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from ablate.spec import SweepSpec

app = typer.Typer(
    name="ablate",
    help="Distributed sweeps and ablations for contrastive self-supervised learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The data sets: list, build, inspect.", no_args_is_help=True)
app.add_typer(data_app, name="data")


# Errors whose message is all there is to say, and the exit status for each.
_STATUS = {
    ("ablate.spec.errors", "SpecError"): 2,
    ("ablate.data.error", "DataError"): 2,
    ("ablate.ledger.record", "LedgerError"): 1,
    ("ablate.search.replay", "ReplayMismatch"): 1,
    ("ablate.sweep.driver", "DriverError"): 1,
    ("ablate.sweep.desk", "SweepError"): 1,
    ("ablate.tracking.store", "TrackingError"): 1,
}


class Backend(StrEnum):
    ray = "ray"
    inline = "inline"


class Kind(StrEnum):
    sweep = "sweep"
    trial = "trial"


Runs = Annotated[Path, typer.Option(help="Folder that holds one folder for each sweep.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value, such as base.optim.lr=0.1. Repeatable."
    ),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use; none: this machine.")]
BackendOption = Annotated[Backend, typer.Option(help="ray, or inline: one trial at a time in this process.")]
Cache = Annotated[
    Path | None, typer.Option(help="Built data sets; default $ABLATE_CACHE or ~/.cache/ablate.")
]


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="The sweep's YAML file.", show_default=False)],
    trials: Annotated[
        int | None, typer.Option(help="Number of trials; short for --set search.trials=N.")
    ] = None,
    runs: Runs = Path("runs"),
    overrides: Overrides = None,
    address: Address = None,
    backend: BackendOption = Backend.ray,
    cache: Cache = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved sweep and stop.")] = False,
) -> None:
    """Run a search space."""
    from ablate.spec import load_sweep
    from ablate.spec.yaml_file import dump_yaml

    extra = [] if trials is None else [f"search.trials={trials}"]
    with user_errors():
        spec = load_sweep(file, [*(overrides or []), *extra])
    if dry_run:
        typer.echo(dump_yaml(spec.as_dict()), nl=False)
        return
    _run(spec, runs, backend, address, cache, resume=False)


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="The sweep's name: its folder in --runs.", show_default=False)],
    runs: Runs = Path("runs"),
    address: Address = None,
    backend: BackendOption = Backend.ray,
    cache: Cache = None,
) -> None:
    """Go on with a sweep that was stopped or killed; finished trials are kept."""
    from ablate.spec import load_sweep

    folder = runs / name
    if not (folder / "sweep.json").is_file():
        known = sorted(f.parent.name for f in runs.glob("*/sweep.json"))
        refuse(f"{folder}: no such sweep (found in {runs}: {', '.join(known) or 'none'})")
    with user_errors():
        spec = load_sweep(folder / "sweep.json")
    _run(spec, runs, backend, address, cache, resume=True)


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="A trial's YAML file, or a finished trial's spec.json.")],
    overrides: Overrides = None,
    folder: Annotated[Path | None, typer.Option(help="Where to write the trial's artifacts.")] = None,
    cache: Cache = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; they are part of a run's identity.")] = 1,
) -> None:
    """Run one trial in this process."""
    from ablate.spec import load_trial

    with user_errors():
        spec = load_trial(file, overrides or [])
        from ablate.cli.trial import train_one

        completed = train_one(spec, folder, cache, threads)
    if not completed:
        raise typer.Exit(1)


@app.command()
def ui(
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
) -> None:
    """Open MLflow, on loopback, on the store of these runs."""
    if not runs.is_dir():
        refuse(f"{runs}: no such folder; name the one that `ablate sweep` wrote to with --runs")
    from ablate.tracking import serve_ui

    with user_errors():
        serve_ui(runs, port)


@app.command()
def schema(
    kind: Annotated[Kind, typer.Argument(help="Which file the schema is for.")] = Kind.sweep,
) -> None:
    """Print the JSON Schema of a file, for editors to complete and check it."""
    import json

    from ablate.spec import SweepSpec, TrialSpec
    from ablate.spec.schema import json_schema

    model = SweepSpec if kind is Kind.sweep else TrialSpec
    typer.echo(json.dumps(json_schema(model), indent=2))


@data_app.command("list")
def data_list(cache: Cache = None) -> None:
    """List the kinds of source, and the data sets built so far."""
    from ablate.cli.data import show_list

    show_list(cache)


@data_app.command("build")
def data_build(
    file: Annotated[Path, typer.Argument(help="A sweep's or a trial's file.", show_default=False)],
    overrides: Overrides = None,
    cache: Cache = None,
) -> None:
    """Build the data set that a file asks for, if it is not there yet."""
    from ablate.cli.data import build_for

    with user_errors():
        build_for(file, overrides or [], cache)


@data_app.command("inspect")
def data_inspect(
    file: Annotated[Path, typer.Argument(help="A sweep's or a trial's file.", show_default=False)],
    overrides: Overrides = None,
    cache: Cache = None,
) -> None:
    """Show sizes, classes and splits of the data set that a file asks for."""
    from ablate.cli.data import inspect_for

    with user_errors():
        inspect_for(file, overrides or [], cache)


def main() -> None:
    """Entry point of the command."""
    app()


def refuse(message: str, status: int = 2) -> NoReturn:
    """End with one line that says what is wrong and what to do."""
    typer.echo(message, err=True)
    raise typer.Exit(status)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors meant for the user into their message on stderr, without a traceback."""
    try:
        yield
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        refuse(str(error), status)


def _status_of(error: Exception) -> int | None:
    """Asks only modules that are loaded, so that nothing heavy is imported to name an error."""
    for (module, name), status in _STATUS.items():
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return status
    return None


def _run(
    spec: SweepSpec, runs: Path, backend: Backend, address: str | None, cache: Path | None, *, resume: bool
) -> None:
    from ablate.sweep.run import run_sweep

    with user_errors():
        run_sweep(spec, runs=runs, backend=backend.value, address=address, cache=cache, resume=resume)
