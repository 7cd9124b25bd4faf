"""torchvision's transforms (v2) in a DataLoader, the usual way to make two views.

Each image is opened and each view transformed by itself in one of the loader's workers, as PIL pictures and
as tensors: which is faster depends on the size, so both are timed and the faster one counts. uint8 until the
last two steps, as torchvision's documentation advises.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from ablate.bench.pace import pace
from ablate.bench.pictures import Pictures
from ablate.spec.views import ViewSpec
from ablate.torchvision_import import torchvision

Form = Literal["pil", "tensor"]
FORMS: tuple[Form, ...] = ("pil", "tensor")
_BLUR = 23  # taps at 224 px, as in SimCLR's code: a tenth of the side, made odd
_ENDLESS = 2**40


def transform(spec: ViewSpec) -> Any:
    """The steps of ``spec`` that can happen, for a PIL picture or a uint8 tensor [3, H, W]."""
    from torchvision.transforms import v2

    steps: list[Any] = [
        v2.RandomResizedCrop(spec.size, scale=spec.crop_area, ratio=spec.crop_aspect, antialias=True),
        v2.RandomHorizontalFlip(spec.flip),
    ]
    if spec.jitter > 0:
        jitter = v2.ColorJitter(spec.brightness, spec.contrast, spec.saturation, spec.hue)
        steps.append(v2.RandomApply([jitter], spec.jitter))
    if spec.gray > 0:
        steps.append(v2.RandomGrayscale(spec.gray))
    if spec.blur > 0:
        steps.append(v2.RandomApply([v2.GaussianBlur(_BLUR, spec.blur_sigma)], spec.blur))
    return v2.Compose(
        [*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    )


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Two views of each of ``images``: pixels, or JPEGs, decoded each time an image is asked for."""

    def __init__(self, images: Pictures | Sequence[bytes], spec: ViewSpec, form: Form) -> None:
        self.images, self.form, self.transform = images, form, transform(spec)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self._opened(index)
        return self.transform(image), self.transform(image)

    def _opened(self, index: int) -> Any:
        held = self.images[index]
        if isinstance(held, bytes):
            with Image.open(io.BytesIO(held)) as file:
                picture = file.convert("RGB")
            return picture if self.form == "pil" else torchvision.transforms.functional.pil_to_tensor(picture)
        if self.form == "pil":
            return Image.fromarray(held)
        return torch.from_numpy(held).permute(2, 0, 1).contiguous()


def endless(dataset: Dataset[Any], *, batch: int, workers: int) -> DataLoader[Any]:
    """Random batches without end, so that no start of an epoch is timed; the workers stay."""
    order = RandomSampler(dataset, replacement=True, num_samples=_ENDLESS)  # type: ignore[arg-type]
    return DataLoader(dataset, batch, sampler=order, num_workers=workers, persistent_workers=workers > 0)


def paces(
    images: Pictures | Sequence[bytes], spec: ViewSpec, *, batch: int, workers: int, seconds: float
) -> dict[str, float]:
    """Views a second in each form, and of the faster one as ``views``."""
    found: dict[str, float] = {}
    for form in FORMS:
        batches = iter(endless(TwoViews(images, spec, form), batch=batch, workers=workers))
        found[form] = pace(lambda b=batches: 2 * len(next(b)[0]), seconds=seconds)  # type: ignore[misc]
        del batches  # ends its workers
    return {**found, "views": max(found.values())}
