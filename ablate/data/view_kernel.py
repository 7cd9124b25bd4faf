"""The two views of each image in one compiled pass on the CPU: no intermediate but a few rows of one image.

Numba compiles this file once a machine (some seconds, in a process of its own) and keeps the result beside it
in ``__pycache__``, or in the user's cache where that cannot be written; all processes load it. Threads are
Python's own, for the kernel runs without the interpreter's lock: numba's threading layers, which clash with
other pools, are never started. Every view is made by the same instructions whatever batch or thread it is in,
so it is the same bit for bit; the steps are those of ``views.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import rtsys
from numpy.typing import NDArray
from torch import Tensor

from ablate.data.error import DataError
from ablate.data.view_draws import LUMA, Recipe, tables
from ablate.spec.views import ViewSpec

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Places = NDArray[np.uintp]

_ZERO, _ONE, _NEXT = np.float32(0), np.float32(1), np.uintp(1)  # plain literals would make float64 of all
_NEGLIGIBLE = np.float32(1e-7)  # a tap of the blur, beside 1
_COMPILES = "_ABLATE_COMPILES_VIEWS"  # set in the process that compiles
_NUMBER, _FLAT = types.int64, types.Array(types.float32, 1, "C")
_PIXELS, _TABLE = types.Array(types.uint8, 1, "C"), types.Array(types.float32, 2, "C")
_SIGNATURE = types.void(
    _PIXELS, _PIXELS, types.Array(_NUMBER, 1, "C"), types.Array(types.float32, 3, "C"), _TABLE, _TABLE,
    _NUMBER, _NUMBER, _NUMBER, types.boolean, _FLAT, _FLAT, _NUMBER, _NUMBER,
)  # fmt: skip
# Columns of what is asked for one view.
_AFFINE, _MATRIX, _BIAS, _SIGMA, _SOLARIZE, _DROPPED = 0, 6, 15, 16, 17, 18


def render(
    images: Tensor,
    rows: Tensor | None,
    recipe: Recipe,
    spec: ViewSpec,
    alternates: Tensor | None,
    dropped: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Both views of ``images[rows]``, uint8 [B, 3, H, W]: float32 [B, 3, S, S], normalised, channels_last.

    Without ``rows``, of all images. Views that are ``dropped``, bool [B, 2], are made of ``alternates``.
    """
    count = len(recipe.bias)
    sources = [images] if alternates is None else [images, alternates]
    if rows is not None and not all(s.is_contiguous(memory_format=torch.channels_last) for s in sources):
        sources, rows = [source[rows] for source in sources], None
    pixels = [source.permute(0, 2, 3, 1).contiguous().flatten().numpy() for source in sources]
    order = torch.arange(count) if rows is None else rows.contiguous()
    if count and not 0 <= int(order.min()) <= int(order.max()) < len(sources[0]):
        raise IndexError(f"rows must lie within 0 and {len(sources[0]) - 1}")
    # numpy asks the system for large pages; to get as much in small ones can take as long as the views.
    first, second = torch.from_numpy(np.empty((2, count, spec.size, spec.size, 3), np.float32)).unbind()
    arguments = (
        pixels[0],
        pixels[-1],
        order.numpy(),
        _asked(recipe, dropped).numpy(),
        _half_taps(spec),
        _colours(spec),
        *images.shape[2:],
        spec.size,
        spec.rotate > 0,
        first.view(-1).numpy(),
        second.view(-1).numpy(),
    )
    parts = min(torch.get_num_threads(), max(count, 1))
    if parts == 1:
        _render(*arguments, 0, count)
    else:
        bounds = [count * part // parts for part in range(parts + 1)]
        done = _pool(parts).map(lambda a, b: _render(*arguments, a, b), bounds[:-1], bounds[1:])
        list(done)  # raises what a thread raised
    return first.permute(0, 3, 1, 2), second.permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="views")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has the pool, but none of its threads


def _asked(recipe: Recipe, dropped: Tensor | None) -> Tensor:
    """float32 [B, 2, columns]"""
    last = [
        recipe.bias,
        torch.where(recipe.blur, recipe.sigma, -1),
        recipe.solarize,
        torch.zeros_like(recipe.bias) if dropped is None else dropped,
    ]
    return torch.cat([recipe.affine.flatten(2), recipe.matrix.flatten(2), torch.stack(last, 2)], 2)


