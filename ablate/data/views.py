"""Two random views of each image, made on the device in one batched pass.

The recipe is SimCLR's (Chen et al., arXiv 2002.05709, appendix A), arranged for few passes over memory:

1. crop, resize, flip and rotation are one affine bilinear sample, both views of all images in one call;
2. brightness, contrast, saturation, hue and grayscale are one 3 x 3 colour matrix and one bias an image;
3. Gaussian blur (separable), solarisation, normalisation.

It agrees with torchvision's transforms in distribution, not bit for bit: torchvision clamps after each colour
shift and shuffles their order, here they compose in the order above and are clamped once; crops are not
rounded to whole pixels; angles, shapes, hues and blurs come in 1,024 steps, tabulated so that no view depends
on how a batch was vectorised. Steps of probability zero are skipped.

Every random number is a hash of (seed, epoch, sample id, view): a view is the same, bit for bit on one
machine, in any batch, on any number of workers and after any resume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.data.keyed import keyed_bits
from ablate.spec.streams import stream_seed
from ablate.spec.views import ViewSpec

_LEVELS = 1024  # steps of what is tabulated
_TRIES = 8  # crops drawn before one is cut to fit the image; torchvision tries 10
_GRAY = (0.299, 0.587, 0.114)  # luma, ITU-R BT.601
# Columns of the random numbers of one view.
_TURN, _FLIP, _LEFT, _TOP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _TO_GRAY = range(10)
_BLUR, _SIGMA, _SOLARIZE, _SHAPE = 10, 11, 12, 13
_DRAWS = _SHAPE + 2 * _TRIES


def two_views(
    images: Tensor, ids: Tensor, spec: ViewSpec, *, seed: int, epoch: int, alternates: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Two views of ``images``, uint8 [B, 3, H, W]: float32 [B, 3, S, S] each, normalised, channels_last.

    ``ids`` int64 [B] name the images: view v of image i depends on (seed, epoch, ids[i], v) and its pixels.
    ``alternates``, as images, are what is seen instead with probability ``spec.drop``, before the crop.
    Raises ValueError if they are needed and not given.
    """
    draws, tables = _draws(ids, seed, epoch), _tables(spec, images.device)
    views = _crop(images, draws, spec, tables)
    if spec.drop > 0:
        if alternates is None:
            raise ValueError("views.drop needs the alternate pictures of the images")
        dropped = dropped_views(ids, spec, seed=seed, epoch=epoch)[:, None, :, None, None]
        views = torch.where(dropped, _crop(alternates, draws, spec, tables), views)
    views = _colour(views, draws, spec, tables)
    if spec.blur > 0:
        views = _blur(views, draws, spec, tables)
    if spec.solarize > 0:
        flipped = _where(draws, _SOLARIZE, spec.solarize)[:, None] & (views >= 0.5)
        views = torch.where(flipped, 1 - views, views)
    first, second = _normalise(views, spec).unbind(2)
    channels_last = torch.channels_last
    return first.contiguous(memory_format=channels_last), second.contiguous(memory_format=channels_last)


def dropped_views(ids: Tensor, spec: ViewSpec, *, seed: int, epoch: int) -> Tensor:
    """bool [B, 2]: which views ``two_views`` makes of the alternate pictures, for the same arguments.

    Drawn from a stream of their own: what else is drawn for a view does not depend on ``spec.drop``.
    """
    dropped = _uniform(keyed_bits(stream_seed("drop", seed, epoch), ids, 2)) < spec.drop
    if spec.drop_views == "first":
        dropped[:, 1] = False
    return dropped


