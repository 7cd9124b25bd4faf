"""InfoNCE against an independent float64 reference: loops over scalars, gradients by hand."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ablate.objective import info_nce, info_nce_keys, info_nce_local, log_sum_exp

Floats = NDArray[np.float64]
Negatives = Literal["two_view", "other_view"]
CONVENTIONS: tuple[Negatives, ...] = ("two_view", "other_view")
MARGINS = [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (0.3, 0.2), (-0.1, -0.1), (1.2, 0.1)]


def reference(
    z1: Floats, z2: Floats, temperature: float, m1: float, m2: float, negatives: Negatives
) -> tuple[float, Floats, Floats]:
    """Loss and gradients by the definition: one anchor and one pair at a time, d cos / dz written out."""
    rows = np.concatenate([z1, z2])
    count, total = len(z1), 2 * len(z1)
    norms = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in rows]
    units = [row / norm for row, norm in zip(rows, norms, strict=True)]
    gradient = np.zeros_like(rows)
    loss = 0.0

    def push(i: int, j: int, cos: float, slope: float) -> None:
        gradient[i] += slope * (units[j] - cos * units[i]) / norms[i]
        gradient[j] += slope * (units[i] - cos * units[j]) / norms[j]

    for i in range(total):
        partner = (i + count) % total
        same_view = range(0, count) if i < count else range(count, total)
        others = [j for j in range(total) if j not in (i, partner)]
        if negatives == "other_view":
            others = [j for j in others if j not in same_view]
        cos = {j: float(units[i] @ units[j]) for j in [partner, *others]}
        theta = math.acos(cos[partner])
        if m1 > 0 and theta > math.pi - m1:
            positive, by_theta = -2 - math.cos(theta + m1), math.sin(theta + m1)
        else:
            positive, by_theta = math.cos(theta + m1), -math.sin(theta + m1)
        weights = {j: math.exp(cos[j] / temperature) for j in others}
        weights[partner] = math.exp((positive - m2) / temperature)
        whole = sum(weights.values())
        loss -= math.log(weights[partner] / whole)
        for j in others:
            push(i, j, cos[j], weights[j] / whole / temperature)
        by_cos = -by_theta / math.sin(theta)
        push(i, partner, cos[partner], (weights[partner] / whole - 1) * by_cos / temperature)
    return loss / total, gradient[:count] / total, gradient[count:] / total


def views(count: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, width, generator=generator, dtype=torch.float64)
    noisy = [base + 0.7 * torch.randn(base.shape, generator=generator, dtype=base.dtype) for _ in range(2)]
    noisy[1][0] -= 2 * base[0]  # one positive pair nearly opposite, beyond pi - m1 for the larger margins
    return noisy[0].to(dtype).requires_grad_(), noisy[1].to(dtype).requires_grad_()


@pytest.mark.parametrize("negatives", CONVENTIONS)
@pytest.mark.parametrize(("m1", "m2"), MARGINS)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_match_the_definition(
    negatives: Negatives, m1: float, m2: float, temperature: float
) -> None:
    z1, z2 = views(6, 4)
    loss = info_nce(
        z1,
        z2,
        temperature=temperature,
        margin_angular=m1,
        margin_subtractive=m2,
        negatives=negatives,
    )
    loss.backward()
    expected, g1, g2 = reference(z1.detach().numpy(), z2.detach().numpy(), temperature, m1, m2, negatives)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(z1.grad, g1, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(z2.grad, g2, rtol=1e-9, atol=1e-12)


def test_the_reference_cases_reach_the_continuation() -> None:
    z1, z2 = views(6, 4)
    angles = torch.cosine_similarity(z1, z2).acos()
    assert (angles > math.pi - 1.2).any()
    assert (angles < math.pi - 1.2).any()


def test_float32_is_close_and_half_precision_is_computed_in_float32() -> None:
    exact = info_nce(*views(32, 16), temperature=0.1, margin_angular=0.2)
    single = info_nce(*views(32, 16, dtype=torch.float32), temperature=0.1, margin_angular=0.2)
    assert single.item() == pytest.approx(exact.item(), rel=1e-6)
    z1, z2 = (z.detach().bfloat16() for z in views(32, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = info_nce(z1, z2, temperature=0.1)
    assert half.item() == pytest.approx(info_nce(z1.float(), z2.float(), temperature=0.1).item(), rel=1e-6)


def test_known_value() -> None:
    """Two orthogonal images, perfectly aligned views, t = 1: 2N-2 = 2 negatives at cosine 0, or 1."""
    z = torch.eye(2, dtype=torch.float64)
    assert info_nce(z, z, temperature=1.0).item() == pytest.approx(math.log(1 + 2 / math.e))
    one = info_nce(z, z, temperature=1.0, negatives="other_view").item()
    assert one == pytest.approx(math.log(1 + 1 / math.e))


@pytest.mark.parametrize("negatives", CONVENTIONS)
@pytest.mark.parametrize("shares", [[6], [3, 3], [1, 2, 3]])
def test_workers_shares_add_up_to_the_whole(negatives: Negatives, shares: list[int]) -> None:
    kwargs = {"temperature": 0.2, "margin_angular": 0.3, "margin_subtractive": 0.1}
    z1, z2 = views(6, 4)
    whole = info_nce(z1, z2, negatives=negatives, **kwargs)
    expected = torch.autograd.grad(whole, (z1, z2))
    parts, offset = [], 0
    for size in shares:
        rows = slice(offset, offset + size)
        parts.append(info_nce_local(z1[rows], z2[rows], z1, z2, offset, negatives=negatives, **kwargs))
        offset += size
    total = torch.stack(parts).sum()
    assert total.item() == pytest.approx(whole.item(), rel=1e-12)
    for got, want in zip(torch.autograd.grad(total, (z1, z2)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(2, 8),
    width=st.integers(2, 8),
    log_scale=st.lists(st.floats(-3, 3), min_size=16, max_size=16),
    negatives=st.sampled_from(CONVENTIONS),
    margins=st.sampled_from(MARGINS),
)
def test_scale_order_and_views_do_not_matter(
    seed: int,
    count: int,
    width: int,
    log_scale: list[float],
    negatives: Negatives,
    margins: tuple[float, float],
) -> None:
    def loss(z1: Tensor, z2: Tensor) -> float:
        m1, m2 = margins
        value = info_nce(
            z1, z2, temperature=0.2, margin_angular=m1, margin_subtractive=m2, negatives=negatives
        )
        return value.item()

    z1, z2 = (z.detach() for z in views(count, width, seed))
    value = loss(z1, z2)
    assert math.isfinite(value)
    scale = 10 ** torch.tensor(log_scale, dtype=torch.float64)[: 2 * count, None]
    assert loss(z1 * scale[:count], z2 * scale[count:]) == pytest.approx(value, rel=1e-9)
    assert loss(z2, z1) == pytest.approx(value, rel=1e-9)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert loss(z1[order], z2[order]) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("angular", [0.0, 0.5, -0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_identical_or_opposite_views_have_finite_gradients(angular: float, sign: float) -> None:
    z1 = views(8, 4, dtype=torch.float32)[0].detach().requires_grad_()
    info_nce(z1, sign * z1, temperature=0.1, margin_angular=angular).backward()
    assert z1.grad is not None
    assert z1.grad.isfinite().all()
    assert z1.grad.abs().max() < 20


def test_an_embedding_without_direction_gets_no_gradient_and_harms_no_other() -> None:
    z1, z2 = (z.detach() for z in views(4, 3, dtype=torch.float32))
    z1[0] = 0
    z1.requires_grad_()
    info_nce(z1, z2, temperature=0.1, margin_angular=0.2).backward()
    assert z1.grad is not None
    assert (z1.grad[0] == 0).all()
    assert z1.grad[1:].isfinite().all()
    assert (z1.grad[1:] != 0).any()


def test_bad_arguments_are_refused_by_name() -> None:
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"z1 and z2 must both be \[N, d\]"):
        info_nce(z, z[:3], temperature=0.1)
    with pytest.raises(ValueError, match="at least 2 images"):
        info_nce(z[:1], z[:1], temperature=0.1)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        info_nce(z, z, temperature=0.0)
    with pytest.raises(ValueError, match="two_view or other_view"):
        info_nce(z, z, temperature=0.1, negatives="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows 3 to 5 are not within the 4"):
        info_nce_local(z[:2], z[:2], z, z, 3, temperature=0.1)
    with pytest.raises(ValueError, match="all_z1 and all_z2"):
        info_nce_local(z[:2], z[:2], z, z[:3], 0, temperature=0.1)


def keys_reference(
    anchors: Tensor, keys: Tensor, queue: Tensor | None, temperature: float, m1: float, m2: float
) -> float:
    """The definition, one anchor at a time."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        positive = float(torch.cosine_similarity(anchor, keys[i], dim=0))
        logit = (math.cos(math.acos(positive) + m1) - m2) / temperature
        others = queue if queue is not None else torch.cat([keys[:i], keys[i + 1 :]])
        negatives = [float(torch.cosine_similarity(anchor, k, dim=0)) / temperature for k in others]
        total -= logit - math.log(math.exp(logit) + sum(map(math.exp, negatives)))
    return total / len(anchors)


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(("m1", "m2"), [(0.0, 0.0), (0.1, 0.2)])
def test_keys_match_the_definition(queued: bool, m1: float, m2: float) -> None:
    z1, z2 = (z.detach()[1:] for z in views(6, 4))
    queue = 3 * views(9, 4, seed=1)[0].detach() if queued else None
    loss = info_nce_keys(z1, z2, 0, queue=queue, temperature=0.2, margin_angular=m1, margin_subtractive=m2)
    assert loss.item() == pytest.approx(keys_reference(z1, z2, queue, 0.2, m1, m2), rel=1e-12)


