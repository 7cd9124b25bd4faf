"""The commands that look at sweeps and steer them: status, pause, stop, retry, export, gc, dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.errors import refuse, sweep_folder, sweep_folders, user_errors

app = typer.Typer()

Runs = Annotated[Path, typer.Option(help="Folder that holds one folder for each sweep.")]
Name = Annotated[str, typer.Argument(help="The sweep's name: its folder in --runs.", show_default=False)]
NameOrAll = Annotated[
    str | None, typer.Argument(help="The sweep's name: its folder in --runs. None: all.", show_default=False)
]


@app.command()
def status(
    name: NameOrAll = None,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far a sweep has come, what failed and what waits; or all sweeps in short. Changes nothing."""
    folders = [sweep_folder(name, runs)] if name else _all(runs)
    from ablate.cli.show import show_json, show_one, show_table
    from ablate.sweep.status import status_of

    found = [status_of(folder) for folder in folders]
    if as_json:
        show_json(found[0] if name else found)
    elif name:
        show_one(found[0], runs)
    else:
        show_table(found, runs)
    if name and found[0].error:
        raise typer.Exit(1)


@app.command()
def pause(name: Name, runs: Runs = Path("runs")) -> None:
    """Let running trials save and leave, as the first Ctrl-C does; `ablate resume` goes on."""
    folder = sweep_folder(name, runs)
    from ablate.cli.steer import pause_sweep

    with user_errors():
        pause_sweep(folder, runs)


@app.command()
def stop(
    name: Name,
    trial: Annotated[
        str | None, typer.Argument(help="One trial to stop, such as t0007. None: the search.")
    ] = None,
    runs: Runs = Path("runs"),
    confirm: Annotated[
        bool, typer.Option("--confirm/--no-confirm", help="Whether the best so far is still confirmed.")
    ] = True,
) -> None:
    """End a search early: its running trials are stopped, and its best so far is still confirmed.

    With --no-confirm the whole sweep ends. With a trial only that trial is stopped.
    """
    folder = sweep_folder(name, runs)
    if trial and not confirm:
        refuse("--no-confirm is about the whole sweep: name no trial")
    from ablate.cli.steer import stop_sweep, stop_trial

    with user_errors():
        if trial:
            stop_trial(folder, trial, runs)
        else:
            stop_sweep(folder, runs, confirm=confirm)


@app.command()
def retry(
    name: Name,
    trials: Annotated[list[str], typer.Argument(help="FAILED trials, such as t0007.", show_default=False)],
    runs: Runs = Path("runs"),
) -> None:
    """Run FAILED trials again, in a running sweep or, after `ablate resume`, in one that ended."""
    folder = sweep_folder(name, runs)
    from ablate.cli.steer import retry_trials

    with user_errors():
        retry_trials(folder, trials, runs)


@app.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The bundle to write: a .tar.gz.", show_default=False)],
    runs: Runs = Path("runs"),
    live: Annotated[
        bool, typer.Option("--live", help="Also while a driver runs: what is finished by now.")
    ] = False,
) -> None:
    """Pack a sweep into one file: ledger, results, summary and artifacts, without checkpoints."""
    folder = sweep_folder(name, runs)
    if not file.name.endswith(".tar.gz"):
        refuse(f"{file}: a bundle is a .tar.gz; name it {file.name.removesuffix('.tgz')}.tar.gz")
    from ablate.cli.show import size
    from ablate.sweep.export import export as write_bundle

    with user_errors():
        written = write_bundle(folder, file, live=live)
    typer.echo(f"{file}: {size(written)}; unpacked elsewhere: ablate status {name} --runs FOLDER")


@app.command()
def gc(
    name: NameOrAll = None,
    runs: Runs = Path("runs"),
    cache: Annotated[
        Path | None, typer.Option(help="Built data sets; default $ABLATE_CACHE or ~/.cache/ablate.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, help="Data sets that no trial has opened for so long are deleted.")
    ] = 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would go, and delete nothing.")
    ] = False,
) -> None:
    """Delete what nothing needs any more: checkpoints, left-overs of killed runs, old built data sets.

    Without a name, in all sweeps of the runs folder, and in the cache of built data sets.
    """
    folders = [sweep_folder(name, runs)] if name else _all(runs, or_none=True)
    from ablate.cli.show import show_garbage
    from ablate.sweep.housekeeping import collect, in_cache

    with user_errors():
        found = [collect(folder, delete=not dry_run) for folder in folders]
        if name is None:
            found.append(in_cache(cache, runs, days=days, delete=not dry_run))
    show_garbage(found, dry_run=dry_run)


@app.command()
def dashboard(
    name: Name,
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 8080,
) -> None:
    """Open Optuna's dashboard, on loopback, on a copy of the sweep's search; it follows a running sweep."""
    folder = sweep_folder(name, runs)
    from ablate.tracking.optuna_mirror import serve_dashboard

    with user_errors():
        serve_dashboard(folder, port)


def _all(runs: Path, *, or_none: bool = False) -> list[Path]:
    """The folders of all sweeps; without any, status 2."""
    folders = sweep_folders(runs)
    if not folders and not or_none:
        refuse(f"{runs}: no sweep has been run here; name another folder with --runs")
    return folders
