"""Linear and k-NN probes of frozen features.

The linear probe is multinomial logistic regression on features divided by one global scale. Scaling each
feature by its own deviation would undo any diagonal head (a fixed reweighting head would look like none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


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
        return torch.addmm(self.bias, x, self.weight.T).argmax(1)


def fit_logistic(
    features: Tensor, labels: Tensor, *, classes: int, l2: float, start: LinearProbe | None = None
) -> LinearProbe:
    """Minimise mean cross-entropy + l2/2 |W|^2 by L-BFGS, in float64; the bias is not penalised.

    ``start`` is a probe of the same features to begin from: the optimum is the same, found sooner.
    """
    x = features.to(torch.float64)
    shift = x.mean(0)
    x = x - shift
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    x = x / scale
    shape = (classes, x.shape[1])
    weight = start.weight.clone() if start else torch.zeros(shape, dtype=x.dtype, device=x.device)
    bias = start.bias.clone() if start else torch.zeros(classes, dtype=x.dtype, device=x.device)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=200, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(torch.addmm(bias, x, weight.T), labels) + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[arg-type]
    return LinearProbe(weight.detach(), bias.detach(), shift, scale, l2)


def fit_probe(
    features: Tensor, labels: Tensor, *, classes: int, l2_choices: Sequence[float], seed: int
) -> LinearProbe:
    """Choose L2 on an inner 80/20 split of the training features [N, D], then fit on all of them.

    Ties go to the stronger penalty.
    """
    choices = sorted(l2_choices, reverse=True)
    best, probe = choices[0], None
    if len(choices) > 1:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
        held, kept = order[: len(order) // 5], order[len(order) // 5 :]
        best_score = -1.0
        for l2 in choices:
            probe = fit_logistic(features[kept], labels[kept], classes=classes, l2=l2, start=probe)
            score = accuracy(probe.predict(features[held]) == labels[held])
            if score > best_score:
                best, best_score = l2, score
    return fit_logistic(features, labels, classes=classes, l2=best)


def knn_predict(
    train: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int, chunk: int = 4096
) -> Tensor:
    """Weighted k-NN by cosine similarity, votes exp(similarity / 0.07) (Wu et al., arXiv 1805.01978): [N]."""
    bank = normalize(train, dim=1)
    k = min(k, len(bank))
    predicted = []
    for part in normalize(queries, dim=1).split(chunk):
        similarity, nearest = (part @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(part), classes, device=part.device, dtype=part.dtype)
        votes.scatter_add_(1, labels[nearest], torch.exp((similarity - 1) / 0.07))
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def accuracy(correct: Tensor) -> float:
    """Share of true entries."""
    return float(correct.double().mean())
