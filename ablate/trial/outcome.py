"""How a trial ends when it does not end well: a state and one line of reason, whatever was raised."""

from __future__ import annotations

import torch

from ablate.data import DataError
from ablate.durable import FULL
from ablate.train import Diverged, TrainingError


class TrialFailure(Exception):
    """The trial ends as ``state``, one of COLLAPSED and FAILED, because of ``reason``.

    The state HALTED is none of the trial's doing (a full disk, storage out of reach) and would strike every
    other trial too: the sweep has to end here, with this trial unfinished, and to be resumed.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(f"{state}: {reason}")
        self.state, self.reason = state, reason

    def __reduce__(self) -> tuple[type[TrialFailure], tuple[str, str]]:
        return TrialFailure, (self.state, self.reason)


def describe_failure(error: BaseException) -> TrialFailure:
    """Turn anything raised by a trial into an outcome."""
    if isinstance(error, TrialFailure):
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        return TrialFailure("HALTED", f"the disk is full: {error.strerror}")
    if isinstance(error, Diverged):
        return TrialFailure("FAILED", f"nan: {error}")
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
        return TrialFailure("FAILED", f"out of memory: {_one_line(error)}")
    if isinstance(error, (DataError, TrainingError)):
        return TrialFailure("FAILED", _one_line(error))
    return TrialFailure("FAILED", f"{type(error).__name__}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
