"""Choosing some of a dataset's images: in the proportions of its classes, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.data.keyed import keyed_permutation

Indices = NDArray[np.int64]


def choose_stratified(labels: Indices, count: int, *, seed: int) -> Indices:
    """Ascending positions of ``count`` of the ``labels``, every class within one of its proportional share.

    Choices with one seed are nested: a larger count keeps everything that a smaller one chose.
    """
    shuffled = keyed_permutation(seed, len(labels)).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    # Each class spreads its images evenly over (0, 1): any prefix of the line holds it in proportion.
    place = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    return np.sort(by_class[np.argsort(place, kind="stable")[:count]])


def joint_labels(labels: Sequence[Tensor], classes: Sequence[int]) -> Tensor:
    """int64 [N]: one number for each combination of several labels [N], below the product of ``classes``.

    Equal combinations give equal numbers in every split.
    """
    joint = torch.zeros_like(labels[0])
    for values, count in zip(labels, classes, strict=True):
        joint = joint * count + values
    return joint


def split_by_group(labels: Tensor, groups: Tensor, share: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Positions kept and positions set aside, int64 and ascending: ``share`` of the groups of each class.

    Images of one group (say, canvases made of one digit) never part; a group's class is that of its first.
    """
    names, first, member = np.unique(groups.numpy(), return_index=True, return_inverse=True)
    chosen = choose_stratified(labels.numpy()[first], round(share * len(names)), seed=seed)
    aside = torch.from_numpy(np.isin(member, chosen))
    return (~aside).nonzero()[:, 0], aside.nonzero()[:, 0]
