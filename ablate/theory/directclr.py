"""The toy experiments of DirectCLR (Jing et al., arXiv 2110.09348): why linear layers collapse.

Read in the paper: Eq. 2, the theorems, the Gaussian data with block augmentation, 16 x 16 layers. Read in its
code: 10,000 images, batches of 128, the start U diag(exp(-0.35 i)) V. Ours: the number of steps and learning
rate of the one-layer toy, which the code runs with another loss, and the start of the depth sweep.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ablate.measure.spectrum import rank_of
from ablate.spec.theory import DirectCLRDepth, DirectCLROneLayer, DirectCLRTwoLayers
from ablate.theory.claim import Claim, at_least, at_most, falls
from ablate.theory.linear_net import Gradient, Layers, Pairs, orthogonal, spectrum, train
from ablate.theory.toy_losses import dot_product_gradient, eq2_gradient, eq2_weights


def one_layer(spec: DirectCLROneLayer) -> list[Claim]:
    """Theorem 1: where augmentation is strong, X has negative eigenvalues and W loses those directions."""
    generator = torch.Generator().manual_seed(spec.seed)
    variances = [spec.strong] * spec.seeds + [spec.weak] * spec.seeds
    pairs = _pairs(spec, variances, generator)
    start = torch.randn(spec.seeds, spec.width, spec.width, generator=generator) / math.sqrt(spec.width)
    start = start.repeat(2, 1, 1)
    x1, x2 = pairs.draw()
    lowest = torch.linalg.eigvalsh(force(x1, x2, eq2_weights(x1 @ start.mT, x2 @ start.mT)))[:, 0]
    [w] = train([start], pairs, eq2_gradient, steps=spec.steps, lr=spec.lr)
    kept = spec.width - spec.augmented
    ratio = _mean_singular(w[:, :, kept:]) / _mean_singular(w[:, :, :kept])
    strong, weak = slice(None, spec.seeds), slice(spec.seeds, None)
    ratio_of = "augmented to other dimensions, ratio of mean singular values of W"
    return [
        at_most(f"k = {spec.strong:g}: smallest eigenvalue of X at the start", lowest[strong], 0.0),
        at_least(f"k = {spec.weak:g}: smallest eigenvalue of X at the start", lowest[weak], 0.0),
        at_most(f"k = {spec.strong:g}: {ratio_of}", ratio[strong], spec.expect.strong_at_most),
        at_least(f"k = {spec.weak:g}: {ratio_of}", ratio[weak], spec.expect.weak_at_least),
    ]


def force(x1: Tensor, x2: Tensor, alpha: Tensor) -> Tensor:
    """X = S0 - S1 [..., D, D] over the number of rows, so that one layer's gradient of Eq. 2 is -W X.

    S0 = sum_ij alpha_ij (x_i - x_j)(x_i - x_j)^T and S1 = sum_i (1 - alpha_ii)(x_i' - x_i)(x_i' - x_i)^T, for
    views x1, x2 [..., N, D] and Eq. 2's softmax alpha [..., N, N].
    """
    positive = alpha.diagonal(dim1=-2, dim2=-1)
    off = alpha.diagonal_scatter(torch.zeros_like(positive), dim1=-2, dim2=-1)
    weights = (off.sum(-1) + off.sum(-2)).unsqueeze(-1)
    cross = x1.mT @ off @ x1
    apart = x1.mT @ (weights * x1) - cross - cross.mT
    step = x2 - x1
    together = step.mT @ ((1 - positive).unsqueeze(-1) * step)
    return (apart - together) / x1.shape[-2]


def two_layers(spec: DirectCLRTwoLayers) -> list[Claim]:
    """Theorems 2 and 3 with Eq. 2, and the warning: with the released code's loss they do not hold."""
    expect = spec.expect
    dot = partial(dot_product_gradient, temperature=spec.temperature)
    start, _, end = _two_trained(spec, eq2_gradient)
    _, dot_early, dot_end = _two_trained(spec, dot)
    middle = spectrum(end)[:, spec.width // 2 - 1]
    matched = at_least("cos(W1 W1^T, W2^T W2) at the end", match(end), expect.match_at_least)
    grown, growth = spec.grown, _ranks(dot_end) - _ranks(dot_early)
    return [
        at_most(f"effective rank of z, of {spec.width}", _ranks(end), expect.rank_at_most),
        _with_start(matched, match(start)),
        at_least(
            f"alignment: overlap of the {grown} leading directions of W1's outputs and W2's inputs",
            overlap(end, grown),
            expect.overlap_at_least,
        ),
        at_least(
            f"alignment: mean |A_kk| of the {grown} leading directions",
            alignment(end)[:, :grown].mean(),
            expect.alignment_at_least,
            each="mean of seeds",
        ),
        at_most(
            f"small ones stay small: eigenvalue {spec.width // 2} of z's covariance",
            middle,
            expect.small_at_most,
        ),
        at_most(
            f"warning: with the dot-product loss, the same mean |A_kk| of {grown}",
            alignment(dot_end)[:, :grown].mean(),
            expect.dot_alignment_at_most,
            each="mean of seeds",
        ),
        at_least(
            f"warning: with it the effective rank rises, from step {spec.early} on by",
            growth,
            expect.dot_rank_grows_by,
        ),
    ]


def depth(spec: DirectCLRDepth) -> list[Claim]:
    """The same product P at the start, in 1 to L layers: the rank that is left after equal training."""
    ranks, first = [], torch.zeros(0)
    for count in range(1, spec.layers + 1):
        generator = torch.Generator().manual_seed(spec.seed)
        pairs = _pairs(spec, [spec.k] * spec.seeds, generator)
        layers = _split(spec, count, generator)
        first = _ranks(layers)
        ranks.append(_ranks(train(layers, pairs, eq2_gradient, steps=spec.steps, lr=spec.lr)))
    table = torch.stack(ranks, dim=1)
    return [
        at_least(
            "one layer does not collapse: effective rank of z, end - start",
            table[:, 0] - first,
            spec.expect.one_layer_grows_by,
        ),
        falls(
            f"more layers, more collapse: effective rank of z after {spec.steps} steps, by layers "
            f"(all start from {first.mean():.3g})",
            table,
            range(1, spec.layers + 1),
            by=spec.expect.each_layer_costs,
        ),
    ]


def match(layers: Layers) -> Tensor:
    """cos(W1 W1^T, W2^T W2) [S], which does not depend on how equal singular values are told apart."""
    first, second = layers[0] @ layers[0].mT, layers[1].mT @ layers[1]
    norms: Tensor = torch.linalg.matrix_norm(first) * torch.linalg.matrix_norm(second)
    return (first * second).sum((-1, -2)) / norms


def alignment(layers: Layers) -> Tensor:
    """|A_kk| [S, width] of A = V2^T U1: the k-th output direction of W1 against W2's k-th input direction."""
    return _crossed(layers).diagonal(dim1=-2, dim2=-1).abs()


def overlap(layers: Layers, count: int) -> Tensor:
    """Mean squared cosine [S], 0 to 1, between the two spans of the ``count`` leading directions.

    Unlike |A_kk| it does not suffer where two of these have nearly the same singular value, and are mixed.
    """
    return _crossed(layers)[:, :count, :count].square().sum((-1, -2)) / count


def _crossed(layers: Layers) -> Tensor:
    """A = V2^T U1 [S, width, width]."""
    inputs, outputs = torch.linalg.svd(layers[1])[2], torch.linalg.svd(layers[0])[0]
    crossed: Tensor = inputs @ outputs
    return crossed


def _two_trained(spec: DirectCLRTwoLayers, gradient: Gradient) -> tuple[Layers, Layers, Layers]:
    """The two layers at the start, at step ``early`` and at the end."""
    generator = torch.Generator().manual_seed(spec.seed)
    pairs = _pairs(spec, [spec.k] * spec.seeds, generator)
    values = torch.exp(-spec.decay * torch.arange(spec.width))
    turns = [orthogonal(spec.seeds, spec.width, generator) for _ in range(4)]
    start = [(turns[0] * values) @ turns[1], (turns[2] * values) @ turns[3]]
    early = train(start, pairs, gradient, steps=spec.early, lr=spec.lr)
    return start, early, train(early, pairs, gradient, steps=spec.steps - spec.early, lr=spec.lr)


def _split(spec: DirectCLRDepth, count: int, generator: torch.Generator) -> Layers:
    """``count`` aligned and balanced layers whose product has the same singular values for every count."""
    whole = torch.logspace(math.log10(spec.largest), math.log10(spec.smallest), spec.width)
    turns = [orthogonal(spec.seeds, spec.width, generator) for _ in range(count + 1)]
    return [(turns[i + 1] * whole ** (1 / count)) @ turns[i].mT for i in range(count)]


def _pairs(
    spec: DirectCLROneLayer | DirectCLRTwoLayers | DirectCLRDepth,
    variances: list[float],
    generator: torch.Generator,
) -> Pairs:
    return Pairs(
        [math.sqrt(v) for v in variances],
        samples=spec.samples,
        batch=spec.batch,
        width=spec.width,
        augmented=spec.augmented,
        generator=generator,
    )


def _ranks(layers: Layers) -> Tensor:
    """Effective rank [S] of z: exp of the entropy of the normalised eigenvalues of its covariance."""
    return torch.tensor([rank_of(values) for values in spectrum(layers)])


def _mean_singular(w: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(w)
    return values.mean(-1)


def _with_start(claim: Claim, start: Tensor) -> Claim:
    return Claim(
        claim.claim,
        claim.expected,
        f"{claim.observed}, from {start.mean():.3g}",
        claim.holds,
        {**claim.numbers, "start": start.tolist()},
    )
