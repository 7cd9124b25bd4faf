"""Checkpoints: written beside their final name, renamed when whole, and verified by digest before use."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.durable import make_folder, sync, write_durably

_DIGITS = 16


@dataclass(frozen=True)
class Checkpoint:
    """A pointer: the state after ``epoch`` epochs, and ``step`` steps of the next, lies at ``path`` and has
    this SHA-256 (16 digits)."""

    epoch: int
    path: str
    digest: str
    step: int = 0

    @property
    def position(self) -> str:
        """In words."""
        return f"epoch {self.epoch}" + (f" and {self.step} steps" if self.step else "")


class CheckpointError(Exception):
    """The file is missing or is not the one that was written."""


def save_checkpoint(state: dict[str, Any], epoch: int, folder: Path, *, step: int = 0) -> Checkpoint:
    """Write ``folder/epoch-NNNN.pt`` atomically and durably, ``epoch-NNNN-step-NNNNNN.pt`` within an epoch.

    Raises OSError (ENOSPC) if it does not fit.
    """
    make_folder(folder)
    within = f"-step-{step:06d}" if step else ""
    path = folder / f"epoch-{epoch:04d}{within}.pt"
    written = io.BytesIO()  # so that its size is known before, and its digest is of what was meant
    torch.save(state, written)
    write_durably(path, written.getbuffer())
    sync(folder)
    digest = hashlib.sha256(written.getbuffer()).hexdigest()[:_DIGITS]
    return Checkpoint(epoch, str(path), digest, step)


def load_checkpoint(checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    """Raises CheckpointError if the file is not the one the pointer was made for, or holds anything but
    tensors and plain values: no code in it is ever run."""
    path = Path(checkpoint.path)
    if not path.exists():
        raise CheckpointError(f"{path}: the checkpoint is gone")
    if (found := _digest(path)) != checkpoint.digest:
        raise CheckpointError(f"{path}: digest {found}, expected {checkpoint.digest}")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        said = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: holds more than tensors and plain values: {said}") from error
    return state


def set_aside(path: Path) -> None:
    """Keep a damaged checkpoint from being used again. One that cannot be reached from here stays."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.damaged"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
