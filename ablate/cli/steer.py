"""`ablate pause`, `stop` and `retry`: ask the driver of a running sweep; without one, record it for later."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ablate.cli.errors import refuse
from ablate.ledger.lock import held_by
from ablate.report.trials import TrialRecord
from ablate.sweep.requests import Request, Requests
from ablate.sweep.status import LOCK, progress_of

if TYPE_CHECKING:
    from ablate.sweep.driver import Driver

PATIENCE = 15.0  # seconds for a driver to take a request; it looks once a second, or before each epoch
_LOOK = 0.05


def pause_sweep(folder: Path, runs: Path) -> None:
    """Ask the driver to let running trials save, and to leave."""
    if not held_by(folder / LOCK):
        refuse(f"{folder.name}: no driver is running it, so there is nothing to pause", 1)
    _ask(folder, [Request("pause")])
    typer.echo(f"{folder.name}: running trials save and leave. To go on: {_resume(folder, runs)}")


def stop_sweep(folder: Path, runs: Path, *, confirm: bool) -> None:
    """End the search; with ``confirm`` its best is still confirmed."""
    if progress_of(folder).ended:
        refuse(f"{folder.name}: it has ended already", 1)
    if held_by(folder / LOCK):
        _ask(folder, [Request("stop", confirm=confirm)])
    else:
        _record(
            folder,
            runs,
            lambda driver: driver.halt(
                "operator", "stopped by the operator", running="stop", confirm=confirm
            ),
        )
    what = "its search is stopped, and its best so far is confirmed" if confirm else "it is stopped"
    typer.echo(f"{folder.name}: {what}")


def stop_trial(folder: Path, trial: str, runs: Path) -> None:
    """Stop one trial; it is PRUNED."""
    record = _known(folder, [trial])[0]
    if record.finished:
        refuse(f"{trial}: it is finished already ({record.state})", 1)
    if held_by(folder / LOCK):
        _ask(folder, [Request("cancel", trial)])
    else:
        _record(folder, runs, lambda driver: driver.cancel(trial))
    typer.echo(f"{trial}: stopped")


def retry_trials(folder: Path, trials: Sequence[str], runs: Path) -> None:
    """Run FAILED trials again."""
    for record in _known(folder, trials):
        if record.state != "FAILED":
            refuse(f"{record.trial}: only a FAILED trial can be run again, and it is {record.state}", 1)
    if held_by(folder / LOCK):
        _ask(folder, [Request("retry", trial) for trial in trials])
    else:

        def retry(driver: Driver) -> None:
            for trial in trials:
                driver.retry(trial)

        _record(folder, runs, retry)
    typer.echo(f"{', '.join(trials)}: to run again")


def _known(folder: Path, trials: Sequence[str]) -> list[TrialRecord]:
    """The records of these trials; with an unknown one, status 2 and those that there are."""
    records = progress_of(folder).records
    for trial in trials:
        if trial not in records:
            there = f"{next(iter(records))} ... {next(reversed(records))}" if records else "none yet"
            refuse(f"{folder.name} has no trial {trial!r} (there are: {there}; see `ablate status`)")
    return [records[trial] for trial in trials]


def _ask(folder: Path, requests: list[Request]) -> None:
    """Leave requests for the driver, and wait until it takes them; what a driver that ends left is withdrawn.

    Ends the command if they are not taken within ``PATIENCE``.
    """
    try:
        files = [Requests(folder).put(request) for request in requests]
    except OSError as error:
        refuse(f"{folder}: the request cannot be left there: {error.strerror}", 1)
    until = time.monotonic() + PATIENCE
    while any(file.exists() for file in files):
        if not held_by(folder / LOCK):
            for file in files:
                file.unlink(missing_ok=True)
            refuse(f"{folder.name}: its driver ended before it took the request, which is withdrawn", 1)
        if time.monotonic() > until:
            typer.echo(
                f"{folder.name}: asked. The driver has not taken it up yet; inline it looks between epochs "
                f"(`ablate status {folder.name}` shows what it has not taken up)"
            )
            raise typer.Exit
        time.sleep(_LOOK)


def _record(folder: Path, runs: Path, action: Callable[[Driver], object]) -> None:
    """Be the sweep's driver for a moment. Raises what the driver says against it."""
    from ablate.ledger import Ledger
    from ablate.report import summarise, write_results
    from ablate.sweep.driver import Driver
    from ablate.sweep.storage import SweepStorage

    stored = SweepStorage.find(folder, None)
    open_log = stored.open_log if stored else Ledger.open
    with Driver.resume(folder.name, runs, open_log=open_log, storage=stored) as driver:
        action(driver)
        if stored:
            stored.fetch_artifacts()
        write_results(folder)
        if driver.finished:
            summarise(folder)
            typer.echo(f"{folder.name}: ended; see {folder / 'summary.md'}")
        else:
            typer.echo(f"no driver is running {folder.name}; to go on: {_resume(folder, runs)}")
        if stored:
            stored.publish()


def _resume(folder: Path, runs: Path) -> str:
    return f"ablate resume {folder.name} --runs {runs}"
