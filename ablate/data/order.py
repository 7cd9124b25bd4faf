"""The order in which an epoch visits the training images."""

from __future__ import annotations

from torch import Tensor

from ablate.data.keyed import keyed_permutation
from ablate.spec.streams import stream_seed


def epoch_order(count: int, *, seed: int, epoch: int) -> Tensor:
    """int64 [count] on the CPU: the order, of 0..count-1, in which ``epoch`` of ``seed`` sees its images."""
    return keyed_permutation(stream_seed("order", seed, epoch), count)
