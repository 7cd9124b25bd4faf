"""Feature weights in a deep linear network under the spectral contrastive loss (Xue et al., 2403.11391).

The paper's own theorems could not be read; this form is derived from what was read about it: x = sum_i z_i
v_i with orthonormal v_i, z_i = +-phi_i independent, E[z_i z_i+] = a_i phi_i^2 over the augmentation, and
L = -2 E[f(x).f(x+)] + E[(f(x).f(x-))^2] with f = W_L ... W_1 x. In the v basis, with P = W_L ... W_1,

    L = -2 sum_i a_i phi_i^2 |P v_i|^2 + |P diag(phi^2) P^T|_F^2.

Derived: from a balanced start the optimum reached has |P v_i| = sqrt(a_i) / phi_i, and after k of the L
layers that to the power k / L: every ratio of feature weights grows with depth, so that features are more
equal before the head than after it. Between features i and j, the representation before the head (one of two
layers) favours i more than the one after it exactly if phi_i / phi_j > sqrt(a_i / a_j).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.spec.theory import XueLinear
from ablate.theory.claim import Claim, at_most
from ablate.theory.linear_net import Layers, layer_gradients, orthogonal, product

_TIE = 1e-2  # relative: where theory says that two features tie, the sign of their difference says nothing


def linear(spec: XueLinear) -> list[Claim]:
    """Weights after each layer of a two-layer network and of a deeper one, against theory."""
    phi, a = (torch.tensor(v, dtype=torch.float64) for v in (spec.phi, spec.a))
    theory = a.sqrt() / phi
    two, deep = trained(spec, phi, a, 2), trained(spec, phi, a, spec.layers)
    bound = spec.expect.error_at_most
    deeper = torch.stack([_off(deep, k, theory) for k in range(1, spec.layers + 1)]).amax(0)
    return [
        at_most(
            "post weight |W2 W1 v_i| against sqrt(a_i) / phi_i, largest error", _off(two, 2, theory), bound
        ),
        at_most("pre weight |W1 v_i| against its square root, largest error", _off(two, 1, theory), bound),
        at_most(
            f"{spec.layers} layers: after k of them the power k / {spec.layers}, largest error", deeper, bound
        ),
        at_most(
            "pairs i, j where not (pre favours i more than post exactly if phi_i / phi_j > sqrt(a_i / a_j))",
            _misjudged(two, phi, a),
            0.0,
        ),
    ]


def loss(whole: Tensor, phi: Tensor, a: Tensor) -> Tensor:
    """The population loss [...] of P [..., d, D] in the basis of the features, for phi and a [D]."""
    norms = whole.square().sum(-2)
    gram = whole.mT @ whole
    outer = phi.square().unsqueeze(-1) * phi.square()
    return -2 * (a * phi.square() * norms).sum(-1) + (outer * gram.square()).sum((-1, -2))


def loss_gradient(whole: Tensor, phi: Tensor, a: Tensor) -> Tensor:
    """Of ``loss`` by P: -4 P diag(a phi^2) + 4 P diag(phi^2) P^T P diag(phi^2)."""
    scaled = whole * phi.square()
    return 4 * (scaled @ whole.mT @ scaled) - 4 * whole * (a * phi.square())


def trained(spec: XueLinear, phi: Tensor, a: Tensor, count: int) -> Layers:
    """Gradient descent from a balanced start, W_l = Q_(l+1) diag(s) Q_l^T: W_l W_l^T = W_(l+1)^T W_(l+1)."""
    generator = torch.Generator().manual_seed(spec.seed)
    turns = [orthogonal(spec.seeds, len(phi), generator, dtype=phi.dtype) for _ in range(count + 1)]
    logs = torch.randn(spec.seeds, 1, len(phi), generator=generator, dtype=torch.float64)
    values = (spec.scale * torch.exp(spec.spread * logs)) ** (1 / count)
    layers = [(turns[i + 1] * values) @ turns[i].mT for i in range(count)]
    for _ in range(spec.steps):
        gradients = layer_gradients(layers, loss_gradient(product(layers), phi, a))
        layers = [w - spec.lr * g for w, g in zip(layers, gradients, strict=True)]
    return layers


def weights(layers: Layers, count: int) -> Tensor:
    """|W_count ... W_1 v_i| [S, D]."""
    norms: Tensor = torch.linalg.vector_norm(product(layers[:count]), dim=-2)
    return norms


def _off(layers: Layers, count: int, theory: Tensor) -> Tensor:
    return (weights(layers, count) - theory ** (count / len(layers))).abs().amax(-1)


def _misjudged(two: Layers, phi: Tensor, a: Tensor) -> Tensor:
    """Pairs a seed in which the sign is not the predicted one [S]."""
    pre, post = phi * weights(two, 1), phi * weights(two, 2)  # strengths within h and z
    observed = _ratios((pre / post).log())
    predicted = _ratios((phi / a.sqrt()).log())
    apart = predicted.abs() > _TIE
    return ((observed.sign() != predicted.sign()) & apart).sum((-1, -2)).double()


def _ratios(logs: Tensor) -> Tensor:
    return logs.unsqueeze(-1) - logs.unsqueeze(-2)
