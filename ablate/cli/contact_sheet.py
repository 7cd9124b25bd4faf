"""The picture of `ablate data views`: what the network sees of a few images in the first epochs."""

from __future__ import annotations

import textwrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ablate.data import Split
from ablate.spec.views import ViewSpec

EPOCHS = 3
_CELL, _GAP, _TEXT = 96, 8, 14  # pixels: the least side of a picture, between pictures, a line's height
_TIE = "\N{NO-BREAK SPACE}"  # where a line must not end


def contact_sheet(split: Split, rows: Tensor, spec: ViewSpec, *, seed: int, title: str) -> Image.Image:
    """A row for each image at ``rows`` of ``split``: itself, then its views, un-normalised, in the first
    epochs of a trial with this ``seed``; below, the constants."""
    columns = [("image", [_picture(image) for image in split.images[rows]])]
    for epoch in range(EPOCHS):
        pair = split.two_views(rows, spec, seed=seed, epoch=epoch)
        for name, views in zip(("first", "second"), pair, strict=True):
            columns.append((f"epoch {epoch + 1}, {name}", [_picture(_shown(view, spec)) for view in views]))
    cell = max(_CELL, spec.size)
    width = _GAP + len(columns) * (cell + _GAP)
    font = ImageFont.load_default(_TEXT * 0.7)
    text = f"{title}: {_constants(spec)}"
    caption = textwrap.wrap(text, int((width - 2 * _GAP) / font.getlength(text) * len(text)) - 3)
    top = _GAP + _TEXT
    below = top + len(rows) * (cell + _GAP)
    sheet = Image.new("RGB", (width, below + len(caption) * _TEXT + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for c, (name, pictures) in enumerate(columns):
        left = _GAP + c * (cell + _GAP)
        pen.text((left, _GAP // 2), name, fill="black", font=font)
        for r, picture in enumerate(pictures):
            sheet.paste(_fitted(picture, cell), (left, top + r * (cell + _GAP)))
    for k, line in enumerate(caption):
        pen.text((_GAP, below + k * _TEXT), line.replace(_TIE, " "), fill="black", font=font)
    return sheet


def _shown(view: Tensor, spec: ViewSpec) -> Tensor:
    """A view as it was before it was normalised, uint8."""
    mean, std = (view.new_tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return ((view * std + mean) * 255).round().clamp(0, 255).byte()


def _picture(image: Tensor) -> Image.Image:
    pixels: NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels)


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """As large as a cell holds, in its proportions; enlarged by whole pixels, not smoothed."""
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)


def _constants(spec: ViewSpec) -> str:
    named = {name: _short(value) for name, value in spec.as_dict().items() if value is not None}
    return ", ".join(f"{name} {value}".replace(" ", _TIE) for name, value in named.items())


def _short(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
