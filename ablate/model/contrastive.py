"""The network of a contrastive trial: view -> encoder -> ``h`` -> projection head -> ``z``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ablate.model.encoders import build_encoder
from ablate.model.heads import build_head
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec


class ContrastiveModel(nn.Module):
    """Views float [B, 3, S, S] -> (h [B, D], z [B, d]); z is not normalised."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(images)
        return h, self.head(h)


def build_model(trial: TrialSpec) -> ContrastiveModel:
    """The trial's model, on the CPU, channels_last, initialised from the streams of ``trial.seed``.

    The encoder draws from "encoder" and the head from "head": trials with equal seed and encoder start from
    the same encoder whatever their heads draw. torch's global generators are left as they were.
    """
    with drawing_from("encoder", trial.seed):
        encoder = build_encoder(trial.encoder, size=trial.views.size)
    with drawing_from("head", trial.seed):
        head = build_head(trial.head, trial.width)
    model = ContrastiveModel(encoder, head)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return model


def redraw_head(head: nn.Module, trial: TrialSpec, *stream: int) -> None:
    """Initialise ``head`` anew, in place, from the stream "head" of ``stream``."""
    with drawing_from("head", *stream):
        head.load_state_dict(build_head(trial.head, trial.width).state_dict())


@contextmanager
def drawing_from(name: str, *parts: int) -> Iterator[None]:
    """Inside, torch's global generator is that of the named stream; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed accelerators too and leave them so.
        torch.default_generator.manual_seed(stream_seed(name, *parts))
        yield
