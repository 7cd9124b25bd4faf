"""Checkpoints: written beside their final name, renamed when whole, and verified by digest before use."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """A pointer: the state after ``epoch`` epochs lies at ``path`` and has this SHA-256 (16 digits)."""

    epoch: int
    path: str
    digest: str


class CheckpointError(Exception):
    """The file is missing or is not the one that was written."""


def save_checkpoint(state: dict[str, Any], epoch: int, folder: Path) -> Checkpoint:
    """Write ``folder/epoch-NNNN.pt`` atomically and durably."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{epoch:04d}.pt"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    digest = _digest(partial)
    partial.replace(path)
    _sync(folder)  # the new name too
    return Checkpoint(epoch, str(path), digest)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_checkpoint(checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    """Raises CheckpointError if the file is not the one the pointer was made for."""
    path = Path(checkpoint.path)
    if not path.exists():
        raise CheckpointError(f"{path}: the checkpoint is gone")
    if (found := _digest(path)) != checkpoint.digest:
        raise CheckpointError(f"{path}: digest {found}, expected {checkpoint.digest}")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