def test_keys_in_both_directions_are_info_nce_with_the_other_views_negatives() -> None:
    z1, z2 = views(6, 4)
    both = (info_nce_keys(z1, z2, 0, temperature=0.2) + info_nce_keys(z2, z1, 0, temperature=0.2)) / 2
    whole = info_nce(z1, z2, temperature=0.2, negatives="other_view")
    assert both.item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("queued", [False, True])
def test_workers_shares_over_keys_add_up_to_the_whole(queued: bool) -> None:
    z, keys = views(6, 4)
    queue = views(9, 4, seed=1)[0].detach() if queued else None
    kwargs: dict[str, Any] = {"temperature": 0.2, "margin_angular": 0.3, "queue": queue}
    whole = info_nce_keys(z, keys, 0, **kwargs)
    parts = [info_nce_keys(z[a:b], keys, a, **kwargs) for a, b in [(0, 1), (1, 4), (4, 6)]]
    total = torch.stack(parts).sum()
    assert total.item() == pytest.approx(whole.item(), rel=1e-12)
    expected = torch.autograd.grad(whole, (z, keys))
    for got, want in zip(torch.autograd.grad(total, (z, keys)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


def test_with_a_queue_the_other_keys_of_the_batch_are_no_negatives() -> None:
    z, keys = (x.detach() for x in views(6, 4))
    queue = views(9, 4, seed=1)[0].detach()
    before = info_nce_keys(z[:1], keys, 0, queue=queue, temperature=0.2)
    keys[1:] = 1.0
    assert info_nce_keys(z[:1], keys, 0, queue=queue, temperature=0.2).item() == before.item()
    assert info_nce_keys(z[:1], keys[:1], 0, queue=queue, temperature=0.2).item() == 6 * before.item()


def test_detached_keys_get_no_gradient() -> None:
    z, keys = views(6, 4)
    info_nce_keys(z, keys.detach(), 0, temperature=0.2).backward()
    assert z.grad is not None
    assert keys.grad is None


def test_bad_keys_are_refused_by_name() -> None:
    z = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"anchors and all_keys must be \[B, d\] and \[N, d\]"):
        info_nce_keys(z, z[:, :2], 0, temperature=0.1)
    with pytest.raises(ValueError, match="rows 3 to 5 are not within the 4"):
        info_nce_keys(z[:2], z, 3, temperature=0.1)
    with pytest.raises(ValueError, match="at least 2 images"):
        info_nce_keys(z[:1], z[:1], 0, temperature=0.1)
    for queue in (z[:0], z[:, :2], z[0]):
        with pytest.raises(ValueError, match=r"queue must be \[K, 3\] with K >= 1"):
            info_nce_keys(z, z, 0, queue=queue, temperature=0.1)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        info_nce_keys(z, z, 0, temperature=0.0)


EFFECTS: list[dict[str, Any]] = [
    {},
    {"margin_angular": 0.3, "margin_subtractive": 0.2},
    {"margin_angular": -0.1},
    {"effect": "emphasis", "emphasis": 2.0},
    {"effect": "angle", "margin_angular": 0.2, "mean_one": True},
    {"effect": "probability", "margin_subtractive": 0.3},
    {"effect": "angle-and-probability", "margin_angular": 0.2, "margin_subtractive": 0.2, "mean_one": True},
]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(2, 12),
    share=st.tuples(st.integers(0, 11), st.integers(1, 12)),
    chunk=st.integers(1, 5),
    temperature=st.sampled_from([0.05, 0.2, 1.0]),
    form=st.sampled_from(["two_view", "other_view", "keys", "queue"]),
    margin=st.sampled_from(EFFECTS),
)
def test_in_chunks_loss_and_gradients_are_the_plain_ones(
    seed: int,
    count: int,
    share: tuple[int, int],
    chunk: int,
    temperature: float,
    form: str,
    margin: dict[str, Any],
) -> None:
    """On any worker's share, for every form of negatives and every margin."""
    offset = min(share[0], count - 1)
    mine = slice(offset, min(offset + share[1], count))
    z1, z2 = views(count, 3, seed)
    queue = views(7, 3, seed + 1)[0]

    def loss(chunk: int) -> tuple[float, tuple[Tensor | None, ...]]:
        kwargs = {"temperature": temperature, "chunk": chunk, **margin}
        if form == "two_view" or form == "other_view":
            value = info_nce_local(z1[mine], z2[mine], z1, z2, offset, negatives=form, **kwargs)  # type: ignore
        else:
            value = info_nce_keys(z1[mine], z2, offset, queue=queue if form == "queue" else None, **kwargs)
        return value.item(), torch.autograd.grad(value, (z1, z2, queue), allow_unused=True)

    (plain, expected), (chunked, found) = loss(count), loss(chunk)
    assert chunked == pytest.approx(plain, rel=1e-12)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most numbers in anything that is made inside."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, (list, tuple)) else [made]:
            self.numbers = max(self.numbers, x.numel() if isinstance(x, Tensor) else 0)
        return made


