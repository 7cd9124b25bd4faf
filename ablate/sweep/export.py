"""One file that holds what a sweep found, to keep, to send, or to look at elsewhere.

A bundle is a .tar.gz of one folder, named as the sweep, which reads like the sweep's own: the commands that
only look (``ablate status --runs FOLDER``) work on it. It holds what the ledger says at one moment, so that
it is whole even if the sweep goes on meanwhile. Equal ledgers and artifacts give equal bytes, on one machine:
names are sorted, owners and modes are fixed, and every time is that of the sweep's beginning.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import re
import tarfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger, Position
from ablate.ledger.lock import held_by
from ablate.report import markdown, results_table, summary_of
from ablate.report.content import report_of
from ablate.report.document.html import page
from ablate.report.results import parquet_bytes
from ablate.report.trials import fold_trials, opening
from ablate.sweep.status import LEDGER, LOCK, SWEEP

_TEMPORARY = re.compile(r"\.(partial|part)$")
_README = """\
# {name}

{question}

A bundle of one sweep, made by `ablate export`. {state}

| | |
|---|---|
| `report/index.html` | the whole report, one page to open in a browser |
| `summary.md` | the answer in words and tables |
| `results.parquet` | one row a trial: parameters, metrics, states |
| `ledger.jsonl` | everything that happened and was decided, one JSON record a line, in order |
| `sweep.json` | the resolved file that was run, with every default written out |
| `packing.json` | how many trials share a GPU, as measured, if the file said `resources.gpus: auto` |
| `trials/<trial>/` | artifacts of the finished trials, without checkpoints: `spec.json`, `identity.json` |
| | (code, data, versions, device), `metrics.json`, `correct.npz`, `spectrum.npz`, the weights, `log.txt` |
| `environment.json` | what was installed on the machine that made this bundle |

To look at it, unpack it into a folder, say `extracted`:

    ablate status {name} --runs extracted
    ablate dashboard {name} --runs extracted
    ablate train extracted/{name}/trials/<trial>/spec.json      # one trial again

`ablate resume {name} --runs extracted` goes on with a sweep that had not ended; trials that were under way
start from their beginning, because their checkpoints are not here.
"""


class ExportError(Exception):
    """The bundle cannot be made; the message says why and what to do."""


def export(folder: Path, file: Path, *, live: bool = False) -> int:
    """Write the bundle of the sweep in ``folder`` to ``file``, all at once; returns its size in bytes.

    Raises ExportError if ``file`` exists or its folder does not, and if a driver is running the sweep, unless
    ``live``: then what is finished by now goes in. Raises LedgerError for a damaged ledger.
    """
    holder = held_by(folder / LOCK)
    if holder and not live:
        raise ExportError(
            f"{folder}: a driver is running this sweep ({holder}). Wait until it ends, or take what there is "
            "by now with --live."
        )
    if file.exists():
        raise ExportError(f"{file}: is there already; give another name, or delete it")
    if not file.absolute().parent.is_dir():
        raise ExportError(f"{file}: there is no folder {file.absolute().parent}")
    partial = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as target:
            _write(folder, target)
        partial.replace(file)
    except OSError as error:
        raise ExportError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return file.stat().st_size


def _write(folder: Path, target: Any) -> None:
    events, end = Ledger.tail(folder / LEDGER)
    began, name = int(opening(events)["time"]), str(opening(events)["sweep"]["name"])
    # The times and the name that gzip and tar would put in are what makes bundles differ.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=6, mtime=began) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as bundle,
    ):
        made = _made(folder, events, end)
        for path, content in sorted({**made, **dict(_artifacts(folder, events))}.items()):
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mtime, entry.mode = len(data), began, 0o644
            bundle.addfile(entry, io.BytesIO(data))


def _made(folder: Path, events: list[Event], end: Position) -> dict[str, bytes | Path]:
    """The files of the sweep as a whole; those that follow from the ledger are made anew, from ``events``."""
    with (folder / LEDGER).open("rb") as file:
        ledger = file.read(end.offset)
    summary = summary_of(folder, events)
    return {
        "README.md": _readme(events).encode(),
        "environment.json": _environment().encode(),
        LEDGER: ledger,
        SWEEP: folder / SWEEP,
        **{file.name: file for file in folder.glob("packing.json")},  # if the GPU share was measured
        "results.parquet": parquet_bytes(results_table(events)),
        "report/index.html": page(report_of(folder, events)).encode(),
        "summary.md": markdown(summary).encode(),
    }


def _artifacts(folder: Path, events: list[Event]) -> Iterator[tuple[str, bytes | Path]]:
    """The files right in the folders of finished trials; checkpoints lie in folders below, one a fence."""
    for record in fold_trials(events).values():
        place = folder / "trials" / record.trial
        if record.finished and place.is_dir():
            for file in place.iterdir():
                if file.is_file() and not _TEMPORARY.search(file.name):
                    yield file.relative_to(folder).as_posix(), file


def _readme(events: list[Event]) -> str:
    sweep, records = opening(events)["sweep"], fold_trials(events).values()
    done = sum(r.finished for r in records)
    ended = events[-1]["event"] == "ended"
    state = "The sweep had ended." if ended else f"The sweep had not ended: {done} trials were finished."
    return _README.format(name=sweep["name"], question=sweep["question"].strip(), state=state)


def _environment() -> str:
    installed = {d.metadata["Name"]: d.version for d in distributions()}
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
    }
    return json.dumps(found, indent=1) + "\n"
