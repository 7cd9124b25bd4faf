"""Objectives over embeddings ``z``; a discriminated union on ``kind``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ablate.spec.base import Spec, wrong


class Margin(Spec):
    """Margins on the positive pair (Rho et al., arXiv 2306.11526, in the CosFace/ArcFace form).

    ``effect`` takes one of the margin's effects on the gradient alone, leaving the softmax as it is without
    margins (facts and derivation: docs/margins.md): with theta the positive's angle, p its probability,
    A(theta) = sin(theta + angular) / sin(theta) and B = 1 / (p exp(-delta) + 1 - p),

    - ``margin``: the margin itself; everything below at once;
    - ``emphasis``: the positive's gradient times ``emphasis``, at every angle;
    - ``angle``: the positive's gradient times A, which falls with the angle;
    - ``probability``: the whole anchor's gradient times B, which rises with p;
    - ``angle-and-probability``: both; exactly the gradient of ``margin``, by another way.
    """

    angular: float = Field(0.0, ge=-0.5, le=1.5, description="m1, in radians")
    subtractive: float = Field(0.0, ge=-1.0, le=1.0, description="m2, in units of cosine")
    effect: Literal["margin", "emphasis", "angle", "probability", "angle-and-probability"] = "margin"
    emphasis: float = Field(1.0, ge=0, le=10, description="s, of effect emphasis")
    mean_one: bool = Field(
        False, description="divide A and B by their batch mean: their shape without their mean emphasis"
    )

    @model_validator(mode="after")
    def _used(self) -> Margin:
        if self.emphasis != 1 and self.effect != "emphasis":
            raise wrong("emphasis", f"does nothing with effect {self.effect}; use effect: emphasis")
        if self.effect == "emphasis" and (self.angular or self.subtractive):
            raise wrong("effect", "emphasis takes no angular or subtractive margin; its strength is emphasis")
        if self.effect == "angle" and self.subtractive:
            raise wrong("subtractive", "does nothing with effect angle, which A alone makes")
        if self.mean_one and self.effect in ("margin", "emphasis"):
            raise wrong("mean_one", f"does nothing with effect {self.effect}")
        return self


class PositiveMargin(Spec):
    """Of a loss with positives only: its gradient knows the angle alone, so nothing but A can act."""

    angular: float = Field(0.0, ge=-0.5, le=1.5, description="m1, in radians")

    @model_validator(mode="before")
    @classmethod
    def _no_probability(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("subtractive"):
            raise wrong(
                "subtractive",
                "does nothing to a loss of positives only: it adds a constant. Use angular, or a loss with "
                "negatives (info-nce)",
            )
        return value


class InfoNCE(Spec):
    """Softmax of the positive's cosine among the negatives' (objective/info_nce.py)."""

    kind: Literal["info-nce"] = "info-nce"
    temperature: float = Field(0.2, gt=0, le=10)
    negatives: Literal["two_view", "other_view"] = Field(
        "two_view",
        description="two_view: 2B-2 negatives an anchor (SimCLR); other_view: B-1 (DirectCLR). MoCo's loss "
        "has the queue (v2) or the other keys (v3) whatever this says; diagnoses follow it",
    )
    margin: Margin = Margin()


class Alignment(Spec):
    """Negative cosine of prediction and target (BYOL, SimSiam)."""

    kind: Literal["alignment"] = "alignment"
    margin: PositiveMargin = PositiveMargin()


class _NoPositive(Spec):
    """A loss that no margin can act on; it says so."""

    @model_validator(mode="before")
    @classmethod
    def _no_margin(cls, value: Any) -> Any:
        if isinstance(value, dict) and "margin" in value:
            raise wrong(
                "margin",
                f"does nothing here: {value.get('kind')} has no cosine of a positive pair in it. Losses with "
                "margins: info-nce, supcon, alignment (angular only)",
            )
        return value


class BarlowTwinsLoss(_NoPositive):
    """Cross-correlation of the two views' z, against the identity."""

    kind: Literal["barlow-twins"] = "barlow-twins"
    off_diagonal: float = Field(0.005, ge=0, description="weight of the redundancy term")


class VICRegLoss(_NoPositive):
    """Invariance, variance and covariance of z."""

    kind: Literal["vicreg"] = "vicreg"
    invariance: float = Field(25.0, ge=0)
    variance: float = Field(25.0, ge=0)
    covariance: float = Field(1.0, ge=0)


class SpectralLoss(_NoPositive):
    """-2 E[z.z+] + E[(z.z-)^2], of z as it is or scaled to a given length."""

    kind: Literal["spectral"] = "spectral"
    radius: float | None = Field(None, gt=0, description="z is scaled to this length; null: left as it is")


class SupConLoss(Spec):
    """InfoNCE whose positives are all images of the anchor's class (Khosla et al., arXiv 2004.11362)."""

    kind: Literal["supcon"] = "supcon"
    temperature: float = Field(0.1, gt=0, le=10)
    margin: Margin = Margin()

    @model_validator(mode="after")
    def _whole_margin(self) -> SupConLoss:
        if self.margin.effect != "margin":
            raise wrong("margin.effect", "the effects apart are for info-nce; supcon takes effect: margin")
        return self


class CrossEntropy(_NoPositive):
    """Of a linear classifier's logits."""

    kind: Literal["cross-entropy"] = "cross-entropy"


LossSpec = Annotated[
    InfoNCE | Alignment | BarlowTwinsLoss | VICRegLoss | SpectralLoss | SupConLoss | CrossEntropy,
    Field(discriminator="kind"),
]