@lru_cache(maxsize=16)
def _half_taps(spec: ViewSpec) -> Floats:
    """[level, tap]: of the blurs' symmetric taps, the middle one and those to its right."""
    taps = tables(spec, torch.device("cpu")).blur
    half: Floats = taps[:, taps.shape[1] // 2 :].contiguous().numpy()
    return half


def _colours(spec: ViewSpec) -> Floats:
    """Rows of three channels: luma, and what a normalised view is multiplied by and shifted by.

    (Arguments, not constants: numba does not see that a value of another file has changed.)
    """
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return np.array([LUMA, [1 / std for std in spec.std], shift], dtype=np.float32)


def _compiled(function: F) -> F:
    """Compiled when compiled code first needs it. The lock: see ``ffcv_io.py``, whose import of FFCV has to
    switch the compiler off for a moment."""
    with global_compiler_lock:
        return numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})(function)  # type: ignore[no-any-return]


# Arrays are flat and places in them unsigned: only then are loops vectorised (several times faster), for a
# signed place might be counted from the end. ``planes`` holds a view's red, then its green, then its blue.


@_compiled
def _axis(
    scale: float, middle: float, side: int, step: int, low: Places, high: Places, weight: Floats, size: int
) -> None:
    """For each pixel along one axis of the view, the two pixels of the image that it lies between (times
    ``step``), and how far along; beyond the edge it is the last pixel."""
    for k in range(size):
        at = scale * ((2 * k + 1 - size) / size) + middle + 0.5 * (side - 1)
        at = min(max(at, 0.0), side - 1.0)
        below = int(at)
        low[k] = below * step
        high[k] = min(below + 1, side - 1) * step
        weight[k] = np.float32(at - below)


@_compiled
def _mix(source: Bytes, one: Any, other: Any, weight: Any, begin: Any, end: Any, line: Floats) -> None:
    """Of two rows of the image, the part from ``begin`` to ``end``, into ``line``."""
    for k in range(begin, end):
        value = np.float32(source[one + k])
        line[k] = value + weight * (np.float32(source[other + k]) - value)


@_compiled
def _pick(
    line: Floats, left: Places, right: Places, across: Floats, red: Any, green: Any, blue: Any, planes: Floats
) -> None:
    """A row of the view from ``line``; ``red``, ``green`` and ``blue`` are where it begins in ``planes``."""
    for k in range(np.uintp(len(left))):
        a, b, weight = left[k], right[k], across[k]
        value = line[a]
        planes[red + k] = value + weight * (line[b] - value)
        value = line[a + _NEXT]
        planes[green + k] = value + weight * (line[b + _NEXT] - value)
        value = line[a + _NEXT + _NEXT]
        planes[blue + k] = value + weight * (line[b + _NEXT + _NEXT] - value)


@_compiled
def _crop(
    source: Bytes, start: Any, height: int, width: int, wish: Floats, size: int, line: Floats, planes: Floats,
    left: Places, right: Places, above: Places, below: Places, across: Floats, down: Floats,
) -> None:  # fmt: skip
    """A box of the image, whose pixels begin at ``start``, flipped and resized: in 0..255."""
    _axis(wish[_AFFINE], wish[_AFFINE + 2], width, 3, left, right, across, size)
    _axis(wish[_AFFINE + 4], wish[_AFFINE + 5], height, 3 * width, above, below, down, size)
    begin, end = min(left[0], left[size - 1]), max(right[0], right[size - 1]) + np.uintp(3)
    area = np.uintp(size * size)
    for k in range(size):
        _mix(source, start + above[k], start + below[k], down[k], begin, end, line)
        row = np.uintp(k * size)
        _pick(line, left, right, across, row, area + row, area + area + row, planes)


@_compiled
def _turn(
    source: Bytes, start: Any, height: int, width: int, wish: Floats, size: int, planes: Floats
) -> None:
    """As ``_crop``, of a box that may be turned; outside the image it is black."""
    for i in range(size):
        v = (2 * i + 1 - size) / size
        for j in range(size):
            u = (2 * j + 1 - size) / size
            x = wish[_AFFINE] * u + wish[_AFFINE + 1] * v + wish[_AFFINE + 2] + 0.5 * (width - 1)
            y = wish[_AFFINE + 3] * u + wish[_AFFINE + 4] * v + wish[_AFFINE + 5] + 0.5 * (height - 1)
            left, top = int(np.floor(x)), int(np.floor(y))
            across, down = np.float32(x - left), np.float32(y - top)
            red, green, blue = _ZERO, _ZERO, _ZERO
            for corner in range(4):
                row, column = top + (corner >> 1), left + (corner & 1)
                if 0 <= row < height and 0 <= column < width:
                    weight = (down if corner & 2 else _ONE - down) * (across if corner & 1 else _ONE - across)
                    at = start + np.uintp(3 * (row * width + column))
                    red += weight * np.float32(source[at])
                    green += weight * np.float32(source[at + _NEXT])
                    blue += weight * np.float32(source[at + _NEXT + _NEXT])
            planes[i * size + j] = red
            planes[size * size + i * size + j] = green
            planes[2 * size * size + i * size + j] = blue


