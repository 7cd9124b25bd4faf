"""Pairs of sweeps that nobody ran, and what may differ between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger import Ledger
from ablate.report.compare.side import Side
from ablate.report.compare.whole import Compared, compare
from tests.report.made_sweep import Made

ARMS: dict[str, Any] = {
    "baseline": "plain",
    "each": {"plain": {}, "deep": {"head.depth": 3}, "wide": {"head.hidden": 256}},
}
LOW = {"plain": 0.6, "deep": 0.7, "wide": 0.61, "pixels": 0.2}
HIGH = {"plain": 0.7, "deep": 0.71, "wide": 0.71, "pixels": 0.2}


def made(name: str, share: dict[str, float] = LOW, *, replicates: int = 1, **confirm: Any) -> Made:
    """A sweep with three arms and eight seeds, or what ``confirm`` says."""
    plan = {"seeds": 8, **confirm}
    return Made(name, arms={**ARMS, "replicates": replicates}, confirm=plan, share=share)


def written(
    runs: Path,
    sweep: Made,
    *,
    lost: tuple[str, ...] = (),
    pace: float | None = None,
    specs: str = "",
    **identity: Any,
) -> Path:
    """Run, and written below ``runs``; ``identity`` is put into what every trial says of itself, ``pace`` is
    the views a second of those that train, and ``specs`` a hash for all of its trials."""
    sweep.search().confirm(lost=lost)
    if pace is not None:
        _time(sweep, pace)
    for event in sweep.events:
        if specs and event["event"] == "asked":
            event["spec_hash"] = specs
    folder = sweep.write(runs / sweep.sweep.name)
    identify(folder, **identity)
    return folder


def identify(folder: Path, **identity: Any) -> None:
    for file in folder.glob("trials/*/identity.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), **identity}))


def change(sweep: Made, key: str, value: Any) -> Made:
    """Another value at a dotted key of the sweep, as if its file had said so."""
    *path, last = key.split(".")
    here = sweep.events[0]["sweep"]
    for name in path:
        here = here[name]
    here[last] = value
    return sweep


def _time(sweep: Made, pace: float) -> None:
    """The first trial of the baseline is ten views a second faster than the rest."""
    for event in sweep.events:
        if event["event"] == "finished" and event["epochs"]:
            event["metrics"]["views_per_second"] = pace + 10 * (event["trial"] == "c0000")


def side(folder: Path, letter: str = "A") -> Side:
    return Side(letter, folder.name, folder, Ledger.read(folder / "ledger.jsonl"))


def compared(*folders: Path) -> Compared:
    return compare([(f.name, f, Ledger.read(f / "ledger.jsonl")) for f in folders])


def correct(folder: Path, trial: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    with np.load(folder / "trials" / trial / "correct.npz") as stored:
        return np.asarray(stored["probe.h"], dtype=np.float64)
