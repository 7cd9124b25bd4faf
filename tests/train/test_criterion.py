"""The registry of objectives: what is registered is computed, what is not or does not fit is refused."""

from typing import Literal

import pytest
import torch

from ablate.model.methods import Embedded, Keyed, Logits, TwoViews
from ablate.objective import info_nce, vicreg
from ablate.spec.base import Spec
from ablate.spec.loss import (
    Alignment,
    BarlowTwinsLoss,
    CrossEntropy,
    InfoNCE,
    LossSpec,
    SpectralLoss,
    SupConLoss,
    VICRegLoss,
)
from ablate.spec.paths import members
from ablate.train.criterion import loss_share, register_loss, whole_batch
from ablate.train.world import World

Z1, Z2 = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
VIEWS, KEYS, LOGITS = TwoViews(Z1, Z2), Keyed(((Z1, Z2),)), Logits(torch.cat([Z1, Z2]))
TAKES: dict[type[Spec], tuple[type, ...]] = {
    InfoNCE: (TwoViews, Keyed),
    Alignment: (Keyed,),
    BarlowTwinsLoss: (TwoViews,),
    VICRegLoss: (TwoViews,),
    SpectralLoss: (TwoViews,),
    SupConLoss: (TwoViews,),
    CrossEntropy: (Logits,),
}


@pytest.mark.parametrize("spec_class", members(LossSpec))
@pytest.mark.parametrize("embedded", [VIEWS, KEYS, LOGITS], ids=lambda e: type(e).__name__)
def test_every_loss_takes_what_it_is_for_and_refuses_the_rest(
    spec_class: type[Spec], embedded: Embedded
) -> None:
    spec = spec_class()
    if isinstance(embedded, TAKES[spec_class]):
        assert torch.isfinite(loss_share(spec, embedded, LABELS, World.single()))  # type: ignore[arg-type]
    else:
        words = f"{spec_class.__name__} does not take {type(embedded).__name__}"
        with pytest.raises(TypeError, match=words):
            loss_share(spec, embedded, LABELS, World.single())  # type: ignore[arg-type]


def test_the_options_of_the_spec_reach_the_objective() -> None:
    found = loss_share(InfoNCE(temperature=0.7, negatives="other_view"), VIEWS, LABELS, World.single())
    assert torch.equal(found, info_nce(Z1, Z2, temperature=0.7, negatives="other_view"))
    found = loss_share(
        VICRegLoss(invariance=1.0, variance=2.0, covariance=3.0), VIEWS, LABELS, World.single()
    )
    assert torch.equal(found, vicreg(Z1, Z2, invariance=1.0, variance=2.0, covariance=3.0))


class Distance(Spec):
    kind: Literal["distance"] = "distance"


def test_a_registered_objective_is_used_and_none_is_registered_twice() -> None:
    with pytest.raises(TypeError, match="no loss is registered for Distance; registered: Alignment, "):
        loss_share(Distance(), VIEWS, LABELS, World.single())  # type: ignore[arg-type]

    @register_loss(Distance)
    def distance(spec: Distance, embedded: Embedded, _labels: torch.Tensor, world: World) -> torch.Tensor:
        z1, z2 = whole_batch(spec, embedded, world)
        return (z1 - z2).square().sum() / world.size

    found = loss_share(Distance(), VIEWS, LABELS, World.single())  # type: ignore[arg-type]
    assert torch.equal(found, (Z1 - Z2).square().sum())
    with pytest.raises(ValueError, match="Distance already has a function for its loss"):
        register_loss(Distance)(distance)