@_compiled
def _mean_luma(planes: Floats, area: Any, luma: Floats) -> Any:
    red, green, blue, total = luma[0], luma[1], luma[2], _ZERO
    for p in range(area):
        total += red * planes[p] + green * planes[area + p] + blue * planes[area + area + p]
    return total / np.float32(area)


@_compiled
def _colour(planes: Floats, area: Any, wish: Floats, luma: Floats) -> None:
    """From 0..255 to 0..1, shifted as asked, in place."""
    bias = _ZERO
    if wish[_BIAS] != _ZERO:
        bias = wish[_BIAS] * _mean_luma(planes, area, luma)
    m = wish[_MATRIX : _MATRIX + 9]
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]
    for p in range(area):
        red, green, blue = planes[p], planes[area + p], planes[area + area + p]
        planes[p] = min(max(m0 * red + m1 * green + m2 * blue + bias, _ZERO), _ONE)
        planes[area + p] = min(max(m3 * red + m4 * green + m5 * blue + bias, _ZERO), _ONE)
        planes[area + area + p] = min(max(m6 * red + m7 * green + m8 * blue + bias, _ZERO), _ONE)


@_compiled
def _convolve(
    source: Floats, places: Places, radius: int, taps: Floats, out: Floats, at: Any, count: Any
) -> None:
    """``count`` numbers of ``out`` from ``at`` on: sums of ``source`` from 2 ``radius`` + 1 ``places`` on,
    weighted by ``taps``, of which the first is the middle one."""
    tap, place = taps[0], places[radius]
    for k in range(count):
        out[at + k] = tap * source[place + k]
    t = 1
    while t + 2 <= radius:  # three pairs at once, for a pass over memory costs as much as they do
        a, b, c = taps[t], taps[t + 1], taps[t + 2]
        a1, b1, c1 = places[radius - t], places[radius - t - 1], places[radius - t - 2]
        a2, b2, c2 = places[radius + t], places[radius + t + 1], places[radius + t + 2]
        for k in range(count):
            two = a * (source[a1 + k] + source[a2 + k]) + b * (source[b1 + k] + source[b2 + k])
            out[at + k] += two + c * (source[c1 + k] + source[c2 + k])
        t += 3
    while t <= radius:
        a, a1, a2 = taps[t], places[radius - t], places[radius + t]
        for k in range(count):
            out[at + k] += a * (source[a1 + k] + source[a2 + k])
        t += 1


@_compiled
def _blur(planes: Floats, size: int, taps: Floats, places: Places, line: Floats, blurred: Floats) -> None:
    """``planes`` to ``blurred``, down the columns and along the rows, edges reflected. ``taps``: the middle
    one and those to one side; ``places`` [2 taps] and ``line`` [S + 2 taps] are room to work in."""
    last, radius = size - 1, len(taps) - 1
    while radius > 0 and taps[radius] < _NEGLIGIBLE:
        radius -= 1
    for row in range(3 * size):
        top = row // size * size
        for t in range(-radius, radius + 1):
            place = last - abs(last - abs(row - top + t))
            places[radius + t] = (top + place) * size
        _convolve(planes, places, radius, taps, line, np.uintp(radius), np.uintp(size))
        for t in range(1, radius + 1):
            line[radius - t] = line[radius + t]
            line[radius + last + t] = line[radius + last - t]
        for t in range(2 * radius + 1):
            places[t] = t
        _convolve(line, places, radius, taps, blurred, np.uintp(row * size), np.uintp(size))


