"""`ablate train`: one trial, a line for each epoch, a table at the end."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ablate.data import build, default_cache, residence
from ablate.spec import TrialSpec, spec_hash
from ablate.trial import EpochReport, TrialResult, run_trial

_SHOWN = ("loss", "probe.h.val", "knn.h.val", "rank.h.effective", "views_per_second")


def train_one(spec: TrialSpec, folder: Path | None, cache: Path | None, threads: int) -> bool:
    """Run ``spec`` and print its course; whether it ended COMPLETE. Raises DataError before it starts."""
    console = Console()
    cache = cache or default_cache()
    beton = build(spec.data, cache, progress=console.is_terminal, threads=threads)
    console.print(f"trial {spec_hash(spec)}", highlight=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    console.print(
        f"images {residence(beton, spec.compute.images, device).why}", highlight=False, soft_wrap=True
    )
    result = run_trial(
        spec,
        folder=folder,
        cache=cache,
        threads=threads,
        on_epoch=lambda report: console.print(
            _line(report, spec.optim.epochs), highlight=False, soft_wrap=True
        ),
    )
    _print_end(console, result, folder)
    return result.state == "COMPLETE"


def _line(report: EpochReport, epochs: int) -> str:
    shown = [f"{name} {report.metrics[name]:.4g}" for name in _SHOWN if name in report.metrics]
    return f"epoch {report.epoch}/{epochs}  " + "  ".join(shown)


def _print_end(console: Console, result: TrialResult, folder: Path | None) -> None:
    if result.reason:
        console.print(f"{result.state}: {result.reason}", highlight=False, soft_wrap=True)
        return
    table = Table("metric", "value", title=f"{result.state} after {result.epochs} epochs")
    for name, value in sorted(result.metrics.items()):
        table.add_row(name, f"{value:.4f}")
    console.print(table)
    if folder is not None:
        console.print(f"artifacts: {folder}", highlight=False, soft_wrap=True)
