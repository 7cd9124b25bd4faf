"""What is drawn for the two random views of an image, and what that asks of whoever makes them.

Every random number is a hash of (seed, epoch, sample id, view), see ``keyed.py``; functions of a draw that a
processor may round in its own way (angles, shapes, hues, blurs) are read from tables of 1,024 steps. So a
draw is the same in any batch, on any number of workers and after any resume. ``draw`` gives the numbers by
name, ``recipe`` what a renderer needs of them (``view_kernel.py`` on the CPU, ``view_torch.py`` on a GPU).
Nothing here waits for a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ablate.data.keyed import keyed_bits
from ablate.spec.streams import stream_seed
from ablate.spec.views import ViewSpec

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_LEVELS = 1024  # steps of what is tabulated
_TRIES = 10  # crops drawn before the largest central one is taken, as in torchvision
# Columns of the random numbers of one view: coins, colour factors, the crop's place, levels, crops.
_COINS, _FACTORS = slice(0, 5), slice(5, 8)
_LEFT, _TOP, _TURN, _HUE, _SIGMA, _SHAPE = range(8, 14)
_DRAWS = _SHAPE + _TRIES


@dataclass(frozen=True)
class Drawn:
    """What was drawn for B images: tensors [B, 2], a column a view."""

    left: Tensor  # float32, of the crop, in whole pixels
    top: Tensor
    width: Tensor
    height: Tensor
    flip: Tensor  # bool
    turn: Tensor  # int64, level of the rotation
    jitter: Tensor  # bool: whether there are colour shifts
    brightness: Tensor  # float32 factors, exactly 1 without colour shifts
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # int64, level, to be ignored without colour shifts
    gray: Tensor  # bool
    blur: Tensor  # bool
    sigma: Tensor  # int64, level of the blur, to be ignored without one
    solarize: Tensor  # bool


@dataclass(frozen=True)
class Recipe:
    """How to make the views; ``affine`` and ``matrix`` act on columns (x, y, 1) and (r, g, b)."""

    affine: Tensor  # float32 [B, 2, 2, 3]: place in the view, -1..1, to pixels from the image's middle
    matrix: Tensor  # float32 [B, 2, 3, 3]: colours in 0..255 to 0..1
    bias: Tensor  # float32 [B, 2], times the crop's mean luma in 0..255: added to every channel
    blur: Tensor  # bool [B, 2]
    sigma: Tensor  # int64 [B, 2], row of ``Tables.blur``
    solarize: Tensor  # bool [B, 2]


@dataclass(frozen=True)
class Tables:
    """Functions of a level: entry k is for the k-th of ``_LEVELS`` equal steps of its range."""

    stretch: Tensor  # [L], sqrt(width / height) of a crop
    cos: Tensor  # [L], of the rotation
    sin: Tensor
    hue: Tensor  # [L, 3, 3]
    blur: Tensor  # [L, taps]


def draw(ids: Tensor, side: tuple[int, int], spec: ViewSpec, *, seed: int, epoch: int) -> Drawn:
    """Draws for the images ``ids``, int64 [B], of ``side`` = (height, width) pixels."""
    bits = keyed_bits(stream_seed("views", seed, epoch), ids, 2 * _DRAWS)
    bits = bits.view(len(ids), 2, _DRAWS).permute(2, 0, 1)
    uniform, level = _uniform(bits), (bits >> 16) & (_LEVELS - 1)
    left, top, width, height = _box(uniform, level[_SHAPE:], side, spec)
    flip, jitter, gray, blur, solarize = (uniform[_COINS] < _chances(spec, ids.device)).unbind()
    strength = constant((spec.brightness, spec.contrast, spec.saturation), ids.device)[:, None, None]
    shifts = torch.where(jitter, 1 + strength * (2 * uniform[_FACTORS] - 1), 1.0)
    brightness, contrast, saturation = shifts.unbind()
    return Drawn(
        left=left, top=top, width=width, height=height, flip=flip, turn=level[_TURN],
        jitter=jitter, brightness=brightness, contrast=contrast, saturation=saturation, hue=level[_HUE],
        gray=gray, blur=blur, sigma=level[_SIGMA], solarize=solarize,
    )  # fmt: skip


def dropped_views(ids: Tensor, spec: ViewSpec, *, seed: int, epoch: int) -> Tensor:
    """bool [B, 2]: which views ``two_views`` makes of the alternate pictures, for the same arguments.

    From a stream of their own: what else is drawn for a view does not depend on ``spec.drop``.
    """
    dropped = _uniform(keyed_bits(stream_seed("drop", seed, epoch), ids, 2)) < spec.drop
    if spec.drop_views == "first":
        dropped[:, 1] = False
    return dropped


def stepped(level: Tensor) -> Tensor:
    """float32 in (-1, 1): where the step ``level`` of a table lies in its range."""
    return (level.float() + 0.5) * (2 / _LEVELS) - 1


def recipe(drawn: Drawn, side: tuple[int, int], spec: ViewSpec) -> Recipe:
    """What the draws ask for, of images of ``side`` = (height, width)."""
    device = drawn.left.device
    table = tables(spec, device)
    across = torch.where(drawn.flip, -drawn.width, drawn.width)
    cos, sin = table.cos[drawn.turn], table.sin[drawn.turn]
    x = torch.stack([across * cos, -drawn.height * sin, 2 * drawn.left + drawn.width - side[1]], 2)
    y = torch.stack([across * sin, drawn.height * cos, 2 * drawn.top + drawn.height - side[0]], 2)

    identity, luma = _identity(device), constant(LUMA, device).expand(3, 3)
    hue = torch.where(drawn.jitter[..., None, None], table.hue[drawn.hue], identity)
    # Rows of every matrix sum to 1, so grey stays grey and saturation times hue needs no matrix product.
    saturation = drawn.saturation[..., None, None]
    colour = torch.where(drawn.gray[..., None, None], luma, saturation * hue + (1 - saturation) * luma)
    brightness = drawn.brightness / 255
    matrix = colour * (drawn.contrast * brightness)[..., None, None]
    bias = (1 - drawn.contrast) * brightness
    return Recipe(torch.stack([x, y], 2) / 2, matrix, bias, drawn.blur, drawn.sigma, drawn.solarize)


@lru_cache(maxsize=16)
def tables(spec: ViewSpec, device: torch.device) -> Tables:
    """The tables for these constants, made once a process and device."""
    step = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
    low, high = (math.log(side) / 2 for side in spec.crop_aspect)
    angle = math.radians(spec.rotate) * (2 * step - 1)
    sigma = spec.blur_sigma[0] + (spec.blur_sigma[1] - spec.blur_sigma[0]) * step
    radius = min(math.ceil(3 * spec.blur_sigma[1]), spec.size - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma[:, None]) ** 2)
    made = (
        torch.exp(low + (high - low) * step),
        angle.cos(),
        angle.sin(),
        _hue_matrices(2 * math.pi * spec.hue * (2 * step - 1)),
        taps / taps.sum(1, keepdim=True),
    )
    return Tables(*(table.to(device, torch.float32) for table in made))


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """``values`` on the device, sent there once: each copy from the CPU waits for the GPU to fall idle."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=8)
def _identity(device: torch.device) -> Tensor:
    return torch.eye(3, device=device)


