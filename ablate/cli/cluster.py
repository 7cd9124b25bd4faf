"""`ablate cluster`: bring a cluster up, send sweeps to it, look at them, take it down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import refuse, user_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from ablate.cluster.kind import Cluster, Submission

cluster_app = typer.Typer(
    help="Clusters: bring one up, send sweeps to it, look at them, take it down.", no_args_is_help=True
)

File = Annotated[
    Path,
    typer.Argument(
        help="The cluster's file: YAML of `ray up`, YAML of a RayJob, or a Slurm .sbatch.", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(help="The sweep's name.", show_default=False)]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a value of FILE, such as max_workers=4. Repeatable. None: those of the last `up`.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@cluster_app.command()
def up(file: File, sets: Sets = None, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Bring a cluster up, or a running one up to date with its file, which ends its sweeps. Says first what
    that is.

    The --set values are remembered for FILE until `ablate cluster down`.
    """
    with user_errors():
        from ablate.cluster.remembered import remember

        cluster = _known(file, sets)
        _agree("Bring it up?", dry_run, yes, lambda: cluster.up(dry_run=True))
        if not dry_run:
            if sets is not None:
                remember(file, sets)
            cluster.up(dry_run=False)


@cluster_app.command()
def down(file: File, sets: Sets = None, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Take a cluster down. What its nodes hold is lost; what is kept in --storage is not."""
    with user_errors():
        from ablate.cluster.remembered import forget

        cluster = _known(file, sets)
        _agree("Take it down?", dry_run, yes, lambda: cluster.down(dry_run=True))
        if not dry_run:
            cluster.down(dry_run=False)
            forget(file)


@cluster_app.command()
def status(file: File, sets: Sets = None) -> None:
    """Show a cluster's nodes, the sweeps that were sent to it, and how far they have come."""
    with user_errors():
        typer.echo(_known(file, sets).status())


@cluster_app.command()
def submit(
    file: File,
    sweep: Annotated[Path, typer.Argument(help="The sweep's YAML file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the sweep. Repeatable."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Number of trials; short for --set search.trials=N.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Keep the sweep in s3://bucket/prefix, gs:// or az:// too."),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="Folder that is shipped; none: the current one.", show_default=False)
    ] = None,
    runs: Annotated[
        str | None, typer.Option(help="Folder of runs there; none: ~/ablate-runs, with Slurm runs.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set-cluster",
            metavar="KEY=VALUE",
            help="Replace a value of FILE. Repeatable. None: those of the last `up`.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Print what it prints, until it ends.")
    ] = True,
    dry_run: DryRun = False,
) -> None:
    """Send a sweep with the project to a cluster, where it begins, or goes on if it was stopped there.

    It goes on when this command is ended or this machine switched off.
    """
    with user_errors():
        submission = _submission(file, sweep, overrides or [], trials, storage, project, runs)
        cluster = _known(file, sets)
        job = cluster.submit(submission, dry_run=dry_run)
        if dry_run:
            return
        typer.echo(f"{job} is sent; to come back to it: {_come_back(file, submission.name)}")
        if follow:
            _show(cluster, file, submission.name, follow=True)


@cluster_app.command()
def logs(
    file: File,
    name: Name,
    sets: Sets = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the sweep ends.")] = False,
) -> None:
    """Show what a sweep that was sent to a cluster has printed. Exit status 1 if it has failed."""
    with user_errors():
        _show(_known(file, sets), file, name, follow=follow)


def _known(file: Path, sets: list[str] | None) -> Cluster:
    """The cluster of ``file``, as it was brought up unless ``sets`` say otherwise."""
    from ablate.cluster.remembered import recall

    if sets is None and (sets := list(recall(file))):
        typer.echo(f"{file} as it was brought up: {' '.join(f'--set {value}' for value in sets)}", err=True)
    return _read(file, sets or [])


def _read(file: Path, sets: list[str]) -> Cluster:
    """The cluster of ``file``; status 2 for one that is wrong."""
    from ablate.cluster.files import read_cluster
    from ablate.cluster.kind import ClusterError

    try:
        return read_cluster(file, sets)
    except ClusterError as error:
        refuse(str(error))


def _submission(
    file: Path,
    sweep: Path,
    overrides: list[str],
    trials: int | None,
    storage: str | None,
    project: Path | None,
    runs: str | None,
) -> Submission:
    from ablate.cluster.files import default_runs
    from ablate.cluster.kind import Submission
    from ablate.cluster.package import relative
    from ablate.spec import load_sweep

    sets = [*overrides, *([] if trials is None else [f"search.trials={trials}"])]
    folder = (project or Path.cwd()).resolve()
    return Submission(
        name=load_sweep(sweep, sets).name,
        project=folder,
        file=relative(sweep, folder),
        runs=runs or default_runs(file),
        storage=storage,
        sets=tuple(sets),
    )


def _agree(question: str, dry_run: bool, yes: bool, tell: Callable[[], None]) -> None:
    """Say what would be done, which also checks whether it can be, and have the user agree."""
    tell()
    if not dry_run and not yes:
        typer.confirm(question, abort=True)


def _show(cluster: Cluster, file: Path, name: str, *, follow: bool) -> None:
    try:
        for text in cluster.logs(name, follow=follow):
            typer.echo(text, nl=False)
    except KeyboardInterrupt:
        refuse(f"\n{name} goes on; to come back to it: {_come_back(file, name)}", 130)


def _come_back(file: Path, name: str) -> str:
    return f"ablate cluster logs {file} {name} --follow"
