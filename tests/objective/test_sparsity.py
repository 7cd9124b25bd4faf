"""SparseHead's penalties and measures against numpy, and proximal steps against what they minimise."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ablate.objective.sparsity import (
    Penalty,
    group_count,
    penalty,
    proximal_step_,
    sparsity_measures,
    uniform_step_,
    weight_from_shrink,
)

Kind = Literal["l1", "l21", "l21-out"]
MATRICES = arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 5)), elements=st.floats(-3, 3))


def r(weight: NDArray[Any], kind: str) -> float:
    if kind == "l1":
        return float(np.abs(weight).sum())
    if kind == "l21":
        return float(sum(np.sqrt((weight[:, j] ** 2).sum()) for j in range(weight.shape[1])))
    if kind == "l21-out":
        return float(sum(np.sqrt((row**2).sum()) for row in weight))
    if kind == "l2":
        return float((weight**2).sum())
    return float(np.abs(weight).sum() / np.sqrt((weight**2).sum()))


def head() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(5, 4), (3, 5)]]


@pytest.mark.parametrize("kind", get_args(Penalty))
@pytest.mark.parametrize("scale_free", [False, True])
def test_penalties_match_numpy(kind: Penalty, scale_free: bool) -> None:
    arrays_ = [w.numpy() / (np.linalg.norm(w.numpy()) if scale_free else 1) for w in head()]
    expected = sum(r(a, kind) for a in arrays_)
    assert penalty(head(), kind, scale_free=scale_free).item() == pytest.approx(expected, rel=1e-12)


def test_group_counts() -> None:
    assert [group_count(head(), kind) for kind in get_args(Penalty)] == [35, 9, 8, 35, 2]


@pytest.mark.parametrize("kind", ["l1", "l21", "hoyer"])
def test_scale_free_penalties_have_no_pull_on_the_scale(kind: Literal["l1", "l21", "hoyer"]) -> None:
    weights = [w.requires_grad_() for w in head()]
    value = penalty(weights, kind, scale_free=True)
    gradients = torch.autograd.grad(value, weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert (weight * gradient).sum().item() == pytest.approx(0, abs=1e-12)
        assert gradient.abs().max() > 1e-3
    assert penalty([7 * w for w in weights], kind, scale_free=True).item() == pytest.approx(value.item())


@pytest.mark.parametrize("kind", ["l1", "l21", "hoyer"])
@pytest.mark.parametrize("scale_free", [False, True])
def test_a_dead_column_or_layer_gives_finite_gradients(
    kind: Literal["l1", "l21", "hoyer"], scale_free: bool
) -> None:
    first, second = head()
    first[:, 1] = 0
    second.zero_()
    weights = [first.requires_grad_(), second.requires_grad_()]
    for gradient in torch.autograd.grad(penalty(weights, kind, scale_free=scale_free), weights):
        assert gradient.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(weight=MATRICES, threshold=st.floats(0, 2))
def test_soft_threshold_minimises_each_entry(weight: NDArray[Any], threshold: float) -> None:
    got = torch.tensor(weight)
    proximal_step_(got, "l1", threshold)
    for before, after in zip(weight.ravel(), got.flatten().tolist(), strict=True):
        best = minimize_scalar(
            lambda v, w=before: (v - w) ** 2 / 2 + threshold * abs(v), bounds=(-4, 4), method="bounded"
        )
        assert (after - before) ** 2 / 2 + threshold * abs(after) <= best.fun + 1e-12
        assert abs(before) > threshold or after == 0


@settings(max_examples=40, deadline=None)
@given(weight=MATRICES, threshold=st.floats(0, 4), seed=st.integers(0, 2**31))
def test_column_shrink_minimises_over_the_matrix(weight: NDArray[Any], threshold: float, seed: int) -> None:
    def cost(v: NDArray[Any]) -> float:
        return float(((v - weight) ** 2).sum() / 2 + threshold * r(v, "l21"))

    got = torch.tensor(weight)
    proximal_step_(got, "l21", threshold)
    best = cost(got.numpy())
    assert best <= min(cost(weight), cost(np.zeros_like(weight))) + 1e-12
    rng = np.random.default_rng(seed)
    for size in (1e-4, 1e-2, 1.0):  # the cost is convex: no neighbour below means no point below
        for _ in range(20):
            assert best <= cost(got.numpy() + size * rng.standard_normal(weight.shape)) + 1e-12
    norms = np.linalg.norm(weight, axis=0)
    np.testing.assert_allclose(np.linalg.norm(got, axis=0), np.maximum(norms - threshold, 0), atol=1e-12)
    assert ((got.numpy() == 0).all(axis=0) | (norms > threshold)).all()


@settings(max_examples=40, deadline=None)
@given(weight=MATRICES, threshold=st.floats(0, 4))
def test_rows_shrink_as_the_columns_of_the_transpose(weight: NDArray[Any], threshold: float) -> None:
    rows, columns = torch.tensor(weight), torch.tensor(weight.T.copy())
    proximal_step_(rows, "l21-out", threshold)
    proximal_step_(columns, "l21", threshold)
    torch.testing.assert_close(rows, columns.T)


@settings(max_examples=40, deadline=None)
@given(weight=MATRICES, threshold=st.floats(0, 4))
def test_the_step_of_squares_is_stationary(weight: NDArray[Any], threshold: float) -> None:
    got = torch.tensor(weight)
    proximal_step_(got, "l2", threshold)
    np.testing.assert_allclose((got.numpy() - weight) + 2 * threshold * got.numpy(), 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["l1", "l21", "l21-out"])
def test_the_uniform_control_loses_the_same_norm_and_no_direction(kind: Kind) -> None:
    for weight in head():
        sparse, control = weight.clone(), weight.clone()
        proximal_step_(sparse, kind, 0.3)
        uniform_step_(control, kind, 0.3)
        assert float(control.norm()) == pytest.approx(float(sparse.norm()), rel=1e-12)
        torch.testing.assert_close(control / control.norm(), weight / weight.norm())
        assert bool((control != 0).all())
        uniform_step_(control, kind, 1e3)
        assert not control.any()


def test_a_proximal_step_is_in_place_and_outside_the_graph() -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, -0.05], [-4.0, 0.05]]))
    address = weight.data_ptr()
    proximal_step_(weight, "l21", 1.0)
    assert weight.data_ptr() == address
    assert weight.grad_fn is None
    torch.testing.assert_close(weight.data, torch.tensor([[2.4, 0.0], [-3.2, 0.0]]))
    with pytest.raises(ValueError, match="hoyer has no proximal step"):
        proximal_step_(weight, "hoyer", 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        proximal_step_(weight, "l1", -0.1)


@pytest.mark.parametrize("kind", ["l1", "l21"])
def test_shrink_takes_that_many_median_norms_off_over_the_run(kind: Kind) -> None:
    weights = head()
    norms = [np.abs(w) if kind == "l1" else np.linalg.norm(w, axis=0) for w in (w.numpy() for w in weights)]
    median = float(np.median(np.concatenate([n.ravel() for n in norms])))
    rates = [0.3, 0.2, 0.1]
    strength = weight_from_shrink(0.5, weights, kind, sum(rates))
    before = [n.copy() for n in norms]
    for rate in rates:
        for weight in weights:
            proximal_step_(weight, kind, rate * strength)
    for weight, start in zip(weights, before, strict=True):
        end = np.abs(weight.numpy()) if kind == "l1" else np.linalg.norm(weight.numpy(), axis=0)
        np.testing.assert_allclose(end, np.maximum(start - 0.5 * median, 0), atol=1e-12)
    assert weight_from_shrink(0.0, weights, kind, 1.0) == 0


def test_shrink_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="hoyer has no proximal step"):
        weight_from_shrink(1.0, head(), "hoyer", 1.0)
    with pytest.raises(ValueError, match="takes no length off"):
        weight_from_shrink(1.0, head(), "l2", 1.0)
    with pytest.raises(ValueError, match="positive sum of learning rates"):
        weight_from_shrink(1.0, head(), "l1", 0.0)
    with pytest.raises(ValueError, match="which is 0"):
        weight_from_shrink(1.0, [torch.zeros(2, 3)], "l1", 1.0)
    with pytest.raises(ValueError, match="no linear layer"):
        penalty([], "l1")


def test_measures() -> None:
    first = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 2.0]])
    second = torch.tensor([[1.0, 1.0]])
    measures = sparsity_measures([first, second])
    hoyer = (math.sqrt(8) - 6 / math.sqrt(10)) / (math.sqrt(8) - 1)
    assert measures == pytest.approx({"zeros": 4 / 10, "active_inputs": 3.0, "hoyer": (hoyer + 0) / 2})
    assert sparsity_measures([]) == {}


def test_measures_at_the_ends() -> None:
    one = torch.zeros(3, 4)
    assert sparsity_measures([one]) == {"zeros": 1.0, "active_inputs": 0.0, "hoyer": 1.0}
    one[1, 2] = -5
    assert sparsity_measures([one]) == pytest.approx({"zeros": 11 / 12, "active_inputs": 1.0, "hoyer": 1.0})
    flat = torch.full((3, 4), -0.25)
    expected = {"zeros": 0.0, "active_inputs": 4.0, "hoyer": 0.0}
    assert sparsity_measures([flat]) == pytest.approx(expected, abs=1e-12)
