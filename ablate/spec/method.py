"""Methods: how views, encoder, head, momentum copy, queue and predictor are put together.

What is minimised over the result is ``loss``; ``LOSSES_OF_METHOD`` says which fit, the method's own first.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablate.spec.base import Spec


class Predictor(Spec):
    """An MLP z -> prediction of another view's z, of the same dimension; it is no part of the head."""

    depth: int = Field(2, ge=1, le=4, description="number of linear layers")
    hidden: int = Field(128, ge=2, le=8192)


class SimCLR(Spec):
    """Chen et al., arXiv 2002.05709: two views, one encoder, one head."""

    kind: Literal["simclr"] = "simclr"


class MoCoV2(Spec):
    """He et al., arXiv 1911.05722, head of 2003.04297: keys of a momentum copy, negatives of a queue.

    The copy's batch norms use the statistics of the whole batch; the paper shuffles images between GPUs.
    """

    kind: Literal["moco-v2"] = "moco-v2"
    momentum: float = Field(0.999, ge=0, le=1, description="of the copy, each step")
    queue: int = Field(4096, ge=2, description="keys kept as negatives; a multiple of the batch")
    symmetric: bool = Field(
        False, description="both views as queries; the paper takes the first as query, the second as key"
    )


class MoCoV3(Spec):
    """Chen et al., arXiv 2104.02057: a predictor, keys of a momentum copy, negatives from the batch."""

    kind: Literal["moco-v3"] = "moco-v3"
    momentum: float = Field(0.99, ge=0, le=1, description="of the copy at the start; a cosine ends it at 1")
    predictor: Predictor = Predictor()


class BYOL(Spec):
    """Grill et al., arXiv 2006.07733: a predictor of the momentum copy's embedding; positives only."""

    kind: Literal["byol"] = "byol"
    momentum: float = Field(0.996, ge=0, le=1, description="of the copy at the start; a cosine ends it at 1")
    predictor: Predictor = Predictor()


class SimSiam(Spec):
    """Chen and He, arXiv 2011.10566: a predictor and a stop-gradient; positives only, no copy."""

    kind: Literal["simsiam"] = "simsiam"
    predictor: Predictor = Predictor()


class BarlowTwins(Spec):
    """Zbontar et al., arXiv 2103.03230."""

    kind: Literal["barlow-twins"] = "barlow-twins"


class VICReg(Spec):
    """Bardes et al., arXiv 2105.04906."""

    kind: Literal["vicreg"] = "vicreg"


class SpectralContrastive(Spec):
    """HaoChen et al., arXiv 2106.04156."""

    kind: Literal["spectral"] = "spectral"


class SupCon(Spec):
    """Khosla et al., arXiv 2004.11362: positives are all images of one class. Labels are used."""

    kind: Literal["supcon"] = "supcon"


class Supervised(Spec):
    """A linear classifier of z, trained with the labels: no contrast at all."""

    kind: Literal["supervised"] = "supervised"


MethodSpec = Annotated[
    SimCLR
    | MoCoV2
    | MoCoV3
    | BYOL
    | SimSiam
    | BarlowTwins
    | VICReg
    | SpectralContrastive
    | SupCon
    | Supervised,
    Field(discriminator="kind"),
]

LOSSES_OF_METHOD: dict[str, tuple[str, ...]] = {
    "simclr": ("info-nce",),
    "moco-v2": ("info-nce",),
    "moco-v3": ("info-nce",),
    "byol": ("alignment",),
    "simsiam": ("alignment",),
    "barlow-twins": ("barlow-twins",),
    "vicreg": ("vicreg",),
    "spectral": ("spectral",),
    "supcon": ("supcon",),
    "supervised": ("cross-entropy",),
}

# Methods whose one loss the head's inner steps can share: a copy or a stop-gradient would be another loss.
METHODS_OF_INNER = ("simclr", "barlow-twins", "vicreg", "spectral", "supcon")
