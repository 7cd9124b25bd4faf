"""A paper's claim as a file: a small computation, its parameters, and the thresholds it must keep.

``ablate theory`` runs these (``ablate.theory``), a file each, and says for every claim what was expected,
what was observed and whether it holds. Thresholds are in the file, under ``expect``: to change one is to
change the claim, and shows. Seeds are independent repetitions, all drawn from the stream of ``seed``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong

Positive = Annotated[float, Field(gt=0)]


class _Check(Spec):
    seeds: int = Field(5, ge=1, le=100, description="independent repetitions")
    seed: int = Field(0, ge=0, description="of the stream that all repetitions are drawn from")


class _GaussianPairs(_Check):
    """Images x ~ N(0, I) of ``width`` features; a view adds noise to the last ``augmented`` of them."""

    width: int = Field(16, ge=2, le=256)
    augmented: int = Field(8, ge=1)
    samples: int = Field(10_000, ge=2, description="images, drawn once")
    batch: int = Field(128, ge=2, description="images a step")

    @model_validator(mode="after")
    def _some_left_alone(self) -> _GaussianPairs:
        if self.augmented >= self.width:
            raise wrong("augmented", f"{self.augmented} must be below width ({self.width})")
        return self


class OneLayerBounds(Spec):
    strong_at_most: float = Field(0.1, gt=0, description="of the ratio, at every seed")
    weak_at_least: float = Field(0.7, gt=0, description="of the ratio, at every seed")


class DirectCLROneLayer(_GaussianPairs):
    """Theorem 1 of DirectCLR: strong augmentation alone makes a linear layer collapse.

    The ratio is the mean singular value of the columns of W of augmented features, over that of the others.
    """

    kind: Literal["directclr-one-layer"] = "directclr-one-layer"
    strong: float = Field(1.5, gt=0, description="k: variance of the noise")
    weak: float = Field(0.01, gt=0, description="k: variance of the noise")
    steps: int = Field(2000, ge=1)
    lr: float = Field(0.3, gt=0)
    expect: OneLayerBounds = OneLayerBounds()


class TwoLayersBounds(Spec):
    rank_at_most: float = Field(5.0, ge=1, description="effective rank of z, at every seed")
    match_at_least: float = Field(0.99, le=1, description="cos(W1 W1^T, W2^T W2), at every seed")
    overlap_at_least: float = Field(0.95, le=1, description="of the grown subspaces, at every seed")
    alignment_at_least: float = Field(0.75, le=1, description="mean |A_kk| of the grown, mean over seeds")
    small_at_most: float = Field(1e-3, gt=0, description="the middle eigenvalue of z's covariance")
    dot_alignment_at_most: float = Field(0.3, ge=0, description="mean |A_kk| of the same, mean over seeds")
    dot_rank_grows_by: float = Field(2.0, ge=0, description="effective rank, from ``early`` to the end")


class DirectCLRTwoLayers(_GaussianPairs):
    """Theorems 2 and 3 of DirectCLR: two linear layers align, and small singular values stay small."""

    kind: Literal["directclr-two-layers"] = "directclr-two-layers"
    k: float = Field(1e-6, gt=0, description="variance of the noise")
    decay: float = Field(0.35, gt=0, description="each W starts as U diag(exp(-decay i)) V")
    steps: int = Field(10_000, ge=2)
    lr: float = Field(0.01, gt=0)
    grown: int = Field(4, ge=1, description="leading directions that alignment is read of")
    temperature: float = Field(0.1, gt=0, description="of the dot-product variant")
    early: int = Field(100, ge=1, description="the step from which that variant's rank is followed")
    expect: TwoLayersBounds = TwoLayersBounds()

    @model_validator(mode="after")
    def _ordered(self) -> DirectCLRTwoLayers:
        if self.early >= self.steps:
            raise wrong("early", f"{self.early} must be below steps ({self.steps})")
        if self.grown > self.width:
            raise wrong("grown", f"{self.grown} must be at most width ({self.width})")
        return self


class DepthBounds(Spec):
    one_layer_grows_by: float = Field(3.0, ge=0, description="effective rank of z, end - start, one layer")
    each_layer_costs: float = Field(0.3, ge=0, description="effective rank, at every seed")


class DirectCLRDepth(_GaussianPairs):
    """More linear layers, more collapse, from the very same map z = P x at the start."""

    kind: Literal["directclr-depth"] = "directclr-depth"
    k: float = Field(0.01, gt=0, description="variance of the noise")
    layers: int = Field(4, ge=2, le=8, description="depths 1 to this")
    largest: float = Field(0.3, gt=0, description="singular value of P at the start")
    smallest: float = Field(0.03, gt=0, description="singular value of P at the start")
    steps: int = Field(1000, ge=1)
    lr: float = Field(0.02, gt=0)
    expect: DepthBounds = DepthBounds()


class XueBounds(Spec):
    error_at_most: float = Field(1e-3, gt=0, description="of every weight")


class XueLinear(_Check):
    """Feature weights of a deep linear network under the spectral contrastive loss, layer by layer."""

    kind: Literal["xue-linear"] = "xue-linear"
    phi: Annotated[tuple[Positive, ...], Field(strict=False, min_length=2)] = Field(
        (1.0, 1.0, 1.0, 0.5, 2.0, 1.5), description="strength of each input feature"
    )
    a: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False, min_length=2)] = Field(
        (1.0, 0.5, 0.25, 1.0, 0.5, 0.36), description="what augmentation leaves of each feature"
    )
    layers: int = Field(3, ge=2, le=6, description="of the second network; the first has two")
    scale: float = Field(0.04, gt=0, description="of the whole map at the start")
    spread: float = Field(0.05, ge=0, description="deviation of log singular values at the start")
    steps: int = Field(8000, ge=1)
    lr: float = Field(0.005, gt=0)
    expect: XueBounds = XueBounds()

    @model_validator(mode="after")
    def _paired(self) -> XueLinear:
        if len(self.a) != len(self.phi):
            raise wrong("a", f"holds {len(self.a)} values for {len(self.phi)} features (phi)")
        return self


class SparseHeadBounds(Spec):
    f1_at_least: float = Field(0.9, ge=0, le=1, description="of the support, at every seed")
    gap_at_most: float = Field(0.5, gt=0, description="of the gap without penalty, at every seed")


class SparseHead(_Check):
    """Planted data: only ``relevant`` of ``width`` features are shared by the two views of an image."""

    kind: Literal["sparsehead"] = "sparsehead"
    width: int = Field(48, ge=2)
    relevant: int = Field(6, ge=1)
    noise: float = Field(0.3, ge=0, description="of each view, on the relevant features of deviation 1")
    out: int = Field(16, ge=1)
    train: int = Field(256, ge=2)
    held_out: int = Field(512, ge=2)
    batch: int = Field(128, ge=2)
    temperature: float = Field(0.2, gt=0)
    strengths: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] = Field(
        (0.01, 0.03, 0.1, 0.2, 0.3, 0.5), description="lambda; 0 is run besides"
    )
    within: float = Field(
        0.02, ge=0, description="taken: the strongest whose held-out loss is so near the lowest, relatively"
    )
    steps: int = Field(400, ge=1)
    lr: float = Field(0.3, gt=0)
    expect: SparseHeadBounds = SparseHeadBounds()

    @model_validator(mode="after")
    def _fits(self) -> SparseHead:
        if self.relevant >= self.width:
            raise wrong("relevant", f"{self.relevant} must be below width ({self.width})")
        for name in ("train", "held_out"):
            if getattr(self, name) < self.batch:
                raise wrong(name, f"{getattr(self, name)} must be at least batch ({self.batch})")
        return self


class BilevelBounds(Spec):
    gap_ratio_at_most: float = Field(0.5, gt=0, description="at the most inner steps / at the fewest")
    difference_at_most: float = Field(1e-2, gt=0, description="relative, after the most unrolled steps")


class Bilevel(_Check):
    """The head as an inner problem: a linear head with weight decay over a one-layer tanh encoder."""

    kind: Literal["bilevel"] = "bilevel"
    images: int = Field(32, ge=2, description="a batch")
    inputs: int = Field(12, ge=2)
    augmented: int = Field(4, ge=1, description="inputs with noise of deviation 1; the rest: 0.2")
    width: int = Field(4, ge=1, description="of h")
    out: int = Field(8, ge=1, description="of z; below ``width`` the head has saddles")
    weight_decay: float = Field(0.1, gt=0, description="of the head, at both levels")
    inner_lr: float = Field(1.0, gt=0)
    outer_lr: float = Field(0.5, gt=0)
    outer_steps: int = Field(100, ge=1)
    measured_every: int = Field(10, ge=1, description="outer steps")
    extra: int = Field(100, ge=1, description="inner steps that the gap is measured against")
    inner_steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=2)] = (
        Field((0, 1, 2, 5, 10, 20), description="K, rising")
    )
    unrolled: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=2)] = Field(
        (10, 30, 100, 300), description="K, rising, that the gradient is unrolled through"
    )
    expect: BilevelBounds = BilevelBounds()

    @model_validator(mode="after")
    def _ordered(self) -> Bilevel:
        for name in ("inner_steps", "unrolled"):
            steps = getattr(self, name)
            if list(steps) != sorted(set(steps)):
                raise wrong(name, f"found {list(steps)}, must rise")
        if self.augmented >= self.inputs:
            raise wrong("augmented", f"{self.augmented} must be below inputs ({self.inputs})")
        if self.measured_every > self.outer_steps:
            raise wrong("measured_every", f"must be at most outer_steps ({self.outer_steps})")
        return self


class MarginsBounds(Spec):
    error_at_most: float = Field(1e-6, gt=0, description="relative, of every anchor")


class Margins(_Check):
    """A and B, the factors of a margin's gradient, against autograd, an anchor at a time."""

    kind: Literal["margins"] = "margins"
    anchors: int = Field(32, ge=2)
    negatives: int = Field(64, ge=1, description="rows of the queue")
    width: int = Field(16, ge=2)
    angular: Annotated[tuple[Annotated[float, Field(ge=0, le=1.5)], ...], Field(strict=False)] = (
        0.0, 0.2, 0.5,
    )  # fmt: skip
    subtractive: Annotated[tuple[Annotated[float, Field(ge=-1, le=1)], ...], Field(strict=False)] = (0.0, 0.2)
    temperatures: Annotated[tuple[Positive, ...], Field(strict=False)] = (0.1, 0.5)
    expect: MarginsBounds = MarginsBounds()


CheckSpec = Annotated[
    DirectCLROneLayer | DirectCLRTwoLayers | DirectCLRDepth | XueLinear | SparseHead | Bilevel | Margins,
    Field(discriminator="kind"),
]


class TheorySpec(Spec):
    """A file of ``ablate theory``."""

    name: str = Field(min_length=1, max_length=80)
    question: str = Field(min_length=1, description="printed with the answer")
    check: CheckSpec
