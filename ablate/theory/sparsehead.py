"""SparseHead on planted data: does the penalty find the features that determine the positives?

The idea is the paper's (Song et al., arXiv 2307.08913): a subset of the features is enough for the
contrastive loss, and a sparse head generalises better. Its norm, strengths and data could not be read: this
experiment is ours. h has ``width`` features of deviation 1, of which ``relevant`` (others at each seed) agree
between the two views of an image up to noise, and the others are drawn anew for each view. A linear head is
trained by InfoNCE with the penalty l21 over input features and proximal steps.

After each step W is put back to the Frobenius norm it had at the start. That changes no loss, as z is
normalised; without it the penalty would be met by shrinking W as a whole. So strength 0 is also the control
of an equal norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ablate.objective import info_nce, proximal_step_
from ablate.spec.theory import SparseHead
from ablate.theory.claim import Claim, at_least, at_most, with_curve

Views = tuple[Tensor, Tensor]


def planted(spec: SparseHead) -> list[Claim]:
    """F1 of the support and the generalisation gap, at a strength that held-out loss alone has chosen."""
    generator = torch.Generator().manual_seed(spec.seed)
    support = _supports(spec, generator)
    train, held_out = (_views(spec, support, n, generator) for n in (spec.train, spec.held_out))
    strengths = (0.0, *sorted(spec.strengths))
    heads = _trained(spec, strengths, train, generator)  # [S, M, out, width]
    losses = torch.stack([_losses(spec, heads, views) for views in (train, held_out)])
    gap, f1 = losses[1] - losses[0], _f1(heads, support)
    taken = _strongest_near_best(losses[1], spec.within)
    gap_taken, f1_taken = (v.gather(1, taken)[:, 0] for v in (gap, f1))
    chosen = sorted({strengths[i] for i in taken.flatten().tolist()})
    how = f"strength taken by held-out loss ({', '.join(f'{s:g}' for s in chosen)})"
    return [
        with_curve(
            at_least(f"F1 of the support at the {how}", f1_taken, spec.expect.f1_at_least),
            f1,
            strengths,
            by="strength",
        ),
        with_curve(
            at_most(
                "held-out minus train loss there, over the same without penalty",
                torch.where(gap[:, 0] > 0, gap_taken / gap[:, 0], torch.nan),
                spec.expect.gap_at_most,
            ),
            gap,
            strengths,
            by="strength",
        ),
    ]


def _supports(spec: SparseHead, generator: torch.Generator) -> Tensor:
    """Which features [S, width] are relevant."""
    order = torch.rand(spec.seeds, spec.width, generator=generator).argsort(dim=1)
    return order < spec.relevant


def _views(spec: SparseHead, support: Tensor, count: int, generator: torch.Generator) -> Views:
    """Features [S, count, width] of both views; relevant ones have deviation sqrt(1 + noise^2)."""
    shape = (spec.seeds, count, spec.width)
    shared, first, second = (torch.randn(shape, generator=generator) for _ in range(3))
    both = support.unsqueeze(1)
    return (
        torch.where(both, shared + spec.noise * first, first),
        torch.where(both, shared + spec.noise * second, second),
    )


def _trained(
    spec: SparseHead, strengths: tuple[float, ...], views: Views, generator: torch.Generator
) -> Tensor:
    """Heads [S, M, out, width]; those of a seed start alike and see the same batches."""
    shape = (spec.seeds, 1, spec.out, spec.width)
    start = torch.randn(shape, generator=generator) / math.sqrt(spec.width)
    w = start.repeat(1, len(strengths), 1, 1)
    norm = torch.linalg.matrix_norm(w, keepdim=True)
    gradient = _over_heads(torch.func.grad(_loss_at(spec.temperature)))
    for _ in range(spec.steps):
        rows = torch.randperm(spec.train, generator=generator)[: spec.batch]
        w = w - spec.lr * gradient(w, views[0][:, rows], views[1][:, rows])
        for place, strength in enumerate(strengths):
            columns = w[:, place].transpose(0, 1).reshape(spec.out, -1)  # of all seeds, side by side
            proximal_step_(columns, "l21", spec.lr * strength)
            w[:, place] = columns.reshape(spec.out, spec.seeds, spec.width).transpose(0, 1)
        w = w * (norm / torch.linalg.matrix_norm(w, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny))
    return w


def _losses(spec: SparseHead, heads: Tensor, views: Views) -> Tensor:
    """Mean InfoNCE [S, M] over batches of the same size, so that train and held-out can be compared."""
    loss = _over_heads(_loss_at(spec.temperature))
    starts = range(0, views[0].shape[1] - spec.batch + 1, spec.batch)
    parts = [loss(heads, *(v[:, i : i + spec.batch] for v in views)) for i in starts]
    return torch.stack(parts).mean(0)


def _loss_at(temperature: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def loss(w: Tensor, h1: Tensor, h2: Tensor) -> Tensor:
        # All at once: torch.func does not go into chunks.
        return info_nce(
            h1 @ w.T, h2 @ w.T, temperature=temperature, negatives="other_view", chunk=h1.shape[0]
        )

    return loss


def _over_heads(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of one head, to heads [S, M, out, width] and views [S, N, width]."""
    over_strengths = torch.func.vmap(function, in_dims=(0, None, None))
    over_seeds: Callable[..., Tensor] = torch.func.vmap(over_strengths)
    return over_seeds


def _f1(heads: Tensor, support: Tensor) -> Tensor:
    """F1 [S, M] of the columns that are not exactly zero, as a guess of ``support`` [S, width]."""
    active = (heads != 0).any(dim=2)
    hits = (active & support.unsqueeze(1)).sum(-1)
    return 2 * hits / (active.sum(-1) + support.sum(-1, keepdim=True))


def _strongest_near_best(held_out: Tensor, within: float) -> Tensor:
    """Place [S, 1] of the strongest penalty whose loss is at most (1 + within) times the lowest."""
    near = held_out <= held_out.amin(1, keepdim=True) * (1 + within)
    places = torch.arange(held_out.shape[1])
    return torch.where(near, places, 0).amax(1, keepdim=True)
