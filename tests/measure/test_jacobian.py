"""The subspace a head selects: exact for linear heads, and known for simple ones that are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ablate.measure.jacobian import head_jacobians, subspace_measures


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_jacobian_of_a_linear_head_is_its_matrix_everywhere() -> None:
    head = nn.Linear(6, 3)
    jacobians = head_jacobians(head, normal(4, 6))
    assert jacobians.dtype == torch.float64
    torch.testing.assert_close(jacobians, head.weight.detach().double().expand(4, 3, 6))
    assert all(p.grad is None for p in head.parameters())


def test_the_jacobian_of_a_curved_head_is_its_derivative() -> None:
    h = normal(5, 4).double()
    jacobians = head_jacobians(lambda x: x.square()[:, :3], h)
    expected = torch.diag_embed(2 * h)[:, :3]
    torch.testing.assert_close(jacobians, expected)


def test_it_is_there_under_no_grad_too() -> None:
    with torch.no_grad():
        assert head_jacobians(nn.Linear(3, 2), normal(2, 3)).shape == (2, 2, 3)


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_a_linear_head_selects_one_subspace_for_all(kept: int) -> None:
    basis = torch.linalg.qr(normal(8, 8).double()).Q[:, :kept].T
    measures = subspace_measures(basis.expand(6, kept, 8), normal(4000, 8, seed=1))
    assert measures["jacobian_rank"] == pytest.approx(kept)
    assert measures["subspace_size"] == kept
    assert measures["data_dependence"] == pytest.approx(0, abs=1e-12)
    assert measures["subspace_variance"] == pytest.approx(kept / 8, abs=0.02)  # h is white


def test_the_variance_inside_is_that_of_the_selected_features() -> None:
    h = normal(3000, 4) * torch.tensor([3.0, 1.0, 1.0, 1.0])
    measures = subspace_measures(torch.eye(4)[:1].expand(5, 1, 4), h)
    assert measures["subspace_variance"] == pytest.approx(9 / 12, abs=0.02)


def test_samples_that_select_orthogonal_features_have_nothing_in_common() -> None:
    jacobians = torch.eye(6)[:, None]  # sample i: feature i alone
    measures = subspace_measures(jacobians, normal(50, 6))
    assert measures["data_dependence"] == pytest.approx(1)
    assert measures["subspace_size"] == 1


def test_unrelated_subspaces_overlap_by_k_of_d() -> None:
    jacobians = torch.linalg.qr(normal(60, 20, 5).double()).Q.mT
    measures = subspace_measures(jacobians, normal(50, 20))
    assert measures["data_dependence"] == pytest.approx(1 - 5 / 20, abs=0.02)


def test_the_overlap_is_the_mean_of_squared_cosines_of_principal_angles() -> None:
    angle = 0.7
    first = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    second = torch.stack([torch.stack([c, torch.tensor(0.0), s]), torch.tensor([0.0, 1, 0])])
    measures = subspace_measures(torch.stack([first, second]), normal(10, 3))
    assert measures["data_dependence"] == pytest.approx(1 - (float(c) ** 2 + 1) / 2, abs=1e-6)


def test_a_head_that_sees_nothing_has_no_rank() -> None:
    measures = subspace_measures(torch.zeros(3, 2, 4), normal(10, 4))
    assert measures["jacobian_rank"] == 0
    assert measures["data_dependence"] == 1


def test_directions_of_no_weight_do_not_count_as_shared() -> None:
    """Rank 2 on half of the samples, 1 on the other: the unused direction overlaps with none."""
    two, one = torch.diag(torch.tensor([1.0, 1.0, 0]))[:2], torch.diag(torch.tensor([1.0, 0, 0]))[:2]
    measures = subspace_measures(torch.stack([two, two, two, one]), normal(10, 3))
    assert measures["subspace_size"] == 2
    # Six pairs: three of two alike, three that share one direction of two.
    assert measures["data_dependence"] == pytest.approx(1 - (3 * 1 + 3 * 0.5) / 6)