def test_no_matrix_of_all_cosines_is_made_in_chunks() -> None:
    def largest(chunk: int | None) -> int:
        z1, z2 = views(64, 4)
        with Largest() as seen:
            info_nce(z1, z2, temperature=0.2, chunk=chunk).backward()
        return seen.numbers

    assert largest(64) == 128 * 128
    assert largest(8) == 16 * 128
    assert largest(None) == 128 * 128


def test_many_logits_are_computed_in_chunks_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed in chunks has no second derivative, and says so."""

    def twice(bound: int) -> None:
        monkeypatch.setattr(log_sum_exp, "AT_ONCE", bound)
        z1, z2 = views(8, 4)
        (gradient,) = torch.autograd.grad(info_nce(z1, z2, temperature=0.2), z1, create_graph=True)
        gradient.square().sum().backward()

    twice(16 * 16)  # anchors times logits
    with pytest.raises(RuntimeError, match="differentiate twice"):
        twice(16 * 16 - 1)
    twice(10**6)


def test_plain_second_derivatives_are_those_of_the_definition() -> None:
    z1, z2 = views(5, 3)

    def loss(x: Tensor) -> Tensor:
        return info_nce(x, z2.detach(), temperature=0.3, margin_angular=0.2)

    assert torch.autograd.gradgradcheck(loss, (z1,))


def test_a_chunk_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk must be at least 1 row, found 0"):
        info_nce(*views(4, 3), temperature=0.1, chunk=0)