def view_parameters(
    images: Tensor, ids: Tensor, spec: ViewSpec, *, seed: int, epoch: int
) -> dict[str, Tensor]:
    """What ``two_views`` draws for the same arguments: float32 [B, 2] each, a column a view.

    ``crop_x``, ``crop_y``: the crop's centre, in (-1, 1) of the image; ``crop_area``: its share of it;
    ``flip``, ``gray``, ``solarize``, ``drop``: 0 or 1; ``rotation``: degrees; ``brightness``, ``contrast``,
    ``saturation``: factors, 1 where colours were not shifted; ``hue``: turns; ``blur``: sigma in pixels, 0
    where there is none. What the spec does not vary is constant.
    """
    draws, tables = _draws(ids, seed, epoch), _tables(spec, images.device)
    height, width = images.shape[2:]
    box_width, box_height = _boxes(height, width, draws, spec, tables)
    jitter = _uniform(draws[_JITTER]) < spec.jitter
    hue = spec.hue * _stepped(draws[_HUE])
    low, high = spec.blur_sigma
    sigma = low + (high - low) * (_stepped(draws[_SIGMA]) + 1) / 2
    return {
        "crop_x": _centre(draws, _LEFT, box_width / width),
        "crop_y": _centre(draws, _TOP, box_height / height),
        "crop_area": box_width * box_height / (width * height),
        "flip": (_uniform(draws[_FLIP]) < spec.flip).float(),
        "rotation": spec.rotate * _stepped(draws[_TURN]),
        "brightness": _factor(draws, _BRIGHTNESS, spec.brightness, jitter),
        "contrast": _factor(draws, _CONTRAST, spec.contrast, jitter),
        "saturation": _factor(draws, _SATURATION, spec.saturation, jitter),
        "hue": torch.where(jitter, hue, 0.0),
        "gray": (_uniform(draws[_TO_GRAY]) < spec.gray).float(),
        "blur": torch.where(_uniform(draws[_BLUR]) < spec.blur, sigma, 0.0),
        "solarize": (_uniform(draws[_SOLARIZE]) < spec.solarize).float(),
        "drop": dropped_views(ids, spec, seed=seed, epoch=epoch).float(),
    }


def plain_view(images: Tensor, spec: ViewSpec) -> Tensor:
    """``images`` uint8 [B, 3, H, W] as probes see them: float32 [B, 3, S, S], normalised, nothing random.

    The shorter side is resized to S (bilinear, antialiased) unless it has that size; the centre is kept.
    """
    pixels = images.float() / 255
    height, width = images.shape[2:]
    if min(height, width) != spec.size:
        scale = spec.size / min(height, width)
        size = (round(height * scale), round(width * scale))
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    top, left = ((side - spec.size) // 2 for side in pixels.shape[2:])
    centre = pixels[:, :, top : top + spec.size, left : left + spec.size]
    return _normalise(centre, spec).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Tables:
    """Functions of a draw, tabulated: entry k is for the k-th of ``_LEVELS`` equal steps of its range."""

    stretch: Tensor  # [L], sqrt(width / height) of a crop
    cos: Tensor  # [L], of the rotation
    sin: Tensor
    hue: Tensor  # [L, 3, 3]
    blur: Tensor  # [L, taps]


@lru_cache(maxsize=16)
def _tables(spec: ViewSpec, device: torch.device) -> _Tables:
    step = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
    low, high = (math.log(side) / 2 for side in spec.crop_aspect)
    angle = math.radians(spec.rotate) * (2 * step - 1)
    sigma = spec.blur_sigma[0] + (spec.blur_sigma[1] - spec.blur_sigma[0]) * step
    radius = min(math.ceil(3 * spec.blur_sigma[1]), spec.size - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma[:, None]) ** 2)
    tables = (
        torch.exp(low + (high - low) * step),
        angle.cos(),
        angle.sin(),
        _hue_matrices(2 * math.pi * spec.hue * (2 * step - 1)),
        taps / taps.sum(1, keepdim=True),
    )
    return _Tables(*(table.to(device, torch.float32) for table in tables))


