"""The compiled views of the CPU: those of the batched torch operations, whatever batch, thread or process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import caching
from torch import Tensor

from ablate.data import DataError, two_views, view_kernel, view_torch
from ablate.data.view_draws import draw, dropped_views, recipe
from ablate.spec.views import VIEW_PRESETS, ViewSpec
from tests.data.test_views import EVERYTHING, batch

PRESETS = [ViewSpec(**VIEW_PRESETS[name]) for name in VIEW_PRESETS]
STRAIGHT = EVERYTHING.model_copy(update={"rotate": 0.0})
UNEQUAL = STRAIGHT.model_copy(update={"blur_second": 1.0, "solarize_second": 0.0, "drop": 0.3})


def by_torch(
    images: Tensor, ids: Tensor, spec: ViewSpec, alternates: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The views of seed 5, epoch 2, by the operations of a GPU."""
    side = (images.shape[2], images.shape[3])
    asked = recipe(draw(ids, side, spec, seed=5, epoch=2), side, spec)
    dropped = dropped_views(ids, spec, seed=5, epoch=2) if spec.drop else None
    return view_torch.render(images, asked, spec, alternates, dropped)


def smooth(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pictures whose colours change as slowly as photos do."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(count))
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (images * 255).byte().contiguous(memory_format=torch.channels_last), torch.arange(count) * 11


def difference(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], spec: ViewSpec) -> float:
    """The largest of any pixel, with pixels in 0..1."""
    std = torch.tensor(spec.std)[:, None, None]
    return max(float(((a - b) * std).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("spec", [EVERYTHING, STRAIGHT, UNEQUAL, *PRESETS])
def test_both_ways_make_the_same_views(spec: ViewSpec) -> None:
    count = 6 if spec.size > 100 else 60
    images, ids = smooth(count, spec.size + 40, spec.size + 9)
    alternates = 255 - images
    found = two_views(images, ids, spec, seed=5, epoch=2, alternates=alternates)
    assert difference(found, by_torch(images, ids, spec, alternates), spec) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(8, 40),
    height=st.integers(8, 50),
    width=st.integers(8, 50),
    rotate=st.sampled_from([0.0, 15.0, 180.0]),
    sigma=st.floats(0.1, 6.0),
)
def test_also_for_any_sizes_of_noise(size: int, height: int, width: int, rotate: float, sigma: float) -> None:
    spec = EVERYTHING.model_copy(update={"size": size, "rotate": rotate, "blur_sigma": (0.1, sigma)})
    images, ids = batch(12, size=height, width=width)
    found = two_views(images, ids, spec, seed=5, epoch=2)
    assert difference(found, by_torch(images, ids, spec), spec) < 5e-5


@pytest.mark.parametrize("spec", [EVERYTHING, STRAIGHT])
def test_neither_way_depends_on_the_batch(spec: ViewSpec) -> None:
    images, ids = batch(33, size=19)
    chosen = torch.tensor([31, 0, 7])
    for render in (by_torch, lambda *given: two_views(*given, seed=5, epoch=2)):
        whole, part = render(images, ids, spec), render(images[chosen], ids[chosen], spec)
        assert torch.equal(part[0], whole[0][chosen])
        assert torch.equal(part[1], whole[1][chosen])


@pytest.mark.parametrize("spec", [EVERYTHING, UNEQUAL])
def test_a_gpus_views_wait_for_no_number_of_its(spec: ViewSpec) -> None:
    """On a device without numbers, whatever would fetch one, or mix it with the CPU, is an error."""
    images = torch.empty(9, 3, 20, 24, dtype=torch.uint8, device="meta")
    ids = rows = torch.empty(5, dtype=torch.int64, device="meta")
    for view in two_views(images, ids, spec, seed=0, epoch=0, alternates=images, rows=rows):
        assert (view.device.type, view.shape, view.dtype) == ("meta", (5, 3, 15, 15), torch.float32)
        assert view.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_rows_say_which_of_more_images_are_meant(memory: torch.memory_format) -> None:
    images, ids = batch(30, size=20)
    images, rows = images.contiguous(memory_format=memory), torch.tensor([4, 29, 4, 0])
    expected = two_views(images[rows], ids[rows], UNEQUAL, seed=5, epoch=2, alternates=255 - images[rows])
    found = two_views(images, ids[rows], UNEQUAL, seed=5, epoch=2, alternates=255 - images, rows=rows)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("wrong", [-1, 30])
def test_rows_that_are_not_there_are_refused(wrong: int) -> None:
    images, ids = batch(30)
    with pytest.raises(IndexError, match="within 0 and 29"):
        two_views(images, ids[:2], EVERYTHING, seed=5, epoch=2, rows=torch.tensor([3, wrong]))


def test_no_images_make_no_views() -> None:
    images, ids = batch(3)
    first, second = two_views(images[:0], ids[:0], EVERYTHING, seed=0, epoch=0)
    assert first.shape == second.shape == (0, 3, 15, 15)


_ELSEWHERE = """
import hashlib, sys
import torch
from ablate.data.ffcv_io import _ffcv
from ablate.data import two_views
from tests.data.test_views import EVERYTHING, batch

def import_ffcv():
    with _ffcv():
        pass

def views():
    first, second = two_views(*batch(64), EVERYTHING, seed=0, epoch=0)
    return hashlib.sha256(first.numpy().tobytes() + second.numpy().tobytes()).hexdigest()

if sys.argv[1] == "ffcv first":
    import_ffcv()
    print(views())
else:
    views()
    import_ffcv()
    print(views())
"""


def test_two_processes_that_compile_at_once_agree_whichever_imports_ffcv_first(tmp_path: Path) -> None:
    there = {"cwd": Path(__file__).parents[2], "env": {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _ELSEWHERE, order], **there, stdout=subprocess.PIPE, text=True
        )
        for order in ("ffcv first", "views first")
    ]
    said = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    first, second = two_views(*batch(64), EVERYTHING, seed=0, epoch=0)
    here = hashlib.sha256(first.numpy().tobytes() + second.numpy().tobytes()).hexdigest()
    assert said == [here, here]
    assert list(tmp_path.rglob("*.nbc"))  # kept for the next process


def test_where_nothing_can_be_kept_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("InTreeCacheLocator", "UserWideCacheLocator", "IPythonCacheLocator"):
        monkeypatch.setattr(getattr(caching, name), "from_function", lambda *_: None)
    with pytest.raises(DataError, match="Set NUMBA_CACHE_DIR"):
        view_kernel._load()


def test_with_numbas_compiler_switched_off_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(DataError, match="NUMBA_DISABLE_JIT is set"):
        view_kernel._load()
