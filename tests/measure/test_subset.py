"""How many features a batch needs, on scores and sets whose answer is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.measure.subset import feature_scores, mean_jaccard, smallest_subset


def test_a_feature_without_gradient_or_without_variation_scores_nothing() -> None:
    gradient = torch.tensor([[1.0, 0.0, -2.0], [-1.0, 0.0, 2.0]])
    h = torch.tensor([[0.0, 0.0, 5.0], [2.0, 9.0, 5.0]])
    scores = feature_scores(gradient, h)
    torch.testing.assert_close(scores, torch.tensor([2 * 2**0.5, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("scores", "share", "chosen"),
    [
        ([5.0, 1, 90, 4], 0.95, [0, 2]),
        ([5.0, 1, 90, 4], 0.951, [0, 2, 3]),
        ([1.0, 1, 1, 1], 0.5, None),
        ([0.0, 0, 3, 0], 0.95, [2]),
        ([0.0, 0, 0, 0], 0.95, []),
    ],
)
def test_the_smallest_subset(scores: list[float], share: float, chosen: list[int] | None) -> None:
    found = smallest_subset(torch.tensor(scores), share)
    assert found.nonzero()[:, 0].tolist() == chosen if chosen is not None else int(found.sum()) == 2


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.floats(0.05, 1))
def test_it_reaches_the_share_and_would_not_with_one_less(scores: list[float], share: float) -> None:
    values = torch.tensor(scores, dtype=torch.float64)
    inside = values[smallest_subset(values, share)]
    assert inside.sum() >= (share - 1e-9) * values.sum()
    assert inside.sum() - inside.min() < (share + 1e-9) * values.sum()


def test_jaccard() -> None:
    a, b, none = torch.tensor([True, True, False]), torch.tensor([False, True, True]), torch.zeros(3) > 0
    assert mean_jaccard([a, a]) == 1
    assert mean_jaccard([a, b]) == pytest.approx(1 / 3)
    assert mean_jaccard([a, ~a]) == 0
    assert mean_jaccard([none, none]) == 1
    assert mean_jaccard([a, a, b]) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    with pytest.raises(ValueError, match="at least 2 subsets, found 1"):
        mean_jaccard([a])
