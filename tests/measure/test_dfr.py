"""Last-layer retraining: group-balanced, right about the worst group, and no scaling of single features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablate.measure import fit_dfr, fit_probe, group_scores
from ablate.measure.dfr import balanced
from ablate.measure.probes import accuracy


def spurious(count: int, agree: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A weak core feature and a strong spurious one that agrees with the label in a share of samples."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 2, (count,), generator=generator)
    other = torch.where(torch.rand(count, generator=generator) < agree, label, 1 - label)
    signs = torch.stack([2.0 * label - 1, 3 * (2.0 * other - 1)], 1)
    return signs + 0.4 * torch.randn(count, 2, generator=generator), label, 2 * label + other


@given(groups=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 2**40))
def test_every_group_gets_as_many_as_the_smallest(groups: list[int], seed: int) -> None:
    found = torch.tensor(groups)
    rows = balanced(found, seed=seed)
    assert torch.equal(rows, rows.unique())
    counts = found[rows].bincount(minlength=5)[found.unique()]
    assert (counts == min(groups.count(g) for g in set(groups))).all()


def test_balanced_retraining_lifts_the_worst_group() -> None:
    x, y, train_groups = spurious(1000, 0.97, 0)
    query, truth, groups = spurious(2000, 0.5, 1)
    biased = fit_probe(x, y, classes=2, l2_choices=[1e-1])
    retrained = fit_dfr(x, y, train_groups, classes=2, l2_choices=[1e-3, 1e-1])
    before, after = (
        group_scores(p.predict(query) == truth, groups, train_groups) for p in (biased, retrained)
    )
    assert after.worst > before.worst + 0.2
    assert after.worst > 0.95
    assert before.in_distribution > before.average  # the biased probe is good where groups are as in training
    assert after.gap < before.gap


def test_a_diagonal_head_that_hides_the_core_feature_stays_visible() -> None:
    x, y, groups = spurious(400, 0.9, 2)
    query, truth, _ = spurious(1000, 0.5, 3)
    scale = torch.tensor([1e-3, 1.0])
    kept, hidden = (
        fit_dfr(x * s, y, groups, classes=2, l2_choices=[1e-2]).predict(query * s) == truth
        for s in (torch.ones(2), scale)
    )
    assert accuracy(hidden) < accuracy(kept) - 0.2


def test_retraining_is_a_function_of_its_seed_and_of_the_features_up_to_scale_and_shift() -> None:
    x, y, groups = spurious(300, 0.9, 4)
    first, again, moved = (
        fit_dfr(f, y, groups, classes=2, l2_choices=[1e-2], seed=7).predict(f) for f in (x, x, 5 * x + 2)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, moved)


def test_group_scores_are_the_accuracies_that_they_say() -> None:
    correct = torch.tensor([True, True, True, False, True, False])
    groups = torch.tensor([0, 0, 0, 0, 3, 3])
    scores = group_scores(correct, groups, torch.tensor([0, 3, 3, 3, 8]))
    assert scores.average == pytest.approx(4 / 6)
    assert scores.worst == pytest.approx(0.5)
    assert scores.in_distribution == pytest.approx((0.75 * 1 + 0.5 * 3) / 4)  # group 8 has no test sample
    assert scores.gap == pytest.approx(scores.in_distribution - 0.5)
    with pytest.raises(ValueError, match="no group"):
        group_scores(correct, groups, torch.tensor([5]))
