"""What a finished trial left in its folder, read back: its spec, and its model with the trained weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablate.model import ContrastiveModel, build_model
from ablate.spec.trial import TrialSpec


class ArtifactError(Exception):
    """The folder is not a finished trial's, or cannot be used as asked; the message says what to do."""


def finished(folder: Path) -> Path:
    """``folder``, if it holds spec.json, encoder.pt and head.pt; raises ArtifactError otherwise."""
    missing = [name for name in ("spec.json", "encoder.pt", "head.pt") if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(
            f"{folder}: has no {', no '.join(missing)}; name the folder of a finished trial, such as "
            "runs/NAME/trials/t0007 or that of `ablate train --folder`"
        )
    return folder


def trained_model(folder: Path, spec: TrialSpec) -> ContrastiveModel:
    """The model of ``spec`` with the weights in ``folder``, on the CPU, in eval mode.

    Weights are read with ``weights_only=True``: no code in the files is run. Raises ArtifactError if they
    are damaged or are not this model's.
    """
    try:
        model = build_model(spec)
    except ValueError as error:  # a frozen head whose own folder is gone, say
        raise ArtifactError(f"{folder}: its model cannot be built: {error}") from error
    _load(model.encoder, folder / "encoder.pt", f"a {spec.encoder.kind} encoder as spec.json describes")
    _load(model.head, folder / "head.pt", f"a {spec.head.kind} head as spec.json describes")
    return model.eval()


def _load(module: nn.Module, file: Path, what: str) -> None:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of a torn file, torch may raise anything
        raise ArtifactError(f"{file}: damaged, or no file of weights alone ({_line(error)})") from error
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{file}: does not hold {what}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


@dataclass(frozen=True)
class Identity:
    """Of ``identity.json``: the digests of the data and of the code, "" where they are not known."""

    data: str
    code: str


def recorded_identity(folder: Path) -> Identity:
    try:
        found: Any = json.loads((folder / "identity.json").read_text())
        return Identity(str(found["data"]), str(found["code"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Identity("", "")
