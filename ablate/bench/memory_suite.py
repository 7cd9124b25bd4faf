"""`ablate bench memory`: what InfoNCE of a very large batch needs, in chunks of rows and all at once.

torch is imported by the contenders alone: a child's peak memory is at least what its parent held when it was
started.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ablate.bench.figures import Contender, Figure, Measured, Suite, run_alone

THREADS = 2
_TEMPERATURE = 0.2
_MIB = 2**20

_ABOUT = f"""\
`ablate.objective.info_nce` forwards and backwards, two views, `two_view` negatives, temperature
{_TEMPERATURE}, float32, {THREADS} threads. Plain: all rows of similarities at once. Chunked: its own choice
of rows at a time. Memory: growth of the process's peak over what it held with the embeddings made and one
tiny loss computed; on CUDA, growth of `torch.cuda.max_memory_allocated`. Difference of the loss: relative; of
the gradient: the largest of any entry, as a share of the largest entry.
"""


@dataclass(frozen=True)
class Sizes:
    """``chunk``: rows at a time; None: the loss's own choice."""

    images: int = 16_384
    dimension: int = 128
    chunk: int | None = None


QUICK = Sizes(images=512, dimension=16, chunk=100)


def memory_suite(sizes: Sizes, _scratch: Path, say: Callable[[str], None] = lambda _: None) -> Suite:
    """Contenders and figures; those of CUDA where there is a GPU."""
    gpu = run_alone(Contender("looking for a GPU", look_for_gpu))["gpus"] > 0
    if not gpu:
        say("no CUDA device here: the figures are of the CPU alone")
    contenders: list[Contender] = []
    figures: list[Figure] = []
    for device in ("cpu", "cuda") if gpu else ("cpu",):
        ways = {"plain": sizes.images, "chunked": sizes.chunk}
        for way, chunk in ways.items():
            work = partial(run_loss, sizes=sizes, chunk=chunk, device=device)
            contenders.append(Contender(f"{way} {device}", work))
        contenders.append(Contender(f"both {device}", partial(run_both, sizes=sizes, device=device)))
        figures += _figures(f"InfoNCE, {sizes.images:,} images, d {sizes.dimension}, {device}", device)
    return Suite("memory", _ABOUT, tuple(contenders), tuple(figures))


def _figures(name: str, device: str) -> list[Figure]:
    plain, chunked, both = (f"{way} {device}" for way in ("plain", "chunked", "both"))
    against = "plain"
    return [
        Figure(f"{name}: peak memory", against, f"{chunked}/mib", f"{plain}/mib", "MiB"),
        Figure(f"{name}: time", against, f"{chunked}/seconds", f"{plain}/seconds", "s"),
        Figure(f"{name}: difference of the loss", against, f"{both}/loss", None, "", ours_below=1e-5),
        Figure(f"{name}: difference of the gradient", against, f"{both}/gradient", None, "",
               ours_below=1e-5),
    ]  # fmt: skip


def look_for_gpu(_folder: Path) -> Measured:
    import torch

    return {"gpus": torch.cuda.device_count()}


def run_loss(_folder: Path, *, sizes: Sizes, chunk: int | None, device: str) -> Measured:
    """``mib`` that the peak of memory grows by, and ``seconds``."""
    import torch

    torch.set_num_threads(THREADS)
    _loss(_embeddings(8, sizes.dimension, device), chunk)
    views = _embeddings(sizes.images, sizes.dimension, device)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == "cuda" else _held()
    began = time.perf_counter()
    _loss(views, chunk)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _peak()
    return {"mib": (peak - before) / _MIB, "seconds": seconds}


def run_both(_folder: Path, *, sizes: Sizes, device: str) -> Measured:
    """Relative differences of the ``loss`` and of the ``gradient`` between the two ways."""
    import torch

    torch.set_num_threads(THREADS)
    found = []
    for chunk in (sizes.images, sizes.chunk):
        views = _embeddings(sizes.images, sizes.dimension, device)
        found.append((_loss(views, chunk), torch.cat([view.grad for view in views])))
    (loss, gradient), (chunked_loss, chunked_gradient) = found
    worst = (chunked_gradient - gradient).abs().max() / gradient.abs().max()
    return {"loss": abs(float((chunked_loss - loss) / loss)), "gradient": float(worst)}


def _embeddings(count: int, dimension: int, device: str) -> list[Any]:
    """Two views [count, dimension] of random directions, as close to each other as a trained net's."""
    import torch

    generator = torch.Generator().manual_seed(0)
    centre, *noise = torch.randn(3, count, dimension, generator=generator)
    return [(centre + 0.5 * n).to(device).requires_grad_() for n in noise]


def _loss(views: list[Any], chunk: int | None) -> Any:
    from ablate.objective import info_nce

    loss = info_nce(*views, temperature=_TEMPERATURE, chunk=chunk)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _held() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """The most that it has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
