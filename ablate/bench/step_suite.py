"""`ablate bench step`: whole training steps of SimCLR, from images in memory to new weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ablate.bench import lightly_peer
from ablate.bench.figures import Contender, Figure, Measured, Suite
from ablate.bench.pace import pace, views_figure
from ablate.bench.pictures import made_up, resident
from ablate.bench.views_suite import THREADS
from ablate.model import build_model
from ablate.spec.trial import TrialSpec
from ablate.train import Trainer, World

_MATRICES = (512, 1024, 2048)  # sides of those multiplied to find the machine's peak

_ABOUT = f"""\
Steps of SimCLR at 32 px in float32: rows of the batch, two views (those of `ablate bench views`), encoder,
MLP head with batch norm, InfoNCE, backward, SGD with momentum; {THREADS} threads; after a first epoch. Ours:
`ablate.train.Trainer` on made-up images, resident. lightly: its transform, head, loss and PyTorch example,
with our encoder, the same batch, augmentations and optimiser; a DataLoader of {THREADS} workers that stay;
contiguous and in channels_last (the faster counts). Bare: forward and backward of the encoder alone, on both
views of one batch, made before. The machine's peak is its best product of two float32 matrices; FLOPs of a
step are counted by torch (2 a multiply-add; products of matrices and convolutions only).
"""


@dataclass(frozen=True)
class Sizes:
    images: int = 4096
    batch: int = 128
    width: int = 16
    seconds: float = 5.0


QUICK = Sizes(images=64, batch=16, width=4, seconds=0.2)


def step_suite(sizes: Sizes, _scratch: Path, _say: Callable[[str], None] = lambda _: None) -> Suite:
    """Contenders and figures."""
    contenders = (
        Contender("ours", partial(run_ours, sizes=sizes)),
        Contender("lightly", partial(run_lightly, sizes=sizes)),
        Contender("bare", partial(run_bare, sizes=sizes)),
        Contender("matmul", partial(run_matmul, seconds=sizes.seconds)),
    )
    step = "SimCLR step, 32 px"
    figures = (
        views_figure(step, f"lightly, DataLoader({THREADS})", "ours", "lightly", 2),
        views_figure(step, "bare forward and backward of the encoder", "ours", "bare", 0.8),
        Figure(step, "the machine's peak", "ours/gigaflops", "matmul/gigaflops", "GFLOP/s", "ours/theirs"),
    )
    return Suite("step", _ABOUT, contenders, figures, ("torchvision", "lightly", "numba"))


def step_tree(sizes: Sizes) -> dict[str, Any]:
    """The trial whose steps are timed, as a file would have it. It is as long as a trial can be, so that no
    end is reached. (Its source only says which views are made: the images are made up.)"""
    return {
        "data": {"kind": "cifar10"},
        "encoder": {"kind": "tiny-resnet", "width": sizes.width, "blocks": [1, 1, 1]},
        "head": {"kind": "mlp", "depth": 2, "hidden": 128, "out": 128, "norm": "batch", "norm_last": True},
        "loss": {"kind": "info-nce", "temperature": 0.5},
        "optim": {"kind": "sgd", "lr": 0.06, "epochs": 10_000, "batch": sizes.batch, "warmup_epochs": 0.0},
    }


def run_ours(_folder: Path, *, sizes: Sizes) -> Measured:
    """``views`` a second that are trained on, and billions of floating-point operations a second."""
    torch.set_num_threads(THREADS)
    spec, device = TrialSpec.model_validate(step_tree(sizes)), torch.device("cpu")
    trainer = Trainer(spec, resident(made_up(sizes.images, 32), device), World.single(), device)
    epochs = trainer.epochs()

    def epoch() -> int:
        next(epochs)
        return 2 * sizes.batch * trainer.steps

    views = pace(epoch, seconds=sizes.seconds, warm=1)
    return {"views": views, "gigaflops": views * flops_a_view(spec) / 1e9}


def flops_a_view(spec: TrialSpec) -> float:
    """Floating-point operations of a step on one view, counted by torch on the CPU."""
    device = torch.device("cpu")
    one_step = resident(made_up(spec.optim.batch, spec.views.size), device)
    trainer = Trainer(spec, one_step, World.single(), device)
    with FlopCounterMode(display=False) as counter:
        next(trainer.epochs())
    return float(counter.get_total_flops() / (2 * spec.optim.batch))


def run_lightly(_folder: Path, *, sizes: Sizes) -> Measured:
    torch.set_num_threads(THREADS)
    spec = TrialSpec.model_validate(step_tree(sizes))
    return lightly_peer.paces(made_up(sizes.images, 32), spec, workers=THREADS, seconds=sizes.seconds)


def run_bare(_folder: Path, *, sizes: Sizes) -> Measured:
    """``views`` a second forwards and backwards through the encoder, no views made, nothing updated."""
    torch.set_num_threads(THREADS)
    spec = TrialSpec.model_validate(step_tree(sizes))
    split = resident(made_up(sizes.batch, 32), torch.device("cpu")).train
    views = torch.cat(split.two_views(split.ids, spec.views, seed=0, epoch=0))
    encoder = build_model(spec).encoder.train()

    def work() -> int:
        encoder.zero_grad(set_to_none=True)
        encoder(views).sum().backward()
        return len(views)

    return {"views": pace(work, seconds=sizes.seconds)}


def run_matmul(_folder: Path, *, seconds: float) -> Measured:
    """Billions of floating-point operations a second in the best of several products of matrices."""
    torch.set_num_threads(THREADS)
    found = []
    for side in _MATRICES:
        a, b, out = (torch.randn(side, side) for _ in range(3))

        def work(a: Tensor = a, b: Tensor = b, out: Tensor = out) -> int:
            torch.mm(a, b, out=out)
            return 2 * len(a) ** 3

        found.append(pace(work, seconds=seconds / len(_MATRICES)) / 1e9)
    return {"gigaflops": max(found)}