def _hue_matrices(angle: Tensor) -> Tensor:
    """[L, 3, 3]: turn the colour plane of YIQ by ``angle`` [L], which leaves grey as it is.

    torchvision turns the hue of HSV instead.
    """
    to_yiq = torch.tensor(
        [_GRAY, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64
    )
    turn = torch.zeros(len(angle), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2] = angle.cos(), -angle.sin()
    turn[:, 2, 1], turn[:, 2, 2] = angle.sin(), angle.cos()
    return to_yiq.inverse() @ turn @ to_yiq


def _draws(ids: Tensor, seed: int, epoch: int) -> Tensor:
    """Random int64 [draw, B, view]."""
    bits = keyed_bits(stream_seed("views", seed, epoch), ids, 2 * _DRAWS)
    return bits.view(len(ids), 2, _DRAWS).permute(2, 0, 1).contiguous()


def _uniform(bits: Tensor) -> Tensor:
    """float32 in [0, 1), 24 bits of it, of random int64 ``bits``."""
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def _level(bits: Tensor) -> Tensor:
    """Uniform int64 in [0, _LEVELS)."""
    return (bits >> 40) & (_LEVELS - 1)


def _stepped(bits: Tensor) -> Tensor:
    """float32 in (-1, 1): where the tables' step of these ``bits`` lies in its range."""
    return (_level(bits).float() + 0.5) * (2 / _LEVELS) - 1


def _where(draws: Tensor, column: int, probability: float) -> Tensor:
    """bool [B, view, 1, 1], true with ``probability``."""
    return (_uniform(draws[column]) < probability)[..., None, None]


def _crop(images: Tensor, draws: Tensor, spec: ViewSpec, tables: _Tables) -> Tensor:
    """float32 [B, 3, view, S, S] in 0..255: random boxes of the images, turned, flipped and resized.

    What a turned box shows from outside the image is black.
    """
    height, width = images.shape[2:]
    box_width, box_height = _boxes(height, width, draws, spec, tables)
    # Affine map from the view's pixels to grid_sample's coordinates, in which the image spans -1..1.
    centre_x = _centre(draws, _LEFT, box_width / width)
    centre_y = _centre(draws, _TOP, box_height / height)
    across = torch.where(_uniform(draws[_FLIP]) < spec.flip, -box_width, box_width)
    cos, sin = tables.cos[_level(draws[_TURN])], tables.sin[_level(draws[_TURN])]
    size = spec.size
    axis = (2 * torch.arange(size, device=images.device) + 1 - size) / size
    grid = torch.empty(len(images), 2, size, size, 2, device=images.device)
    for k, (from_x, from_y, centre) in enumerate(
        ((across * cos / width, box_height * -sin / width, centre_x),
         (across * sin / height, box_height * cos / height, centre_y))
    ):  # fmt: skip
        column = (from_y[..., None] * axis + centre[..., None])[..., None]
        torch.add((from_x[..., None] * axis)[..., None, :], column, out=grid[..., k])
    views = F.grid_sample(
        images.float(),
        grid.view(len(images), 2 * size, size, 2),
        padding_mode="zeros" if spec.rotate > 0 else "border",
        align_corners=False,
    )
    return views.view(len(images), 3, 2, size, size)


def _boxes(height: int, width: int, draws: Tensor, spec: ViewSpec, tables: _Tables) -> tuple[Tensor, Tensor]:
    """Widths and heights [B, view] in pixels: the first drawn box that fits, or the last one cut to fit."""
    low, high = spec.crop_area
    area = low + (high - low) * _uniform(draws[_SHAPE : _SHAPE + _TRIES])
    side = (area * (height * width)).sqrt()
    stretch = tables.stretch[_level(draws[_SHAPE + _TRIES :])]
    wide, high_ = side * stretch, side / stretch
    fits = (wide <= width) & (high_ <= height)
    fits[-1] = True
    first = fits.byte().argmax(0)[None]
    return wide.gather(0, first)[0].clamp(max=width), high_.gather(0, first)[0].clamp(max=height)


def _centre(draws: Tensor, column: int, share: Tensor) -> Tensor:
    """[B, view] in (-1, 1): the middle of a crop that takes ``share`` of the image's side."""
    return (2 * _uniform(draws[column]) - 1) * (1 - share)


def _factor(draws: Tensor, column: int, strength: float, jitter: Tensor) -> Tensor:
    """[B, view] uniform in 1 +- ``strength``, or exactly 1 where there is no ``jitter``."""
    return torch.where(jitter, 1 + strength * (2 * _uniform(draws[column]) - 1), 1.0)


def _colour(views: Tensor, draws: Tensor, spec: ViewSpec, tables: _Tables) -> Tensor:
    """[B, 3, view, S, S] from 0..255 to 0..1, colours shifted."""
    jitters = spec.jitter > 0
    recolours = (jitters and (spec.saturation > 0 or spec.hue > 0)) or spec.gray > 0
    if not jitters and not recolours:
        return views.mul_(1 / 255)
    jitter = _uniform(draws[_JITTER]) < spec.jitter
    contrast = _factor(draws, _CONTRAST, spec.contrast, jitter)
    brightness = _factor(draws, _BRIGHTNESS, spec.brightness, jitter) / 255
    gain, bias = (contrast * brightness)[..., None, None], None
    if jitters and spec.contrast > 0:
        red, green, blue = views.mean((3, 4)).unbind(1)
        mean = red * _GRAY[0] + green * _GRAY[1] + blue * _GRAY[2]
        bias = ((1 - contrast) * brightness * mean)[:, None, :, None, None]
    views = _recolour(views, gain, draws, jitter, spec, tables) if recolours else views.mul_(gain[:, None])
    return (views if bias is None else views.add_(bias)).clamp_(0, 1)


def _recolour(
    views: Tensor, gain: Tensor, draws: Tensor, jitter: Tensor, spec: ViewSpec, tables: _Tables
) -> Tensor:
    """``gain`` times the matrix of saturation, then hue, then grayscale.

    The rows of each sum to 1, so grey stays grey and hue times saturation needs no matrix product.
    """
    gray = _constant(_GRAY, views.device).expand(3, 3)
    turned = jitter[..., None, None]
    hue = torch.where(turned, tables.hue[_level(draws[_HUE])], torch.eye(3, device=views.device))
    saturation = _factor(draws, _SATURATION, spec.saturation, jitter)[..., None, None]
    matrix = saturation * hue + (1 - saturation) * gray
    matrix = torch.where(_where(draws, _TO_GRAY, spec.gray), gray, matrix) * gain
    out = torch.empty_like(views)
    for c in range(3):
        weights = [matrix[..., c, k, None, None] for k in range(3)]
        torch.mul(views[:, 0], weights[0], out=out[:, c])
        out[:, c] += views[:, 1] * weights[1]
        out[:, c] += views[:, 2] * weights[2]
    return out


def _blur(views: Tensor, draws: Tensor, spec: ViewSpec, tables: _Tables) -> Tensor:
    """Blurred where drawn, by a Gaussian cut at three of the largest sigmas; edges are reflected.

    One depthwise convolution an axis, in which every colour plane of every view is a channel.
    """
    taps = tables.blur[_level(draws[_SIGMA])][:, None].expand(-1, 3, -1, -1).flatten(0, 2)[:, None]
    radius, planes = taps.shape[-1] // 2, views.flatten(0, 2)[None]
    padded = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, taps[:, :, None, :], groups=len(taps))
    blurred = F.conv2d(rows, taps[..., None], groups=len(taps)).view_as(views)
    return torch.where(_where(draws, _BLUR, spec.blur)[:, None], blurred, views)


def _normalise(pixels: Tensor, spec: ViewSpec) -> Tensor:
    """(pixels - mean) / std of [B, 3, ...], in place."""
    shape = (3, *[1] * (pixels.ndim - 2))
    mean, std = (_constant(c, pixels.device).view(shape) for c in (spec.mean, spec.std))
    return pixels.sub_(mean).div_(std)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """``values`` on the device, sent there once: each copy from the CPU waits for the GPU to fall idle."""
    return torch.tensor(values, device=device)
