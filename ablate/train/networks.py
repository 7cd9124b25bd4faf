"""A method's networks as ``spec.compute`` wants them: on their device, sharing, recomputing, compiled."""

from __future__ import annotations

import torch

from ablate.model.encoders.checkpointing import checkpoint_stages
from ablate.model.methods import Method, build_method
from ablate.spec.trial import TrialSpec
from ablate.train.batch_norm import share_batch_stats
from ablate.train.error import TrainingError
from ablate.train.world import World


def build_networks(spec: TrialSpec, *, classes: int, world: World, device: torch.device) -> Method:
    """The trial's method on ``device``. Raises TrainingError where ``spec.compute`` asks for what cannot be.

    Nothing of it shows in the state dict, nor outside of training: what is compiled is the method's own
    forward, while measures call its model.
    """
    compute = spec.compute
    method = build_method(spec, classes=classes).to(device)
    if compute.batch_stats == "global":
        share_batch_stats(method, world, device)
    if compute.checkpoint_activations:
        try:
            checkpoint_stages(method.model.encoder)
        except ValueError as error:
            raise TrainingError(f"compute.checkpoint_activations: {error}; set it to false") from None
    if compute.compile:
        _compile(method, spec, world, device)
    return method


def _compile(method: Method, spec: TrialSpec, world: World, device: torch.device) -> None:
    if world.size > 1 and spec.compute.batch_stats == "global":
        raise TrainingError(
            "compute.compile: batch norms that talk to other workers break the graph at every one of them; "
            "set it to false, or compute.batch_stats to local"
        )
    # CUDA graphs reuse the memory of what they gave; microbatches keep theirs until the loss has seen all.
    graphs = device.type == "cuda" and spec.compute.microbatch is None
    torch.compiler.reset()  # else the trials of one process add up to a limit, and shapes carry over
    method.compile(mode="reduce-overhead" if graphs else None, dynamic=False)
