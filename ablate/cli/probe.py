"""`ablate probe`: measure a finished trial anew."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import refuse, user_errors

if TYPE_CHECKING:
    from ablate.trial.probe import ProbeResult

app = typer.Typer()


@app.command()
def probe(
    folder: Annotated[
        Path, typer.Argument(help="A finished trial's folder, with spec.json, encoder.pt and head.pt.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Replace a value of measure, views or data, such as measure.diagnose=[head]. Repeatable.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Another data set: a kind, or such as '{kind: folder, path: birds}'. Probes are fitted to "
            "its training images and read on its test images.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there too.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Built data sets; default $ABLATE_CACHE or ~/.cache/ablate.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure a finished trial anew, without training: other probes, diagnoses, or another data set.

    Test images are read again: what is chosen by these numbers is no longer judged by them.
    """
    if json_file is not None and json_file.resolve().is_relative_to(folder.resolve()):
        refuse(f"{json_file}: lies in the trial's own folder, which stays as it is; name a file elsewhere")
    source = (
        [] if data is None else [f"data={data if data.lstrip().startswith('{') else f'{{kind: {data}}}'}"]
    )
    with user_errors():
        from ablate.trial.probe import probe_spec, probe_trial

        spec = probe_spec(folder, [*source, *(overrides or [])])
        found = probe_trial(folder, spec, cache=cache, threads=threads)
    _show(found, folder)
    if json_file is not None:
        _write(found, folder, json_file)


def _show(found: ProbeResult, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("metric", "value", title=f"{folder.name} measured on {found.spec.data.kind}")
    for name, value in sorted(found.metrics.items()):
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    for note in found.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _write(found: ProbeResult, folder: Path, file: Path) -> None:
    content = {
        "trial": str(folder),
        "spec": found.spec.as_dict(),
        "data": found.data,
        "notes": list(found.notes),
        "metrics": {name: value if math.isfinite(value) else None for name, value in found.metrics.items()},
    }
    try:
        file.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")
    except OSError as error:
        refuse(f"{file}: cannot be written: {error.strerror}", 1)
