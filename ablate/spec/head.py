"""Projection heads: ``h`` -> embedding ``z``; a discriminated union on ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong


class Sparsity(Spec):
    """SparseHead (Song et al., arXiv 2307.08913): a penalty on the weights of the head's linear layers.

    The paper's norm and strength could not be read, so the family is offered. Strength is either
    ``weight`` (the paper's lambda) or ``shrink``: the total proximal shrinkage over the run, measured in
    median group norms at the start, from which lambda is derived and logged.
    """

    penalty: Literal["l1", "l21", "l21-out", "l2", "hoyer"] = Field(
        description="l1: entries; l21: input features (columns); l21-out: output features (rows); "
        "l2: squares, not sparse; hoyer: l1/l2 ratio"
    )
    scale_free: bool = Field(False, description="penalise W / ||W||_F instead of W")
    reduction: Literal["sum", "mean"] = "sum"
    step: Literal["proximal", "gradient", "uniform"] = Field(
        "proximal",
        description="proximal: exact zeros after each optimiser step; gradient: part of the loss; uniform: "
        "the matched control, each layer scaled to the norm that the proximal step would leave it",
    )
    weight: float | None = Field(None, ge=0)
    shrink: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Sparsity:
        if (self.weight is None) == (self.shrink is None):
            raise ValueError("give exactly one of weight and shrink")
        smooth = self.penalty == "hoyer" or self.scale_free
        if smooth and self.step != "gradient":
            raise wrong(
                "step", "hoyer and scale-free penalties have no proximal step here; use step: gradient"
            )
        if (smooth or self.penalty == "l2") and self.shrink is not None:
            raise wrong(
                "shrink", "it measures proximal shrinkage; l2, hoyer and scale-free penalties need weight"
            )
        return self


class NoHead(Spec):
    """z = h."""

    kind: Literal["none"] = "none"


class LinearHead(Spec):
    """z = W h (+ b)."""

    kind: Literal["linear"] = "linear"
    out: int = Field(64, ge=2, le=8192)
    bias: bool = False
    sparsity: Sparsity | None = None


class MLPHead(Spec):
    """``depth`` linear layers with ReLU (and batch norm if asked) between them."""

    kind: Literal["mlp"] = "mlp"
    depth: int = Field(2, ge=1, le=8, description="number of linear layers")
    hidden: int = Field(128, ge=2, le=8192)
    out: int = Field(64, ge=2, le=8192)
    norm: Literal["none", "batch"] = "batch"
    norm_last: bool = Field(False, description="batch norm after the last layer too, as SimCLR does")
    sparsity: Sparsity | None = None


class DirectCLRHead(Spec):
    """z = h[:, :subvector] (Jing et al., arXiv 2110.09348). No parameters."""

    kind: Literal["directclr"] = "directclr"
    subvector: int = Field(ge=1, le=8192)


class RandomSubvectorHead(Spec):
    """z = a subset of the features, drawn anew at each training step (Jing et al.'s control to DirectCLR).

    In eval mode z is the first ``subvector`` features: to a loss that treats all features alike one subset is
    as good as another, and this one needs no draw.
    """

    kind: Literal["random-subvector"] = "random-subvector"
    subvector: int = Field(ge=1, le=8192)


class DiagonalHead(Spec):
    """z_i = w_i h_i, w trained from ones (Jing et al., arXiv 2110.09348, proposition 1)."""

    kind: Literal["diagonal"] = "diagonal"
    sparsity: Sparsity | None = None


class OrthogonalHead(Spec):
    """z = Q h, Q a trained rotation (Jing et al.: all singular values 1). Every cosine stays as it was."""

    kind: Literal["orthogonal"] = "orthogonal"


class LowRankHead(Spec):
    """z = U diag(1, ..., 1, 0, ..., 0) V^T h, U and V fixed and orthogonal (Jing et al., proposition 2)."""

    kind: Literal["low-rank"] = "low-rank"
    rank: int = Field(ge=1, le=8192, description="number of ones, the paper's d0")


class ReweightingHead(Spec):
    """z_i = h_i / kappa^i, i from 0 (Xue et al., arXiv 2403.11391). No parameters."""

    kind: Literal["reweighting"] = "reweighting"
    kappa: float = Field(ge=1, le=10, description="1: z = h")


class IdentityMLPHead(Spec):
    """A square MLP that starts as the identity, with symmetric ReLU (Xue et al.'s code; see model/heads).

    sigma_b(x) = ReLU(x - b) - ReLU(-x - b), with one trained b, 0 at the start, between any two layers.
    """

    kind: Literal["identity-mlp"] = "identity-mlp"
    depth: int = Field(2, ge=1, le=8, description="number of linear layers")
    bias: bool = True
    sparsity: Sparsity | None = None

    @model_validator(mode="after")
    def _shrink_has_a_unit(self) -> IdentityMLPHead:
        if self.sparsity and self.sparsity.penalty == "l1" and self.sparsity.shrink is not None:
            raise wrong(
                "sparsity.shrink",
                "is measured in the median entry at the start, which is 0 in an identity; use weight, or "
                "penalty: l21",
            )
        return self


class FrozenHead(Spec):
    """The trained head of a finished trial, with no training and its batch norms' running statistics."""

    kind: Literal["frozen"] = "frozen"
    path: str = Field(description="the trial's artifact folder, with spec.json and head.pt")
    digest: str = Field(pattern="^[0-9a-f]{16}$", description="first 16 digits of the SHA-256 of its head.pt")


HeadSpec = Annotated[
    NoHead
    | LinearHead
    | MLPHead
    | DirectCLRHead
    | RandomSubvectorHead
    | DiagonalHead
    | OrthogonalHead
    | LowRankHead
    | ReweightingHead
    | IdentityMLPHead
    | FrozenHead,
    Field(discriminator="kind"),
]

# Nothing in these is trained.
HEADS_WITHOUT_WEIGHTS = ("none", "directclr", "random-subvector", "low-rank", "reweighting", "frozen")
