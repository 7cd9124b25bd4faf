"""lightly's own recipe for SimCLR, as its example in plain PyTorch has it.

Its transform, projection head and loss, a DataLoader of PIL images, both views through the model one after
the other. The encoder is ours, in the memory format of either library's habit (contiguous or channels_last):
both are timed and the faster one counts.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from ablate.bench.pace import pace
from ablate.bench.pictures import Pictures
from ablate.bench.torchvision_peer import endless
from ablate.model import build_model
from ablate.spec.head import MLPHead
from ablate.spec.loss import InfoNCE
from ablate.spec.trial import SGD, TrialSpec

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class Labelled(Dataset[tuple[Any, int]]):
    """What torchvision's CIFAR-10 gives: the transform of a PIL image, and a label."""

    def __init__(self, pictures: Pictures, transform: Any) -> None:
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.pictures[index])), 0


class SimCLR(nn.Module):
    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.projection_head = backbone, head

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z


def paces(pictures: Pictures, spec: TrialSpec, *, workers: int, seconds: float) -> dict[str, float]:
    """Views a second that are trained on, in each memory format, and of the faster one as ``views``."""
    found = {name: _pace(pictures, spec, form, workers, seconds) for name, form in FORMATS.items()}
    return {**found, "views": max(found.values())}


def _pace(
    pictures: Pictures, spec: TrialSpec, form: torch.memory_format, workers: int, seconds: float
) -> float:
    from lightly.loss import NTXentLoss

    assert isinstance(spec.loss, InfoNCE)
    assert isinstance(spec.optim, SGD)
    model = SimCLR(build_model(spec).encoder, head_of(spec))
    model.to(memory_format=form)  # type: ignore[call-overload]  # torch's stubs lack it
    criterion = NTXentLoss(temperature=spec.loss.temperature)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=spec.optim.lr,
        momentum=spec.optim.momentum,
        weight_decay=spec.optim.weight_decay,
    )
    dataset = Labelled(pictures, transform(spec))
    batches = iter(endless(dataset, batch=spec.optim.batch, workers=workers))
    model.train()

    def step() -> int:
        (x0, x1), _ = next(batches)
        loss = criterion(*(model(x.contiguous(memory_format=form)) for x in (x0, x1)))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return len(x0) + len(x1)

    return pace(step, seconds=seconds, warm=5)


def transform(spec: TrialSpec) -> Any:
    """lightly's ``SimCLRTransform`` with the constants of ``spec.views``."""
    from lightly.transforms import SimCLRTransform

    views = spec.views
    return SimCLRTransform(
        input_size=views.size,
        cj_prob=views.jitter,
        cj_bright=views.brightness,
        cj_contrast=views.contrast,
        cj_sat=views.saturation,
        cj_hue=views.hue,
        min_scale=views.crop_area[0],
        random_gray_scale=views.gray,
        gaussian_blur=views.blur,
        sigmas=views.blur_sigma,
        hf_prob=views.flip,
        normalize={"mean": list(views.mean), "std": list(views.std)},
    )


def head_of(spec: TrialSpec) -> nn.Module:
    """lightly's ``SimCLRProjectionHead`` in the sizes of ``spec.head``."""
    from lightly.models.modules import SimCLRProjectionHead

    assert isinstance(spec.head, MLPHead)
    head: nn.Module = SimCLRProjectionHead(
        spec.width, spec.head.hidden, spec.head.out, num_layers=spec.head.depth
    )
    return head
