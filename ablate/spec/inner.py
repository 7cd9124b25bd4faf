"""The head as a parameter of the loss (Gupta et al., arXiv 2212.11491): inner steps of the head alone.

Their text could not be read; the family here is derived from the abstract (docs/bilevel.md says how). Every
batch: ``steps`` updates of the head on fixed ``h``, then one update of the encoder with the head held fixed.
Both levels share the loss, so with ``batch: same`` the minimisers are those of joint training, and only the
path differs; ``batch: fresh`` takes the inner steps on other images, which makes it genuinely bilevel.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ablate.spec.base import Spec


class InnerSpec(Spec):
    """K steps of the head in every step of the encoder."""

    steps: int = Field(ge=0, le=1000, description="K, head updates a batch; 0: a head that stays as drawn")
    lr: float = Field(1.0, gt=0, le=100, description="of the head, in units of the encoder's present lr")
    batch: Literal["same", "fresh"] = Field(
        description="images of the inner steps: those of the outer step, or of another batch of the epoch"
    )
    start: Literal["warm", "epoch", "batch"] = Field(
        "warm", description="warm: the head goes on; epoch, batch: drawn anew at each"
    )
