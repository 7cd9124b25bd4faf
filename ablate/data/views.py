"""Two random views of each image, made on the device that holds the images.

The recipe is SimCLR's (Chen et al., arXiv 2002.05709, appendix A), arranged for few passes over memory:

1. crop, resize, flip and rotation are one affine bilinear sample;
2. brightness, contrast, saturation, hue and grayscale are one 3 x 3 colour matrix and one bias a view;
3. Gaussian blur (separable), solarisation, normalisation.

``view_draws.py`` draws what is random, from a hash of (seed, epoch, sample id, view): a view is the same, bit
for bit on one machine, in any batch, on any number of workers and threads, and after any resume. On the CPU
one compiled pass an image makes both views (``view_kernel.py``), on a GPU batched torch operations do
(``view_torch.py``). Steps of probability zero are skipped. docs/views.md says where views differ from
torchvision's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.data import view_torch
from ablate.data.view_draws import draw, dropped_views, recipe, stepped
from ablate.data.view_torch import normalise
from ablate.spec.views import ViewSpec


def two_views(
    images: Tensor,
    ids: Tensor,
    spec: ViewSpec,
    *,
    seed: int,
    epoch: int,
    alternates: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Two views of ``images``, uint8 [B, 3, H, W]: float32 [B, 3, S, S] each, normalised, channels_last.

    ``ids`` int64 [B] name the images: view v of image i depends on (seed, epoch, ids[i], v) and its pixels.
    ``alternates``, as images, are what is seen instead with probability ``spec.drop``, before the crop.
    ``rows`` int64 [B] says where among more ``images`` (and ``alternates``) these lie; channels_last ones on
    the CPU are then read where they are, without a copy.
    Raises ValueError if alternates are needed and not given or tensors are not as said here, and DataError
    if the CPU's kernel can be compiled but not kept (see ``view_kernel.py``).
    """
    if spec.drop > 0 and alternates is None:
        raise ValueError("views.drop needs the alternate pictures of the images")
    others = alternates if spec.drop > 0 else None
    _check(images, ids, others, rows)
    dropped = None if others is None else dropped_views(ids, spec, seed=seed, epoch=epoch)
    side = (images.shape[2], images.shape[3])
    asked = recipe(draw(ids, side, spec, seed=seed, epoch=epoch), side, spec)
    if images.device.type == "cpu":
        from ablate.data import view_kernel  # compiles, or loads what was compiled, when first imported

        return view_kernel.render(images, rows, asked, spec, others, dropped)
    if rows is not None:
        images, others = images[rows], None if others is None else others[rows]
    return view_torch.render(images, asked, spec, others, dropped)


def _check(images: Tensor, ids: Tensor, others: Tensor | None, rows: Tensor | None) -> None:
    """Compiled code reads whatever memory it is told to, so it must be told of tensors that fit together."""
    for name, pictures in (("images", images), ("alternates", images if others is None else others)):
        if pictures.dtype != torch.uint8 or pictures.shape != (len(images), 3, *images.shape[2:]):
            raise ValueError(
                f"{name} must be uint8 [{len(images)}, 3, {', '.join(map(str, images.shape[2:]))}], "
                f"found {pictures.dtype} {list(pictures.shape)}"
            )
    count = len(images) if rows is None else len(rows)
    if ids.dtype != torch.int64 or ids.shape != (count,):
        raise ValueError(f"ids must be int64 [{count}], one an image, found {ids.dtype} {list(ids.shape)}")


def view_parameters(
    images: Tensor, ids: Tensor, spec: ViewSpec, *, seed: int, epoch: int
) -> dict[str, Tensor]:
    """What ``two_views`` draws for the same arguments: float32 [B, 2] each, a column a view.

    ``crop_x``, ``crop_y``: the crop's centre, in (-1, 1) of the image; ``crop_area``: its share of it;
    ``crop_aspect``: its width / height; ``flip``, ``gray``, ``solarize``, ``drop``: 0 or 1; ``rotation``:
    degrees; ``brightness``, ``contrast``, ``saturation``: factors, 1 where colours were not shifted; ``hue``:
    turns; ``blur``: sigma in pixels, 0 where there is none. What the spec does not vary is constant.
    """
    height, width = images.shape[2:]
    drawn = draw(ids, (height, width), spec, seed=seed, epoch=epoch)
    low, high = spec.blur_sigma
    sigma = low + (high - low) * (stepped(drawn.sigma) + 1) / 2
    return {
        "crop_x": (2 * drawn.left + drawn.width) / width - 1,
        "crop_y": (2 * drawn.top + drawn.height) / height - 1,
        "crop_area": drawn.width * drawn.height / (width * height),
        "crop_aspect": drawn.width / drawn.height,
        "flip": drawn.flip.float(),
        "rotation": spec.rotate * stepped(drawn.turn),
        "brightness": drawn.brightness,
        "contrast": drawn.contrast,
        "saturation": drawn.saturation,
        "hue": torch.where(drawn.jitter, spec.hue * stepped(drawn.hue), 0.0),
        "gray": drawn.gray.float(),
        "blur": torch.where(drawn.blur, sigma, 0.0),
        "solarize": drawn.solarize.float(),
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
    return normalise(centre, spec).contiguous(memory_format=torch.channels_last)
