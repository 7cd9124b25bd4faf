"""Deep linear networks under a toy loss: many seeds trained side by side, as batched matrix products.

z = W_L ... W_1 x = P x for both views. A loss sees the product alone, so with G = sum over both views of
g_z^T x, its gradient by P, that of a layer is dL/dW_l = (W_L ... W_{l+1})^T G (W_{l-1} ... W_1)^T: the
equations of DirectCLR's analysis (Jing et al., arXiv 2110.09348), where G is -P X.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Layers = list[Tensor]


class Pairs:
    """Positive pairs: x ~ N(0, I) drawn once, and noise N(0, deviation^2) added anew to each view.

    The noise falls on the last ``augmented`` of ``width`` features. ``deviations``: one value a run [S].
    """

    def __init__(
        self,
        deviations: Sequence[float],
        *,
        samples: int,
        batch: int,
        width: int,
        augmented: int,
        generator: torch.Generator,
    ) -> None:
        self.batch, self.generator = batch, generator
        self.x = torch.randn(len(deviations), samples, width, generator=generator)
        self.deviation = torch.zeros(len(deviations), 1, width)
        self.deviation[:, 0, width - augmented :] = torch.tensor(deviations).unsqueeze(1)

    def draw(self) -> tuple[Tensor, Tensor]:
        """The two views [S, batch, width] of a batch of every run."""
        rows = torch.randint(self.x.shape[1], (self.batch,), generator=self.generator)
        x = self.x[:, rows]
        noise = torch.randn(2, *x.shape, generator=self.generator) * self.deviation
        return x + noise[0], x + noise[1]


def train(layers: Sequence[Tensor], pairs: Pairs, gradient: Gradient, *, steps: int, lr: float) -> Layers:
    """The layers [S, width, width], first to last, after ``steps`` of SGD with rate ``lr``."""
    layers = [w.clone() for w in layers]
    for _ in range(steps):
        x1, x2 = pairs.draw()
        whole = product(layers).mT
        g1, g2 = gradient(x1 @ whole, x2 @ whole)
        by_product = g1.mT @ x1 + g2.mT @ x2
        for w, g in zip(layers, layer_gradients(layers, by_product), strict=True):
            w.sub_(lr * g)
    return layers


def layer_gradients(layers: Sequence[Tensor], by_product: Tensor) -> Layers:
    """dL/dW_l of every layer, from dL/dP [S, width, width]."""
    found = []
    for place in range(len(layers)):
        above, below = layers[place + 1 :], layers[:place]
        g = product(above).mT @ by_product if above else by_product
        found.append(g @ product(below).mT if below else g)
    return found


def product(layers: Sequence[Tensor]) -> Tensor:
    """P = W_L ... W_1."""
    whole = layers[0]
    for w in layers[1:]:
        whole = w @ whole
    return whole


def spectrum(layers: Sequence[Tensor]) -> Tensor:
    """Eigenvalues [S, width] of the embeddings' covariance P P^T for x ~ N(0, I), descending, float64."""
    values: Tensor = torch.linalg.svdvals(product([w.double() for w in layers])).square()
    return values


def orthogonal(
    runs: int, width: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Orthogonal matrices [runs, width, width], uniformly random."""
    q: Tensor
    q, r = torch.linalg.qr(torch.randn(runs, width, width, generator=generator, dtype=torch.float64))
    signs: Tensor = r.diagonal(dim1=-2, dim2=-1).sign()
    return (q * signs.unsqueeze(-2)).to(dtype)
