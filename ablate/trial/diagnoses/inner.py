"""How far the head is from minimising the loss of a batch at fixed h (Gupta et al., arXiv 2212.11491).

What the paper measured could not be read; proposed here: the batch's loss L(theta, phi) with everything as in
training (new draws of its views, batch statistics), but in float32 whatever the trial's precision, then 100
steps of Adam with learning rate 1e-3 on the head's weights alone. Penalties and weight decay are left out.
Means over two batches of ``optim.batch`` images, or less where 1,024 images do not hold two:

- ``inner.loss``: L at the trained head;
- ``inner.gap``: L minus the lowest loss on the way, >= 0. A head with many weights can fit one batch, so
- ``inner.gap_fresh``: L of the *other* batch, before minus after those steps: what of the gap was not this
  batch's own. Below 0 where the steps do harm;
- ``inner.gradient``: ||dL/dphi|| at the trained head. It falls as the weights grow, which costs a loss of
  normalised z nothing: ``inner.gradient_relative``, ||phi|| ||dL/dphi||, does so less.

All but the loss are 0 for a head without weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.data import Dataset
from ablate.model import ContrastiveModel
from ablate.model.methods import Siamese, build_method
from ablate.spec.trial import TrialSpec
from ablate.train.criterion import loss_share
from ablate.train.world import World
from ablate.trial.diagnoses.sample import IMAGES, batches, views

_NAME = "inner-gap"
_STEPS, _LR = 100, 1e-3


@dataclass(frozen=True)
class _Batch:
    h: tuple[Tensor, Tensor]  # [B, D] of both views, fixed
    labels: Tensor


def inner(model: ContrastiveModel, data: Dataset, spec: TrialSpec) -> dict[str, float]:
    """Raises TypeError for a method with more than encoder and head; a valid spec does not ask for it."""
    # Not a copy of the model: its batch norms may wait for other workers, which these do not.
    method = build_method(spec, classes=len(data.class_names)).to(data.train.images.device)
    if not isinstance(method, Siamese):
        raise TypeError(f"{spec.method.kind} has no loss that encoder and head share")
    method.model.load_state_dict(model.state_dict())
    trained = copy.deepcopy(method.model.head.state_dict())
    size = min(spec.optim.batch, IMAGES // 2, len(data.train.labels) // 2)
    with torch.no_grad():
        first, second = (
            _Batch(method.encode(*views(_NAME, batch, spec)), batch.labels)
            for batch in batches(_NAME, data.train, spec, size, 2)
        )
    found = []
    for batch, fresh in ((first, second), (second, first)):
        method.model.head.load_state_dict(trained)
        found.append(_gaps(method, batch, fresh, spec))
    return {f"inner.{name}": (found[0][name] + found[1][name]) / 2 for name in found[0]}


def _gaps(method: Siamese, batch: _Batch, fresh: _Batch, spec: TrialSpec) -> dict[str, float]:
    def loss(of: _Batch) -> Tensor:
        return loss_share(spec.loss, method.project(*of.h), of.labels, World.single())

    weights = [p for p in method.model.head.parameters() if p.requires_grad]
    with torch.no_grad():
        losses, before = [float(loss(batch))], float(loss(fresh))
    if not weights:
        return {"loss": losses[0], "gap": 0.0, "gap_fresh": 0.0, "gradient": 0.0, "gradient_relative": 0.0}
    gradient = _norm(torch.autograd.grad(loss(batch), weights))
    relative = gradient * _norm(weights)
    optimiser = torch.optim.Adam(weights, lr=_LR)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        value = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(float(value.detach()))
        optimiser.step()
    with torch.no_grad():
        losses.append(float(loss(batch)))
        after = float(loss(fresh))
    return {
        "loss": losses[0],
        "gap": losses[0] - min(losses),
        "gap_fresh": before - after,
        "gradient": gradient,
        "gradient_relative": relative,
    }


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.cat([t.detach().flatten() for t in tensors]).norm())
