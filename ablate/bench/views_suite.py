"""`ablate bench views`: how fast images in memory become two random views each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablate.bench import kornia_peer, torchvision_peer
from ablate.bench.figures import Contender, Measured, Suite
from ablate.bench.pace import pace, views_figure
from ablate.bench.pictures import made_up, read_photos, resident
from ablate.spec.views import ViewSpec

THREADS = 2

_ABOUT = f"""\
Two views of each image: random resized crop, flip, colour jitter (brightness, contrast, saturation and hue),
grayscale, normalised float32. 32 px: crops of .2 to 1 of the area, no blur. 224 px, of 256 px photos: crops
of .08 to 1, and blur for half of the views (sigma .1 to 2). {THREADS} threads or workers each; all images in
memory as pixels; after warm-up. Ours: `ablate.data.two_views` on random batches, from uint8 to views in
channels_last, blurs cut at three of the largest sigmas. torchvision: v2, a DataLoader of {THREADS} workers
that stay, image by image, as PIL pictures and as tensors (the faster counts), blur of 23 taps; collated
batches arrive in the main process, which does nothing else. kornia: whole batches, parameters an image,
cropped by slicing and by resampling (the faster counts), blur of 23 taps. Colour steps: torchvision and
kornia shuffle and clamp each, ours are one matrix an image.
"""


@dataclass(frozen=True)
class Sizes:
    """Images and photos to draw batches from, their sizes, and how long each contender is timed at least."""

    images: int = 4096
    batch: int = 256
    seconds: float = 4.0
    photos: int = 256
    photo_batch: int = 64
    photo_seconds: float = 10.0
    photo_side: int = 256
    view: int = 224


QUICK = Sizes(
    images=64, batch=16, seconds=0.2, photos=16, photo_batch=4, photo_seconds=0.2, photo_side=64, view=48
)


def small_views() -> ViewSpec:
    """SimCLR's views of CIFAR-10."""
    return ViewSpec.model_validate({"preset": "photos-32"})


def photo_views(size: int = 224) -> ViewSpec:
    """SimCLR's views of photos."""
    return ViewSpec.model_validate({"preset": "photos-224", "size": size})


def views_suite(
    sizes: Sizes, scratch: Path, photos: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Suite:
    """Contenders and figures. Puts the images into ``scratch`` first; those of 256 px are made of ``photos``
    if a folder is given."""
    say("making the images")
    small, large = scratch / "small.npy", scratch / "large.npy"
    np.save(small, made_up(sizes.images, 32))
    side, count = sizes.photo_side, sizes.photos
    np.save(large, read_photos(photos, count, side) if photos else made_up(count, side))
    contenders = []
    for name, pictures, spec, batch, seconds in (
        ("32", small, small_views(), sizes.batch, sizes.seconds),
        ("224", large, photo_views(sizes.view), sizes.photo_batch, sizes.photo_seconds),
    ):
        for peer, run in (("ours", run_ours), ("torchvision", run_torchvision), ("kornia", run_kornia)):
            work = partial(run, pictures=pictures, spec=spec, batch=batch, seconds=seconds)
            contenders.append(Contender(f"{peer} {name}", work))
    blurred = f"two views, {sizes.view} px, blur"
    torchvision, kornia = f"torchvision v2, DataLoader({THREADS})", "kornia"
    figures = (
        views_figure("two views, 32 px", torchvision, "ours 32", "torchvision 32", at_least=15),
        views_figure("two views, 32 px", kornia, "ours 32", "kornia 32", at_least=8),
        views_figure(blurred, torchvision, "ours 224", "torchvision 224", at_least=5),
        views_figure(blurred, kornia, "ours 224", "kornia 224"),
    )
    return Suite("views", _ABOUT, tuple(contenders), figures, ("torchvision", "kornia", "numba"))


def run_ours(_folder: Path, *, pictures: Path, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    """``views`` a second of batches drawn at random, as the trainer asks for them."""
    torch.set_num_threads(THREADS)
    split = resident(np.load(pictures), torch.device("cpu")).train

    def work() -> int:
        rows = torch.randint(len(split.labels), (batch,))
        return sum(map(len, split.two_views(rows, spec, seed=0, epoch=0)))

    return {"views": pace(work, seconds=seconds)}


def run_torchvision(_folder: Path, *, pictures: Path, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    return torchvision_peer.paces(np.load(pictures), spec, batch=batch, workers=THREADS, seconds=seconds)


def run_kornia(_folder: Path, *, pictures: Path, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    torch.set_num_threads(THREADS)
    return kornia_peer.paces(np.load(pictures), spec, batch=batch, seconds=seconds)
