"""`ablate bench load`: from a built data set, JPEGs streamed or pixels resident, to two random views."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ablate.bench import ffcv_peer, torchvision_peer
from ablate.bench.figures import Contender, Figure, Measured, Suite, run_alone
from ablate.bench.pace import pace, views_figure
from ablate.bench.pictures import made_up, read_photos, write_source
from ablate.bench.views_suite import THREADS, photo_views, small_views
from ablate.data import build, epoch_order, load
from ablate.spec.data import ParquetData
from ablate.spec.views import ViewSpec

QUALITY = 90  # of the JPEGs

_ABOUT = f"""\
From a data set on disk (read before, so in the page cache) to two views of each image, in random order;
{THREADS} threads or workers each; after warm-up. Photos: 256 px, JPEG of quality {QUALITY}, to 224 px;
SimCLR's views as in `ablate bench views`. Ours: the JPEG beton, streamed (`compute.images: stream`), each
image decoded once for both views. torchvision: the very same JPEGs, in memory, decoded once an image by
Pillow; v2, a DataLoader of {THREADS} workers that stay, as PIL pictures and as tensors (the faster counts).
Plain FFCV: the very same beton in its own loader, one pipeline a view (it decodes for each), crop and flip
only, as it has no more of this recipe, normalised to float32; ours then does no more either. FFCV's
compilation is left out of its pace and shown as a row of its own: seconds until the first batch. 32 px: ours
keeps the pixels resident; torchvision as above, from pixels.
"""


@dataclass(frozen=True)
class Sizes:
    """How many photos and small images there are, their sizes, and how long each is timed at least."""

    photos: int = 512
    photo_side: int = 256
    view: int = 224
    photo_batch: int = 64
    photo_seconds: float = 10.0
    images: int = 4096
    batch: int = 256
    seconds: float = 4.0


QUICK = Sizes(
    photos=64, photo_side=64, view=48, photo_batch=8, photo_seconds=0.2, images=64, batch=16, seconds=0.2
)


@dataclass(frozen=True)
class Built:
    """A built data set; ``images``: how ours keeps them."""

    data: ParquetData
    cache: Path
    images: Literal["resident", "stream"]


def load_suite(
    sizes: Sizes, scratch: Path, photos: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Suite:
    """Contenders and figures. Builds the data sets in ``scratch`` first, that of photos of the folder
    ``photos`` if one is given."""
    cache = scratch / "cache"
    large = Built(ParquetData(path=str(scratch / "large"), jpeg=QUALITY), cache, "stream")
    small = Built(ParquetData(path=str(scratch / "small")), cache, "resident")
    for built, number, side, source in (
        (large, sizes.photos, sizes.photo_side, photos),
        (small, sizes.images, 32, None),
    ):
        work = partial(prepare, built=built, count=number, side=side, photos=source)
        made = run_alone(Contender("building a data set", work))
        say(f"{made['images']:.0f} images of {side} px, {made['bytes']:.0f} bytes each on disk")
    full, small_full = photo_views(sizes.view), small_views()
    plain = full.model_copy(update={"jitter": 0.0, "gray": 0.0, "blur": 0.0})
    photo: dict[str, Any] = {"batch": sizes.photo_batch, "seconds": sizes.photo_seconds}
    pixels: dict[str, Any] = {"batch": sizes.batch, "seconds": sizes.seconds}
    contenders = (
        Contender("ours", partial(run_ours, built=large, spec=full, **photo)),
        Contender("torchvision", partial(run_torchvision, built=large, spec=full, **photo)),
        Contender("ours, crop and flip", partial(run_ours, built=large, spec=plain, **photo)),
        Contender("ffcv", partial(run_ffcv, built=large, spec=plain, **photo)),
        Contender("ours 32", partial(run_ours, built=small, spec=small_full, **pixels)),
        Contender("torchvision 32", partial(run_torchvision, built=small, spec=small_full, **pixels)),
    )
    torchvision, ffcv = f"torchvision v2, DataLoader({THREADS})", "plain FFCV, a pipeline a view"
    plainly = "ours, crop and flip"
    figures = (
        views_figure(f"JPEG photos to two views, {sizes.view} px", torchvision, "ours", "torchvision", 4),
        views_figure("the same, crop and flip only", ffcv, plainly, "ffcv", 1.5),
        Figure("the same, until the first batch", ffcv, f"{plainly}/first", "ffcv/first", "s"),
        views_figure("resident pixels to two views, 32 px", torchvision, "ours 32", "torchvision 32", 20),
    )
    return Suite("load", _ABOUT, contenders, figures, ("torchvision", "ffcv", "numba"))


def prepare(_folder: Path, *, built: Built, count: int, side: int, photos: Path | None) -> Measured:
    """Write a source and build its beton: how many training ``images``, and ``bytes`` of each."""
    source = Path(built.data.path)
    write_source(source, read_photos(photos, count, side) if photos else made_up(count, side))
    beton = build(built.data, built.cache, threads=THREADS)
    if built.data.jpeg is None:
        return {"images": beton.train, "bytes": 3.0 * side * side}
    encoded = sum(map(len, ffcv_peer.jpegs(beton.path("train"))))
    return {"images": beton.train, "bytes": encoded / beton.train}


def run_ours(_folder: Path, *, built: Built, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    """``views`` a second, and ``first``: seconds from opening the data set to its first batch."""
    torch.set_num_threads(THREADS)
    began = time.perf_counter()
    split = load(
        built.data,
        seed=0,
        cache=built.cache,
        device=torch.device("cpu"),
        threads=THREADS,
        images=built.images,
    ).train
    batches = _batches(len(split.labels), batch)
    rows, epoch = next(batches)
    split.expect(rows)

    def work() -> int:
        nonlocal rows, epoch
        present, (rows, following) = rows, next(batches)
        split.expect(rows)
        views = split.two_views(present, spec, seed=0, epoch=epoch)
        epoch = following
        return sum(map(len, views))

    work()
    first = time.perf_counter() - began
    return {"views": pace(work, seconds=seconds), "first": first}


def _batches(total: int, batch: int) -> Iterator[tuple[Tensor, int]]:
    """Rows of the training images and the epoch they belong to, as the trainer asks for them, without end."""
    for epoch in count():
        order = epoch_order(total, seed=0, epoch=epoch)
        for start in range(0, total - batch + 1, batch):
            yield order[start : start + batch], epoch


def run_torchvision(_folder: Path, *, built: Built, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    if built.data.jpeg is not None:
        images: Any = ffcv_peer.jpegs(build(built.data, built.cache).path("train"))
    else:
        split = load(built.data, seed=0, cache=built.cache, device=torch.device("cpu"), threads=1).train
        pixels = split.images[torch.arange(len(split.labels))]
        images = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    return torchvision_peer.paces(images, spec, batch=batch, workers=THREADS, seconds=seconds)


def run_ffcv(_folder: Path, *, built: Built, spec: ViewSpec, batch: int, seconds: float) -> Measured:
    path = build(built.data, built.cache).path("train")
    return ffcv_peer.paces(path, spec, batch=batch, workers=THREADS, seconds=seconds)