@_compiled
def _finish(
    planes: Floats, area: Any, solarize: bool, scale: Floats, shift: Floats, out: Floats, at: Any
) -> None:
    """Solarised if asked, normalised, to ``out`` from ``at`` on, channels last."""
    if solarize:
        for p in range(area + area + area):
            planes[p] = min(planes[p], _ONE - planes[p])
    red, green, blue, r, g, b = scale[0], scale[1], scale[2], shift[0], shift[1], shift[2]
    for p in range(area):
        place = at + p * np.uintp(3)
        out[place] = planes[p] * red + r
        out[place + _NEXT] = planes[area + p] * green + g
        out[place + _NEXT + _NEXT] = planes[area + area + p] * blue + b


def _views(
    images: Bytes,
    alternates: Bytes,
    rows: NDArray[np.int64],
    wishes: Floats,
    taps: Floats,
    colours: Floats,
    height: int,
    width: int,
    size: int,
    turns: bool,
    first: Floats,
    second: Floats,
    start: int,
    stop: int,
) -> None:
    """Views ``start`` to ``stop`` of the images [N, H, W, 3] at ``rows``, to ``first`` and ``second``
    [B, S, S, 3]; these four arrays are flat."""
    area = np.uintp(size * size)
    planes, blurred = np.empty(3 * size * size, np.float32), np.empty(3 * size * size, np.float32)
    line = np.empty(max(3 * width, size + 2 * taps.shape[1]), np.float32)
    left, right = np.empty(size, np.uintp), np.empty(size, np.uintp)
    above, below = np.empty(size, np.uintp), np.empty(size, np.uintp)
    across, down = np.empty(size, np.float32), np.empty(size, np.float32)
    places = np.empty(2 * taps.shape[1], np.uintp)
    for b in range(start, stop):
        begin = np.uintp(rows[b] * height * width * 3)
        for view in range(2):
            wish, out = wishes[b, view], first if view == 0 else second
            source = alternates if wish[_DROPPED] > _ZERO else images
            if turns:
                _turn(source, begin, height, width, wish, size, planes)
            else:
                _crop(
                    source, begin, height, width, wish, size, line, planes,
                    left, right, above, below, across, down,
                )  # fmt: skip
            _colour(planes, area, wish, colours[0])
            done = planes
            if wish[_SIGMA] >= _ZERO:
                _blur(planes, size, taps[int(wish[_SIGMA])], places, line, blurred)
                done = blurred
            at = np.uintp(b * size * size * 3)
            _finish(done, area, wish[_SOLARIZE] > _ZERO, colours[1], colours[2], out, at)


def _load() -> Callable[..., None]:
    """The kernel as it was compiled earlier, or by another process now. Raises DataError if that fails."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        raise DataError("NUMBA_DISABLE_JIT is set, but views on the CPU are made by compiled code; unset it")
    try:
        with global_compiler_lock:
            kernel = numba.njit(nogil=True, error_model="numpy", cache=True)(_views)
            if os.environ.get(_COMPILES):
                kernel.compile(_SIGNATURE)
                return kernel  # type: ignore[no-any-return]
            kept = _kept(kernel)
            for _ in range(3):  # numba's index has no lock: another process may write over what is new in it
                if kept is None:
                    _compile_elsewhere()
                    kept = _kept(kernel)
            if kept is None:
                raise DataError("the compiled views were not kept; set NUMBA_CACHE_DIR to another folder")
            kernel.add_overload(kept)
            kernel.disable_compile()
    except RuntimeError as error:
        raise DataError(
            f"the compiled views cannot be kept: neither the package's folder nor the user's cache can be "
            f"written. Set NUMBA_CACHE_DIR to a folder that can. (numba: {error})"
        ) from error
    return kernel  # type: ignore[no-any-return]


def _kept(kernel: Any) -> Any:
    """Left to itself numba loads all that a compiler needs (0.6 s, with scipy) before it looks."""
    rtsys.initialize(kernel.targetctx)
    return kernel._cache._load_overload(_SIGNATURE, kernel.targetctx)


def _compile_elsewhere() -> None:
    """Where it was compiled the kernel calls the functions above as each was compiled for itself; where it is
    loaded, as they were compiled into it, which rounds a little otherwise. So every process loads it."""
    here = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import {__name__}"
    try:
        child = subprocess.run(
            [sys.executable, "-c", here],
            env=os.environ | {_COMPILES: "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise DataError(
            f"the views cannot be compiled, for which another process is needed: {error}"
        ) from error
    if child.returncode:
        said = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        raise DataError(f"the views cannot be compiled: {said}")


_render = _load()
