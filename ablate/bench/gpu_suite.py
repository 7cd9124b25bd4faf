"""`ablate bench gpu`: how fast SimCLR trains on one CUDA device, and how much of it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.bench.figures import BenchError, Contender, Figure, Measured, Suite, run_alone
from ablate.bench.pace import pace, views_figure
from ablate.bench.pictures import made_up, resident, write_source
from ablate.data import Dataset, Split, build
from ablate.spec.trial import TrialSpec
from ablate.spec.views import ViewSpec
from ablate.train import Trainer, World
from ablate.trial.packing import measure_packing

PACKED = (1, 2, 4)  # trials at once

# Of an H100 (SXM): dense bf16, FLOP/s.
_PEAK = 989e12


@dataclass(frozen=True)
class Roofline:
    """Derived, not measured: FLOPs of the encoder forwards and backwards a view (2 a multiply-add, counted by
    torch), and the views a second at which the traffic of its convolutions, batch norms and ReLUs in bf16
    fills .85 of an H100's 3.35 TB/s, every operation by itself (eager) or ReLUs fused (compiled)."""

    gigaflops: float
    eager: float
    compiled: float


ROOFLINES = {
    "resnet18": Roofline(3.33, 120_000, 163_000),
    "resnet50": Roofline(24.29, 6_800, 9_200),
}

_ABOUT = """\
SimCLR steps in bf16 autocast, channels_last, on resident made-up images: `ablate.train.Trainer`, LARS, MLP
head, InfoNCE; after a first epoch (and compilation). ResNet-18 with the CIFAR stem at 32 px without blur,
ResNet-50 at 224 px of 256 px photos with blur. Eager, and compiled (`compute.compile`). Views and loading:
what a step saves when all are given the same two views, made before. Packed: as many trials of ResNet-18 as
said, compiled, as `ablate pack` measures them: each in a process of its own, timed while all of them run;
their views a second added up, against one. Shares of an H100: views a second over the rate at which its
memory's traffic, or its 989 TFLOP/s of dense bf16 (MFU), would be full. These bounds are derived from counted
FLOPs and bytes of the encoder, and shown on an H100 only.
"""


@dataclass(frozen=True)
class Sizes:
    images: int = 16_384
    batch: int = 512
    photos: int = 1024
    photo_side: int = 256
    photo_batch: int = 256
    view: int = 224
    seconds: float = 10.0


QUICK = Sizes(images=1024, photos=256, seconds=1.0)


