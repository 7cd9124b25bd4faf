"""Linear and k-NN probes of frozen features.

The linear probe is multinomial logistic regression on features divided by one global scale. Scaling each
feature by its own deviation would undo any diagonal head (a fixed reweighting head would look like none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe; ``shift`` [D] and ``scale`` come from its training features."""

    weight: Tensor  # [C, D]
    bias: Tensor  # [C]
    shift: Tensor
    scale: Tensor
    l2: float

    def predict(self, features: Tensor) -> Tensor:
        """Classes [N] of features [N, D]."""
        x = (features.to(self.weight.dtype) - self.shift) / self.scale
        classes: Tensor = torch.addmm(self.bias, x, self.weight.T).argmax(1)
        return classes


def fit_probe(
    features: Tensor, labels: Tensor, *, classes: int, l2_choices: Sequence[float], seed: int = 0
) -> LinearProbe:
    """Minimise mean cross-entropy + l2/2 |W|^2 over features [N, D] and labels [N]; the bias is free.

    L2 is chosen by accuracy on an inner 80/20 split drawn from ``seed``, then the probe is fitted to all;
    ties go to the stronger penalty. In float64, by L-BFGS.
    """
    x = features.to(torch.float64)
    shift = x.mean(0)
    x = x - shift
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    # A component of W outside the row space costs L2 and changes nothing: leaving it out keeps the optimum
    # and is cheaper where features are many or redundant, as pixels are.
    basis = _row_space(x)
    x = x / scale @ basis
    l2 = _choose_l2(x, labels, classes, l2_choices, seed) if len(l2_choices) > 1 else l2_choices[0]
    weight, bias = _solve(x, labels, l2, _start(x, classes))
    return LinearProbe(weight @ basis.T, bias, shift, scale, l2)


def _row_space(x: Tensor) -> Tensor:
    """Orthonormal basis [D, r] of the directions in which centred rows [N, D] vary; r = 0 if none."""
    wide = x.shape[1] > x.shape[0]  # then the N x N product has the same spectrum and is the smaller one
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    seen = values > 1e-12 * values[-1]
    basis: Tensor = x.T @ (vectors[:, seen] / values[seen].sqrt()) if wide else vectors[:, seen]
    return basis


def _choose_l2(x: Tensor, labels: Tensor, classes: int, choices: Sequence[float], seed: int) -> float:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    scores: dict[float, float] = {}
    solution = _start(x, classes)
    for l2 in sorted(choices, reverse=True):
        # Each from the last, which is near; to rank penalties a rough optimum is enough.
        solution = _solve(x[kept], labels[kept], l2, solution, tolerance=1e-3)
        guess = torch.addmm(solution[1], x[held], solution[0].T).argmax(1)
        scores[l2] = accuracy(guess == labels[held])
    return max(scores, key=lambda l2: scores[l2])


def _start(x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    return x.new_zeros(classes, x.shape[1]), x.new_zeros(classes)


@torch.no_grad()
def _solve(
    x: Tensor, labels: Tensor, l2: float, start: tuple[Tensor, Tensor], *, tolerance: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] where no entry of the gradient exceeds ``tolerance``, in units of ``unit``.

    Each feature is scaled so that the curvature along it is about 1: of the cross-entropy where all classes
    are as likely, plus that of the penalty. The optimum stays where it is and takes a fifth of the steps.
    """
    classes = len(start[1])
    curvature = (classes - 1) / classes**2
    unit, bias_unit = (curvature * x.square().mean(0) + l2).rsqrt(), curvature**-0.5
    x = x * unit
    weight, bias = start[0] / unit, start[1] / bias_unit
    truth = one_hot(labels, classes).to(x.dtype)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=400,
        history_size=10,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        # The gradient in closed form: autograd would cost as much again.
        w = weight * unit
        log_p = torch.addmm(bias * bias_unit, x, weight.T).log_softmax(1)
        error = (log_p.exp() - truth) / len(x)
        weight.grad, bias.grad = error.T @ x + l2 * unit * w, bias_unit * error.sum(0)
        return l2 / 2 * w.square().sum() - (log_p * truth).sum() / len(x)

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight * unit, bias * bias_unit


def knn_predict(
    train: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int, chunk: int = 4096
) -> Tensor:
    """Weighted k-NN by cosine similarity, votes exp(similarity / 0.07) (Wu et al., arXiv 1805.01978): [N]."""
    bank = normalize(train, dim=1)
    k = min(k, len(bank))
    predicted = []
    for part in torch.split(normalize(queries, dim=1), chunk):
        similarity, nearest = (part @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(part), classes, device=part.device, dtype=part.dtype)
        votes.scatter_add_(1, labels[nearest], torch.exp((similarity - 1) / 0.07))
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def accuracy(correct: Tensor) -> float:
    """Share of true entries."""
    return float(correct.double().mean())
