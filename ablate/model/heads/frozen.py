"""The head of a finished trial, as it was trained: no gradients, batch norm by its running statistics always.

Read from the trial's artifact folder: ``spec.json`` says what head it is, ``head.pt`` holds its weights. The
digest of ``head.pt`` is part of the spec, so that a trial's identity says which weights it had.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ablate.model.heads.registered import heads, register_head
from ablate.spec.head import FrozenHead
from ablate.spec.trial import TrialSpec


class Frozen(nn.Module):
    """h [B, D] -> z [B, d] of ``head``, always in eval mode."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.head.eval()
        return self

    def forward(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.head(h))


@register_head(FrozenHead)
def frozen(spec: FrozenHead, width: int) -> nn.Module:
    """Raises ValueError if ``path`` is no finished trial's, or its head is another or of another width."""
    folder = Path(spec.path)
    trial = _trial(folder)
    if trial.width != width:
        raise ValueError(
            f"head.path: the head in {folder} takes h of width {trial.width}, this encoder gives {width}"
        )
    weights = folder / "head.pt"
    found = hashlib.sha256(_bytes(weights)).hexdigest()[:16]
    if found != spec.digest:
        raise ValueError(
            f"head.digest: {weights} has digest {found}, not {spec.digest}; if it is the one meant, set that"
        )
    head = heads.build(trial.head, width)
    try:
        head.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"head.path: {weights} is not a {trial.head.kind} head: {error}") from None
    return Frozen(head)


def _trial(folder: Path) -> TrialSpec:
    file = folder / "spec.json"
    try:
        return TrialSpec.model_validate(json.loads(_bytes(file)))
    except (ValidationError, json.JSONDecodeError) as error:
        raise ValueError(f"head.path: {file} is not a trial that this version can read: {error}") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(
            f"head.path: {file} cannot be read ({error.strerror}); give the artifact folder of a finished "
            "trial, with spec.json and head.pt"
        ) from None
