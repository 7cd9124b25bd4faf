"""How a command ends when something is wrong: the message on stderr, no traceback, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

# Errors whose message is all there is to say, and the exit status for each.
_STATUS = {
    ("ablate.spec.errors", "SpecError"): 2,
    ("ablate.spec.plugins", "PluginError"): 2,
    ("ablate.data.error", "DataError"): 2,
    ("ablate.trial.artifacts", "ArtifactError"): 2,
    ("ablate.trial.packing", "PackingError"): 1,
    ("ablate.ledger.record", "LedgerError"): 1,
    ("ablate.search.replay", "ReplayMismatch"): 1,
    ("ablate.sweep.driver", "DriverError"): 1,
    ("ablate.sweep.desk", "SweepError"): 1,
    ("ablate.sweep.export", "ExportError"): 1,
    ("ablate.tracking.store", "TrackingError"): 1,
    ("ablate.cluster.kind", "ClusterError"): 1,
    ("ablate.bench.figures", "BenchError"): 1,
}


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
        if (message := _of_another_version(error)) is not None:
            refuse(message, 1)
        status = status_of(error)
        if status is None:
            raise
        refuse(str(error), status)


def _of_another_version(error: Exception) -> str | None:
    """What to say of a recorded sweep that does not validate. (Files of users have errors of their own.)"""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return None
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"recorded by another version of ablate, which this one cannot read: {place}: {first['msg']}"


def status_of(error: Exception) -> int | None:
    """The exit status of an error that is meant for the user; None of any other.

    Asks only modules that are loaded, so that nothing heavy is imported to name an error."""
    for (module, name), status in _STATUS.items():
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return status
    return None


def sweep_folder(name: str, runs: Path) -> Path:
    """The folder of the sweep called ``name``; if there is none, the sweeps that there are, and status 2."""
    folder = runs / name
    if not (folder / "sweep.json").is_file():
        known = ", ".join(f.name for f in sweep_folders(runs)) or "none"
        refuse(f"{folder}: no such sweep (found in {runs}: {known})")
    return folder


def sweep_folders(runs: Path) -> list[Path]:
    """The folders of all sweeps in ``runs``, by name."""
    return sorted(file.parent for file in runs.glob("*/sweep.json"))
