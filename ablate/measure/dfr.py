"""Last-layer retraining: DFR (Kirichenko et al., arXiv 2204.02937), and the scores of groups.

A representation learnt from biased data may still hold what a linear layer needs to be right about every
group; DFR fits that layer to a few group-balanced images. As far as recalled, the paper scales each feature
and uses an L1 penalty; here it is the probe of ``measure/probes.py``: one global scale, since scaling each
feature would undo a diagonal head, and L2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.measure.probes import LinearProbe, accuracy, fit_probe


def balanced(groups: Tensor, *, seed: int) -> Tensor:
    """Ascending positions of as many samples of every group [N] as the smallest has, drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(groups), generator=generator)
    shuffled = groups.cpu()[order]
    names, counts = torch.unique(shuffled, return_counts=True)
    kept = [order[shuffled == group][: int(counts.min())] for group in names]
    return torch.cat(kept).sort().values.to(groups.device)


def fit_dfr(
    features: Tensor,
    labels: Tensor,
    groups: Tensor,
    *,
    classes: int,
    l2_choices: Sequence[float],
    seed: int = 0,
    fits: int = 5,
) -> LinearProbe:
    """A linear layer on features [N, D], the mean of ``fits`` on group-balanced subsets of the N samples.

    L2 is chosen on the first subset as ``fit_probe`` does, and serves all.
    """
    l2 = tuple(l2_choices)
    weight, bias = torch.zeros(1), torch.zeros(1)
    for fit in range(fits):
        rows = balanced(groups, seed=seed + fit)
        probe = fit_probe(features[rows], labels[rows], classes=classes, l2_choices=l2, seed=seed)
        l2 = (probe.l2,)
        # Each has its own shift and scale; in units of the features they can be averaged.
        w = probe.weight / probe.scale
        b = probe.bias - w @ probe.shift
        weight, bias = (w, b) if fit == 0 else (weight + w, bias + b)
    one = torch.ones((), dtype=weight.dtype, device=weight.device)
    zero = torch.zeros(weight.shape[1], dtype=weight.dtype, device=weight.device)
    return LinearProbe(weight / fits, bias / fits, zero, one, l2[0])


@dataclass(frozen=True)
class GroupScores:
    """Accuracies in [0, 1]: of all samples, of the worst group, and as if groups were as in training."""

    average: float
    worst: float
    in_distribution: float

    @property
    def gap(self) -> float:
        """In-distribution accuracy less that of the worst group."""
        return self.in_distribution - self.worst


def group_scores(correct: Tensor, groups: Tensor, train_groups: Tensor) -> GroupScores:
    """Scores of correctness [N] on samples of ``groups`` [N]; ``train_groups`` [M] are of training.

    ``in_distribution`` weighs each group's accuracy by its share of training, as is usual for Waterbirds and
    UrbanCars, whose test groups are even. Groups without a test sample are left out of all three. Raises
    ValueError if no test sample is of a group that training has.
    """
    names = torch.unique(groups)
    each = torch.stack([correct[groups == g].double().mean() for g in names])
    shares = torch.stack([(train_groups == g).double().mean() for g in names])
    if not shares.sum() > 0:
        raise ValueError("no group of the training samples is among the test samples")
    return GroupScores(accuracy(correct), float(each.min()), float((each * shares).sum() / shares.sum()))
