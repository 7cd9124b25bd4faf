"""Encoders, projection heads and methods, each a discriminated union on ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong


class TinyResNet(Spec):
    """A small residual net for CPUs: 3 x 3 stem, then one stage per entry of ``blocks``."""

    kind: Literal["tiny-resnet"] = "tiny-resnet"
    width: int = Field(32, ge=4, le=256, description="channels of the first stage; doubled at each stage")
    blocks: Annotated[tuple[int, ...], Field(strict=False, min_length=1, max_length=4)] = (1, 1)


class TorchvisionResNet(Spec):
    """torchvision's residual nets without their classifier."""

    kind: Literal["resnet18", "resnet34", "resnet50"]
    stem: Literal["imagenet", "cifar"] = Field(description="cifar: 3 x 3 stride 1 and no max-pool")
    zero_init_residual: bool = False


class Pixels(Spec):
    """No network at all: ``h`` is the flattened image. The raw-pixel control."""

    kind: Literal["pixels"] = "pixels"


EncoderSpec = Annotated[TinyResNet | TorchvisionResNet | Pixels, Field(discriminator="kind")]


class Sparsity(Spec):
    """SparseHead (Song et al., arXiv 2307.08913): a penalty on the weights of the head's linear layers.

    The paper's norm and strength could not be read, so the family is offered. Strength is either
    ``weight`` (the paper's lambda) or ``shrink``: the total proximal shrinkage over the run, measured in
    median group norms at the start, from which lambda is derived and logged.
    """

    penalty: Literal["l1", "l21", "hoyer"] = Field(
        description="l1: entries; l21: input features (columns); hoyer: l1/l2 ratio"
    )
    scale_free: bool = Field(False, description="penalise W / ||W||_F instead of W")
    reduction: Literal["sum", "mean"] = "sum"
    step: Literal["proximal", "gradient"] = Field(
        "proximal", description="proximal: exact zeros after each optimiser step; gradient: part of the loss"
    )
    weight: float | None = Field(None, ge=0)
    shrink: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Sparsity:
        if (self.weight is None) == (self.shrink is None):
            raise ValueError("give exactly one of weight and shrink")
        smooth = self.penalty == "hoyer" or self.scale_free
        if smooth and self.step == "proximal":
            raise wrong(
                "step", "hoyer and scale-free penalties have no proximal step here; use step: gradient"
            )
        if smooth and self.shrink is not None:
            raise wrong(
                "shrink", "it measures proximal shrinkage; hoyer and scale-free penalties need weight"
            )
        return self


class NoHead(Spec):
    """z = h."""

    kind: Literal["none"] = "none"


class LinearHead(Spec):
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


HeadSpec = Annotated[NoHead | LinearHead | MLPHead | DirectCLRHead, Field(discriminator="kind")]


class SimCLR(Spec):
    """Chen et al., arXiv 2002.05709: two views, one encoder, one head."""

    kind: Literal["simclr"] = "simclr"


MethodSpec = SimCLR
