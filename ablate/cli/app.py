"""The command line.

Exit status 2: a file, an option or the data is wrong, one line for each mistake. 1: it did not succeed. 130:
a sweep was abandoned by a second Ctrl-C.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.analyse import app as analyse_app
from ablate.cli.audit import app as audit_app
from ablate.cli.bench import bench_app
from ablate.cli.cluster import cluster_app
from ablate.cli.compare import app as compare_app
from ablate.cli.encoder import app as encoder_app
from ablate.cli.errors import refuse, status_of, sweep_folder, user_errors
from ablate.cli.operate import Name, Runs
from ablate.cli.operate import app as operate_app
from ablate.cli.pack import app as pack_app
from ablate.cli.plan import app as plan_app
from ablate.cli.probe import app as probe_app
from ablate.cli.report import app as report_app
from ablate.cli.verdict import app as verdict_app
from ablate.cli.watch import app as watch_app

if TYPE_CHECKING:
    from ablate.spec import SweepSpec

app = typer.Typer(
    name="ablate",
    help="Distributed sweeps and ablations for contrastive self-supervised learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The data sets: list, build, inspect, views.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(cluster_app, name="cluster")
app.add_typer(operate_app)
app.add_typer(probe_app)
app.add_typer(encoder_app)
app.add_typer(pack_app)
app.add_typer(verdict_app)
app.add_typer(report_app)
app.add_typer(compare_app)
app.add_typer(watch_app)
app.add_typer(plan_app)
app.add_typer(analyse_app)
app.add_typer(audit_app)


class Backend(StrEnum):
    ray = "ray"
    inline = "inline"
    simulated = "simulated"


class Kind(StrEnum):
    sweep = "sweep"
    trial = "trial"
    theory = "theory"


_NOT_RESUMED = "a simulated sweep is not resumed: delete its folder and simulate it again"
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value, such as base.optim.lr=0.1. Repeatable."
    ),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use; none: this machine.")]
BackendOption = Annotated[
    Backend,
    typer.Option(
        help="ray; inline: one trial at a time in this process; or simulated: nothing is trained (--curves)."
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Keep the sweep in s3://bucket/prefix, gs://, az:// or file:///folder too."
    ),
]
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
    storage: Storage = None,
    curves: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="For --backend simulated: an earlier sweep that recorded its trials. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved sweep and stop.")] = False,
    go_on: Annotated[
        bool, typer.Option("--resume", help="If it has begun, here or in the storage, go on with it.")
    ] = False,
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
    if curves or backend is Backend.simulated:
        if go_on:
            refuse(_NOT_RESUMED)
        _simulate(spec, runs, backend, curves or [], address, storage)
        return
    if go_on and _has_begun(spec.name, runs, storage):
        with user_errors():
            begun = load_sweep(sweep_folder(spec.name, runs) / "sweep.json")
        _run(begun, runs, backend, address, cache, storage, resume=True, changes=spec)
        return
    _run(spec, runs, backend, address, cache, storage, resume=False)


@app.command()
def resume(
    name: Name,
    runs: Runs = Path("runs"),
    file: Annotated[
        Path | None, typer.Option(help="The sweep's YAML file, if it was edited; else it goes on as it was.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
    backend: BackendOption = Backend.ray,
    cache: Cache = None,
    storage: Storage = None,
) -> None:
    """Go on with a sweep that was stopped or killed; finished trials are kept.

    With --file or --set its budget, resources and tracking may change; an ended one with a raised budget too.
    With --storage it may have been begun on another machine.
    """
    from ablate.spec import load_sweep

    if backend is Backend.simulated:
        refuse(_NOT_RESUMED)
    if storage is not None:
        from ablate.sweep.storage import begin_here

        with user_errors():
            begin_here(runs / name, storage)
    recorded = sweep_folder(name, runs) / "sweep.json"
    with user_errors():
        spec = load_sweep(recorded)
        changes = load_sweep(file or recorded, overrides or []) if file or overrides else None
    _run(spec, runs, backend, address, cache, storage, resume=True, changes=changes)


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
def theory(
    names: Annotated[
        list[str] | None, typer.Argument(help="Checks by name, or files; none: all in --folder.")
    ] = None,
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="Where checks are looked up by name.")] = Path(
        "search_spaces/theory"
    ),
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.")
    ] = None,
) -> None:
    """Check the papers' theory: claim, expected, observed, holds or not. Exit status 1 if one does not."""
    with user_errors():
        from ablate.cli.theory import check_theory

        holds = check_theory(names or [], folder, overrides or [], json_file)
    if not holds:
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
    from ablate.spec.base import Spec
    from ablate.spec.schema import json_schema
    from ablate.spec.theory import TheorySpec

    models: dict[Kind, type[Spec]] = {
        Kind.sweep: SweepSpec,
        Kind.trial: TrialSpec,
        Kind.theory: TheorySpec,
    }
    typer.echo(json.dumps(json_schema(models[kind]), indent=2))


@app.command()
def combinations() -> None:
    """Print what goes with what (methods, heads, margins, penalties, inner steps), and why the rest not."""
    from ablate.spec.combinations import tables

    typer.echo(tables())


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


@data_app.command("views")
def data_views(
    file: Annotated[Path, typer.Argument(help="A sweep's or a trial's file.", show_default=False)],
    overrides: Overrides = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="Images to show, a row each.")] = 8,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("views.png"),
    cache: Cache = None,
) -> None:
    """Draw what the network sees: training images and their two views in the first epochs."""
    from ablate.cli.data import views_for

    with user_errors():
        views_for(file, overrides or [], images, out, cache)


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except Exception as error:
        if (status := status_of(error)) is None:
            raise
        typer.echo(str(error), err=True)  # a broken plugin's, raised wherever the specs are first imported
        sys.exit(status)


def _has_begun(name: str, runs: Path, storage: str | None) -> bool:
    from ablate.sweep.storage import has_begun

    with user_errors():
        return has_begun(runs / name, storage)


def _run(
    spec: SweepSpec,
    runs: Path,
    backend: Backend,
    address: str | None,
    cache: Path | None,
    storage: str | None,
    *,
    resume: bool,
    changes: SweepSpec | None = None,
) -> None:
    from ablate.sweep.run import run_sweep

    try:
        with user_errors():
            run_sweep(
                spec,
                runs=runs,
                backend=backend.value,
                address=address,
                cache=cache,
                resume=resume,
                changes=changes,
                storage=storage,
            )
    except KeyboardInterrupt:
        refuse(f"abandoned; to go on: ablate resume {spec.name} --runs {runs}", 130)


def _simulate(
    spec: SweepSpec,
    runs: Path,
    backend: Backend,
    curves: list[Path],
    address: str | None,
    storage: str | None,
) -> None:
    if backend is not Backend.simulated or not curves:
        refuse(
            "--backend simulated and --curves FOLDER belong together: the one plays what the other recorded"
        )
    if address is not None or storage is not None:
        refuse("--backend simulated runs in this process and on local files: without --address and --storage")
    from ablate.sweep.run import simulate_sweep

    with user_errors():
        simulate_sweep(spec, curves, runs=runs)
