"""Two views of each image in batched torch operations: how a GPU makes them; the CPU's are tested against it.

Few passes over memory and no wait for the GPU: both views of all images go through every step in one call.
The steps are those of ``views.py``; steps of probability zero are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.data.view_draws import LUMA, Recipe, constant, tables
from ablate.spec.views import ViewSpec


def render(
    images: Tensor, recipe: Recipe, spec: ViewSpec, alternates: Tensor | None, dropped: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Both views of ``images``, uint8 [B, 3, H, W]: float32 [B, 3, S, S] each, normalised, channels_last.

    Views that are ``dropped``, bool [B, 2], are made of ``alternates``.
    """
    views = _crop(images, recipe, spec)
    if alternates is not None and dropped is not None:
        views = torch.where(dropped[:, None, :, None, None], _crop(alternates, recipe, spec), views)
    views = _colour(views, recipe, spec)
    if max(spec.blur, spec.blur_of_second) > 0:
        views = _blur(views, recipe, spec)
    if max(spec.solarize, spec.solarize_of_second) > 0:
        views = torch.where(_each(recipe.solarize), torch.minimum(views, 1 - views), views)
    first, second = normalise(views, spec).unbind(2)
    channels_last = torch.channels_last
    return first.contiguous(memory_format=channels_last), second.contiguous(memory_format=channels_last)


def normalise(pixels: Tensor, spec: ViewSpec) -> Tensor:
    """(pixels - mean) / std of [B, 3, ...], in place."""
    shape = (3, *[1] * (pixels.ndim - 2))
    mean, std = (constant(c, pixels.device).view(shape) for c in (spec.mean, spec.std))
    return pixels.sub_(mean).div_(std)


def _each(values: Tensor) -> Tensor:
    """[B, view] as [B, 1, view, 1, 1]."""
    return values[:, None, :, None, None]


def _crop(images: Tensor, recipe: Recipe, spec: ViewSpec) -> Tensor:
    """float32 [B, 3, view, S, S] in 0..255: random boxes of the images, turned, flipped and resized.

    What a turned box shows from outside the image is black.
    """
    height, width = images.shape[2:]
    size, device = spec.size, images.device
    # From the view's pixels to grid_sample's coordinates, in which the image spans -1..1.
    affine = recipe.affine * constant((2 / width, 2 / height), device)[:, None]
    axis = (2 * torch.arange(size, device=device) + 1 - size) / size
    rows = affine[..., 0:1] * axis  # [B, view, 2, S]
    columns = affine[..., 1:2] * axis + affine[..., 2:3]
    grid = torch.empty(len(images), 2, size, size, 2, device=device)
    torch.add(rows[:, :, :, None, :], columns[..., None], out=grid.permute(0, 1, 4, 2, 3))
    views = F.grid_sample(
        images.float(),
        grid.view(len(images), 2 * size, size, 2),
        padding_mode="zeros" if spec.rotate > 0 else "border",
        align_corners=False,
    )
    return views.view(len(images), 3, 2, size, size)


def _colour(views: Tensor, recipe: Recipe, spec: ViewSpec) -> Tensor:
    """[B, 3, view, S, S] from 0..255 to 0..1, colours shifted."""
    if spec.jitter == 0 and spec.gray == 0:
        return views.mul_(1 / 255)
    weights = recipe.matrix[..., None, None]
    out = torch.empty_like(views)
    for c in range(3):
        torch.mul(views[:, 0], weights[:, :, c, 0], out=out[:, c])
        out[:, c].addcmul_(views[:, 1], weights[:, :, c, 1]).addcmul_(views[:, 2], weights[:, :, c, 2])
    if spec.jitter > 0 and spec.contrast > 0:
        luma = constant(LUMA, views.device)[:, None]
        out += _each(recipe.bias * (views.mean((3, 4)) * luma).sum(1))
    return out.clamp_(0, 1)


def _blur(views: Tensor, recipe: Recipe, spec: ViewSpec) -> Tensor:
    """Blurred where drawn, by a Gaussian cut at three of the largest sigmas; edges are reflected.

    One depthwise convolution an axis, in which every colour plane of every view is a channel.
    """
    taps = tables(spec, views.device).blur[recipe.sigma]
    taps = taps[:, None].expand(-1, 3, -1, -1).flatten(0, 2)[:, None]
    radius, planes = taps.shape[-1] // 2, views.flatten(0, 2)[None]
    padded = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, taps[:, :, None, :], groups=len(taps))
    blurred = F.conv2d(rows, taps[..., None], groups=len(taps)).view_as(views)
    return torch.where(_each(recipe.blur), blurred, views)