def _chances(spec: ViewSpec, device: torch.device) -> Tensor:
    """[coin, 1, view]"""
    second = [spec.flip, spec.jitter, spec.gray, spec.blur_of_second, spec.solarize_of_second]
    first = [spec.flip, spec.jitter, spec.gray, spec.blur, spec.solarize]
    return constant((*first, *second), device).view(2, 1, 5).permute(2, 1, 0)


def _uniform(bits: Tensor) -> Tensor:
    """float32 in [0, 1), 24 bits of it, of random int64 ``bits``."""
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def _box(
    uniform: Tensor, shapes: Tensor, side: tuple[int, int], spec: ViewSpec
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, top, width and height of the crops, each [B, view], drawn as torchvision draws them.

    The first of ``_TRIES`` boxes of whole pixels that fits the image, anywhere in it; or else the largest
    in the middle that has an allowed shape.
    """
    height, width = side
    low, high = spec.crop_area
    root = ((low + (high - low) * uniform[_SHAPE:]) * (height * width)).sqrt()
    stretch = tables(spec, uniform.device).stretch[shapes]
    wide, tall = (root * stretch).round(), (root / stretch).round()
    found, first = ((wide <= width) & (tall <= height)).byte().max(0)
    found, first = found.bool(), first[None]
    narrowest, widest = spec.crop_aspect
    wide = torch.where(found, wide.gather(0, first)[0], min(width, round(height * widest))).clamp(min=1)
    tall = torch.where(found, tall.gather(0, first)[0], min(height, round(width / narrowest))).clamp(min=1)
    left = torch.where(found, uniform[_LEFT] * (width - wide + 1), (width - wide) / 2).floor()
    top = torch.where(found, uniform[_TOP] * (height - tall + 1), (height - tall) / 2).floor()
    return left, top, wide, tall


def _hue_matrices(angle: Tensor) -> Tensor:
    """[L, 3, 3]: turn the colour plane of YIQ by ``angle`` [L], which leaves grey as it is.

    torchvision turns the hue of HSV instead.
    """
    to_yiq = torch.tensor(
        [LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64
    )
    turn = torch.zeros(len(angle), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2] = angle.cos(), -angle.sin()
    turn[:, 2, 1], turn[:, 2, 2] = angle.sin(), angle.cos()
    return to_yiq.inverse() @ turn @ to_yiq
