"""Is there room on the disk for a sweep? Asked before it starts; checkpoints ask for themselves later."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ablate.durable import in_words
from ablate.model.methods import build_method
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import AdamW, TrialSpec
from ablate.sweep.driver import DriverError

_ASIDE = 2**25  # bytes for ledger, results and the tracking store
_log = logging.getLogger(__name__)


def check_disk(sweep: SweepSpec, runs: Path) -> None:
    """Raise DriverError if the disk of ``runs`` cannot even hold what the first trials write; warn if it
    may not hold what all of them do. Sizes are those of the base trial."""
    artifacts, checkpoint = sizes(sweep)
    free = shutil.disk_usage(_existing(runs.absolute())).free
    # A slot writes a checkpoint before its last one is deleted, and artifacts while that is there.
    start = sweep.resources.slots * (2 * checkpoint + artifacts) + _ASIDE
    if free < start:
        raise DriverError(
            f"{runs}: the disk is nearly full: {in_words(free)} are free, {sweep.resources.slots} slot(s) "
            f"need about {in_words(start)} (checkpoints of {in_words(checkpoint)}, artifacts of "
            f"{in_words(artifacts)} a trial). Free some, or give another folder with --runs."
        )
    trials = sweep.search.trials * len(sweep.bases) * sweep.replicates
    whole = start + trials * (artifacts + len(sweep.resources.keep) * checkpoint)
    if free < whole:
        _log.warning(
            "%s: %s are free, and %d trials may need up to %s; when the disk is full the sweep stops, to be "
            "resumed. `ablate gc` shows what can be deleted.",
            *(runs, in_words(free), trials, in_words(whole)),
        )


def sizes(sweep: SweepSpec) -> tuple[int, int]:
    """Bytes of one trial's artifacts, which are mostly its weights, and of one checkpoint."""
    found = [_sizes_of(base) for base in sweep.bases.values()]
    return max(artifacts for artifacts, _ in found), max(checkpoint for _, checkpoint in found)


def _sizes_of(trial: TrialSpec) -> tuple[int, int]:
    method = build_method(trial, classes=2)  # the data are not read here, and a classifier is small
    moments = 2 if isinstance(trial.optim, AdamW) else 1  # numbers kept for each trained weight
    trained = _bytes(p for p in method.parameters() if p.requires_grad)
    whole = _bytes(method.state_dict().values())  # with a momentum copy, a queue, a predictor
    return _bytes(method.model.state_dict().values()), whole + moments * trained


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
