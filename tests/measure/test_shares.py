"""The share of variance between classes: exact in simple cases, blind to rotation, not to reweighting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.measure import between_share


def test_exact_in_simple_cases() -> None:
    labels = torch.tensor([0, 0, 5, 5])
    assert between_share(torch.tensor([[1.0], [1.0], [3.0], [3.0]]), labels) == pytest.approx(1)
    assert between_share(torch.tensor([[0.0], [2.0], [0.0], [2.0]]), labels) == pytest.approx(0)
    assert between_share(torch.tensor([[0.0], [2.0], [2.0], [4.0]]), labels) == pytest.approx(0.5)
    assert between_share(torch.full((4, 3), 0.1), labels) == 0.0


@given(seed=st.integers(0, 1000), classes=st.integers(2, 5), scale=st.floats(1e-3, 1e3))
def test_a_share_that_rotation_and_scale_leave_alone(seed: int, classes: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (40,), generator=generator)
    share = between_share(x, labels)
    assert 0 <= share <= 1
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    assert between_share(scale * x @ q + 3, labels) == pytest.approx(share, rel=1e-6)


def test_labels_that_mean_nothing_give_their_chance_level() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 50, generator=generator)
    share = between_share(x, torch.randint(0, 20, (400,), generator=generator))
    assert share == pytest.approx(19 / 399, rel=0.1)


def test_a_diagonal_head_moves_the_share_from_one_factor_to_the_other() -> None:
    digit, thing = torch.arange(64) % 2, torch.arange(64) // 2 % 2
    h = torch.stack([digit.double(), thing.double()], 1)
    z = h * torch.tensor([1.0, 0.5])
    assert between_share(h, digit) == pytest.approx(between_share(h, thing))
    assert between_share(z, digit) == pytest.approx(0.8)
    assert between_share(z, thing) == pytest.approx(0.2)
