"""A sweep of five hundred runs: its report, how fast it reaches MLflow, and what an outage costs.

Driver, decisions and ledger are real, training and the clock are not (``tests.tracking.large``). The sweep is
written without waiting for the disk, as in memory; MLflow's database is on the disk as it always is.
"""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger
from ablate.report import write_results
from ablate.report.content import write_report
from ablate.tracking import Mirror
from tests.evidence.checks import ABLATE
from tests.evidence.harness import ROOT, Finding, check
from tests.tracking.large import large_spec, large_sweep
from tests.tracking.outage import outage, run_without_server

SECONDS, BYTES, METRICS = 10.0, 10e6, 1000.0
_NOWHERE = "http://127.0.0.1:9"  # where no server answers
_ARTIFACTS = 500  # trials of each stage with spectra and predictions: all


@check("large")
def five_hundred(scratch: Path) -> Finding:
    with _in_memory():
        began = time.perf_counter()
        folder = large_sweep(scratch, large_spec(), artifacts=_ARTIFACTS)
        alone = time.perf_counter() - began
        began = time.perf_counter()
        run_without_server(_sent_to(_NOWHERE), scratch / "away")
        beside_nobody = time.perf_counter() - began
        write_results(folder)
        bare = large_sweep(scratch / "bare", large_spec())
        (scratch / "outage").mkdir()
    figures: dict[str, Any] = {"runs": _runs(folder), **_report(folder), **_mirror(bare)}
    figures["with_artifacts"] = _mirror(folder)
    with _in_memory():
        found = outage(large_spec(), scratch / "outage")
    figures["outage"] = found._asdict()
    figures["sweep_seconds"] = {"no mirror": round(alone, 2), "server away": round(beside_nobody, 2)}
    held = (
        figures["report_seconds"] < SECONDS
        and figures["page_bytes"] < BYTES
        and figures["metrics_per_second"] >= METRICS
        and found.part["runs"] < found.expected["runs"]
        and found.back == found.expected == found.again
    )
    return Finding(
        "Of a sweep of 500 runs the report is written in less than 10 s and is smaller than 10 MB; at least "
        "1,000 metrics a second reach MLflow's SQLite, with runs, parameters and tags; with its server away "
        "the sweep ends, and everything is in MLflow once when it is back.",
        held,
        figures,
        _text(figures),
    )


def _report(folder: Path) -> dict[str, Any]:
    """`ablate report` as a person runs it, imports and all."""
    command = [ABLATE, "report", folder.name, "--runs", folder.parent, "--no-mlflow"]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    page = folder / "report" / "index.html"
    first = page.read_bytes()
    return {
        "report_seconds": round(seconds, 2),
        "page_bytes": len(first),
        "same_bytes_again": write_report(folder).read_bytes() == first,
    }


def _mirror(folder: Path) -> dict[str, Any]:
    """Everything of the sweep into SQLite, as fast as it goes."""
    database = folder.parent / "mlflow.db"
    began = time.perf_counter()
    assert Mirror(folder, machine=False).close(600)
    seconds = time.perf_counter() - began
    with sqlite3.connect(database) as connection:
        metrics = connection.execute("SELECT count(*) FROM metrics").fetchone()[0]
    return {
        "metrics": metrics,
        "mirror_seconds": round(seconds, 1),
        "metrics_per_second": round(metrics / seconds),
    }


def _sent_to(uri: str) -> Any:
    spec = large_spec()
    return type(spec).model_validate({**spec.as_dict(), "tracking": {"uri": uri}})


def _runs(folder: Path) -> int:
    return sum(event["event"] == "finished" for event in Ledger.read(folder / "ledger.jsonl"))


@contextmanager
def _in_memory() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patched.setattr("os.fsync", lambda _: None)
        yield


def _text(figures: dict[str, Any]) -> str:
    took, found, artifacts = figures["sweep_seconds"], figures["outage"], figures["with_artifacts"]
    rows = [
        ("`ablate report`, imports included", f"{figures['report_seconds']} s", f"< {SECONDS:g} s"),
        ("the page", f"{figures['page_bytes'] / 1e6:.2f} MB", f"< {BYTES / 1e6:g} MB"),
        ("written again: the same bytes", "yes" if figures["same_bytes_again"] else "no", ""),
        ("metrics in MLflow", f"{figures['metrics']:,} in {figures['mirror_seconds']} s", ""),
        ("a second", f"{figures['metrics_per_second']:,}", f">= {METRICS:,.0f}"),
        (
            "with spectra, their pictures, models and data of every trial",
            f"{artifacts['mirror_seconds']} s",
            "",
        ),
        ("the simulated sweep without a mirror", f"{took['no mirror']} s", ""),
        ("and with one whose server is away", f"{took['server away']} s, closing included", ""),
        ("outage: runs in MLflow when the server went away again", str(found["part"]["runs"]), ""),
        ("when it was back", str(found["back"]["runs"]), str(found["expected"]["runs"])),
        ("points of metrics", f"{found['back']['points']:,}", f"{found['expected']['points']:,}"),
        ("all of it written once more: points", f"{found['again']['points']:,}", "the same"),
    ]
    table = ["| of 500 runs | seen | asked |", "|---|---|---|"]
    return "\n".join(table + [f"| {what} | {seen} | {asked} |" for what, seen, asked in rows]) + "\n"