def gpu_suite(
    sizes: Sizes, scratch: Path, say: Callable[[str], None] = lambda _: None, device: str = "cuda"
) -> Suite:
    """Contenders and figures. Puts the images into ``scratch`` first.

    Raises BenchError if the device is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError(
            f"ablate bench gpu needs a CUDA device, and torch {torch.__version__} sees none. Run it on a "
            "machine with an NVIDIA GPU, with a build of torch for CUDA."
        )
    say("making the images")
    small, large = scratch / "small.npy", scratch / "large.npy"
    np.save(small, made_up(sizes.images, 32))
    np.save(large, made_up(sizes.photos, sizes.photo_side))
    timed: dict[str, Any] = {"seconds": sizes.seconds, "device": device}
    contenders: list[Contender] = []
    for encoder, pictures in (("resnet18", small), ("resnet50", large)):
        for way in ("eager", "compiled"):
            tree = trial_tree(sizes, encoder, compiled=way == "compiled" and device == "cuda")
            work = partial(run_steps, tree=tree, pictures=pictures, **timed)
            contenders.append(Contender(f"{encoder} {way}", work))
    tree = trial_tree(sizes, "resnet18", compiled=device == "cuda")
    tree["data"], cache = {"kind": "parquet", "path": str(scratch / "images")}, scratch / "cache"
    run_alone(Contender("building a data set", partial(prepare, tree=tree, cache=cache, count=sizes.images)))
    for count in PACKED:
        packed = partial(run_packed, trials=count, tree=tree, cache=cache, **timed)
        contenders.append(Contender(f"{count} packed", packed))
    figures = [*_steps(), *_packed()]
    if device == "cuda" and "H100" in torch.cuda.get_device_name():
        figures += _shares()
    else:
        say("no shares of the roofline: those known here are an H100's")
    about = _ABOUT if device == "cpu" else f"{_ABOUT}Device: {torch.cuda.get_device_name()}.\n"
    return Suite("gpu", about, tuple(contenders), tuple(figures))


def trial_tree(sizes: Sizes, encoder: str, *, compiled: bool) -> dict[str, Any]:
    """The trial whose steps are timed, as long as a trial can be."""
    small = encoder == "resnet18"
    size = 32 if small else sizes.view
    return {
        "data": {"kind": "cifar10"},
        "views": {"preset": "photos-32" if small else "photos-224", "size": size},
        "encoder": {"kind": encoder, "stem": "cifar" if small else "imagenet"},
        "head": {"kind": "mlp", "depth": 2, "hidden": 2048, "out": 128, "norm": "batch", "norm_last": True},
        "loss": {"kind": "info-nce", "temperature": 0.2},
        "optim": {
            "kind": "lars",
            "lr": 0.3,
            "epochs": 10_000,
            "batch": sizes.batch if small else sizes.photo_batch,
            "warmup_epochs": 0.0,
        },
        "compute": {"precision": "bf16", "compile": compiled},
    }


def _steps() -> list[Figure]:
    found: list[Figure] = []
    for encoder, size in (("resnet18", 32), ("resnet50", 224)):
        eager, compiled = f"{encoder} eager", f"{encoder} compiled"
        name = f"SimCLR step, {encoder}, {size} px"
        found += [
            views_figure(f"{name}, compiled", "eager", compiled, eager),
            Figure(f"{name}, compiled", "the same, views ready", f"{compiled}/views", f"{compiled}/ready",
                   "views/s", "ours/theirs"),
            Figure(f"{name}: share of views and loading", "compiled", f"{compiled}/share", None, ""),
            Figure(f"{name}: share of views and loading", "eager", f"{eager}/share", None, ""),
        ]  # fmt: skip
    return found


def _packed() -> list[Figure]:
    return [
        views_figure(f"{count} trials packed", "one", f"{count} packed", "1 packed") for count in PACKED[1:]
    ]


def _shares() -> list[Figure]:
    found: list[Figure] = []
    for encoder in ROOFLINES:
        for way in ("eager", "compiled"):
            side = f"{encoder} {way}"
            found += [
                Figure(f"{side}: share of the memory roofline", "derived", f"{side}/roofline", None, ""),
                Figure(f"{side}: MFU", "derived", f"{side}/mfu", None, ""),
            ]
    return found


@dataclass(frozen=True)
class ReadyViews(Split):
    """Every batch has the same two views [B, 3, S, S], made before: what is left is the networks."""

    pair: tuple[Tensor, Tensor] | None = None

    def two_views(self, chosen: Tensor, spec: ViewSpec, *, seed: int, epoch: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        assert self.pair is not None
        return self.pair


def ready(data: Dataset, spec: TrialSpec) -> Dataset:
    """``data`` with the views of its first batch for every batch."""
    split = data.train
    pair = split.two_views(split.ids[: spec.optim.batch], spec.views, seed=0, epoch=0)
    split = ReadyViews(split.images, split.labels, split.ids, pair=pair)
    return Dataset(split, data.val, data.test, data.class_names, data.digest)


def run_steps(
    _folder: Path, *, tree: dict[str, Any], pictures: Path, seconds: float, device: str
) -> Measured:
    """Views a second that are trained on: ``views``, and ``ready`` where they are made before; ``share`` of a
    step's time that views and loading take; shares of the ``roofline`` of an H100's memory and of its peak
    (``mfu``)."""
    spec = TrialSpec.model_validate(tree)
    data = resident(np.load(pictures), torch.device(device))
    views = _pace(Trainer(spec, data, World.single(), torch.device(device)), seconds)
    only = _pace(Trainer(spec, ready(data, spec), World.single(), torch.device(device)), seconds)
    bound = ROOFLINES[spec.encoder.kind]
    return {
        "views": views,
        "ready": only,
        "share": 1 - views / only,
        "roofline": views / (bound.compiled if spec.compute.compile else bound.eager),
        "mfu": views * bound.gigaflops * 1e9 / _PEAK,
    }


def _pace(trainer: Trainer, seconds: float) -> float:
    """Views a second, of whole epochs, after a first one."""
    epochs = trainer.epochs()
    wait: Callable[[], None] = torch.cuda.synchronize if trainer.device.type == "cuda" else lambda: None

    def epoch() -> int:
        next(epochs)
        return 2 * trainer.spec.optim.batch * trainer.steps

    return pace(epoch, seconds=seconds, warm=1, wait=wait)


def prepare(_folder: Path, *, tree: dict[str, Any], cache: Path, count: int) -> Measured:
    """Write the packed trials' source and build its beton: how many training ``images``."""
    write_source(Path(tree["data"]["path"]), made_up(count, 32))
    return {"images": build(TrialSpec.model_validate(tree).data, cache).train}


def run_packed(
    _folder: Path, *, trials: int, tree: dict[str, Any], cache: Path, seconds: float, device: str
) -> Measured:
    """``views`` a second of as many trials at once, as `ablate pack` measures them."""
    packing = measure_packing(
        TrialSpec.model_validate(tree),
        device=torch.device(device),
        cache=cache,
        threads=1,
        counts=(trials,),
        seconds=seconds,
    )
    return {"views": packing.measured[0].views_per_second}
