"""`ablate audit`: run a few trials that early stopping ended to their end, to see what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.analyse import analysing, recorded
from ablate.cli.errors import refuse, sweep_folder
from ablate.cli.operate import Name, Runs

if TYPE_CHECKING:
    from ablate.report.analysis.pools import Searched, SearchTrial
    from ablate.report.analysis.stopping_audit import Rerun

app = typer.Typer()


@app.command()
def audit(
    name: Name,
    runs: Runs = Path("runs"),
    trials: Annotated[int, typer.Option(min=1, max=1000, help="Stopped trials of each arm to run.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Which of them, drawn from each rung in turn.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which trials would be run, and run nothing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Built data sets; default $ABLATE_CACHE or ~/.cache/ablate.")
    ] = None,
) -> None:
    """Train a few trials that early stopping ended to their end, in this process, and say what was lost.

    Each is trained from its beginning and kept in the sweep's folder, under audit/; an interrupted audit goes
    on with the next. The test split is not read. `ablate analyse` shows the result among the rest.
    """
    folder = sweep_folder(name, runs)
    with analysing(folder):
        from ablate.report.analysis.pools import read_search
        from ablate.report.analysis.stopping_audit import pick

        searched = read_search(recorded(folder))
        picked = pick(searched, trials, seed)
        if not picked:
            refuse(f"{folder.name}: {_nothing(searched)}", 1)
        if dry_run:
            _announce(searched, picked, folder)
            return
        try:
            failed = _run_all(searched, picked, folder, cache)
        except KeyboardInterrupt:
            refuse(f"interrupted; finished trials are kept: ablate audit {name} --runs {runs} goes on", 130)
        _show(searched, folder)
    if failed:
        raise typer.Exit(1)


def _nothing(searched: Searched) -> str:
    if not any(t.state == "PRUNED" for pool in searched.pools for t in pool.trials):
        return "no search trial was stopped early: there is nothing to audit"
    return (
        "no stopped trial can be audited: they were stopped by hand, took an equal trial's result, or went "
        "on from another's weights"
    )


def _announce(searched: Searched, picked: Sequence[SearchTrial], folder: Path) -> None:
    from ablate.report.analysis.stopping_audit import read_reruns

    done, epochs = read_reruns(folder), 0
    for trial in picked:
        known = trial.trial in done and done[trial.trial].state != "FAILED"
        epochs += 0 if known else _last(trial)
        typer.echo(f"{_title(searched, trial)}{'; already run' if known else ''}")
    typer.echo(f"{epochs} epochs to train")


def _run_all(
    searched: Searched, picked: Sequence[SearchTrial], folder: Path, cache: Path | None
) -> list[str]:
    """Run those that were not run yet; the names of those that failed."""
    from ablate.data import build, default_cache
    from ablate.report.analysis.stopping_audit import read_reruns
    from ablate.spec.identity import spec_hash
    from ablate.spec.trial import TrialSpec

    resources = searched.sweep.resources
    if resources.workers > 1:
        typer.echo(
            f"the sweep's trials had {resources.workers} workers, these have one: their numbers differ in "
            "the last digits"
        )
    done, failed = read_reruns(folder), []
    for place, trial in enumerate(picked, 1):
        spec = TrialSpec.model_validate(trial.spec)
        known = done.get(trial.trial)
        typer.echo(f"[{place}/{len(picked)}] {_title(searched, trial)}")
        if known is not None and known.state != "FAILED" and known.spec_hash == spec_hash(spec):
            typer.echo("  already run")
            continue
        where = cache or default_cache()
        build(spec.data, where, threads=resources.cpus)  # a mistake in the data is no result of the trial
        rerun = _rerun(searched, trial, where)
        _keep(rerun, folder)
        if rerun.state != "COMPLETE":
            typer.echo(f"  {rerun.state}: {rerun.reason}")
        failed += [trial.trial] if rerun.state == "FAILED" else []
    return failed


def _rerun(searched: Searched, trial: SearchTrial, cache: Path) -> Rerun:
    """Train a trial from its beginning to its end; a line for each epoch."""
    from ablate.report.analysis.stopping_audit import Rerun
    from ablate.spec.identity import code_digest, spec_hash
    from ablate.spec.trial import TrialSpec
    from ablate.trial import TrialRun, describe_failure

    spec, threads = TrialSpec.model_validate(trial.spec), searched.sweep.resources.cpus
    metric = searched.sweep.search.objective.metric
    made_by = {"code": code_digest(spec), "threads": threads, "device": _device()}
    curve: dict[int, dict[str, float]] = {}
    state, reason = "COMPLETE", ""
    try:
        run = TrialRun(spec, cache=cache, threads=threads, through_collapse=False)
        while not run.done:
            report = run.step()
            curve[report.epoch] = report.metrics
            value = f" {metric} {report.metrics[metric]:.4f}" if metric in report.metrics else ""
            typer.echo(f"  epoch {report.epoch}/{spec.optim.epochs}{value}")
    except Exception as error:
        failure = describe_failure(error)
        state, reason = failure.state, failure.reason
    if state == "HALTED":
        refuse(f"{reason}; finished trials are kept, and the same command goes on", 1)
    return Rerun(trial.trial, spec_hash(spec), state, reason, curve, made_by)


def _keep(rerun: Rerun, folder: Path) -> None:
    from ablate.durable import make_folder, sync, write_durably
    from ablate.report.analysis.stopping_audit import FOLDER, as_json

    make_folder(folder / FOLDER)
    write_durably(folder / FOLDER / f"{rerun.trial}.json", as_json(rerun).encode())
    sync(folder / FOLDER)


def _show(searched: Searched, folder: Path) -> None:
    from rich.console import Console

    from ablate.report.analysis import document
    from ablate.report.analysis.stopping_audit import audit as audited
    from ablate.report.analysis.stopping_audit import read_reruns

    section = document.audit_section(audited(searched, read_reruns(folder)), folder.name)
    document.show_section(section, Console())


def _title(searched: Searched, trial: SearchTrial) -> str:
    assert trial.stopped is not None
    value = searched.shown(trial.curve[trial.stopped])
    return (
        f"{trial.trial} of {trial.arm}: stopped at epoch {trial.stopped} of {_last(trial)}, "
        f"{searched.sweep.search.objective.metric} {value:.4f}"
    )


def _last(trial: SearchTrial) -> int:
    epochs: int = trial.spec["optim"]["epochs"]
    return epochs


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
