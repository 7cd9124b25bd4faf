"""Encoded bytes to pixels, and photos to one square size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage

from ablate.data.error import DataError
from ablate.data.sources.registry import Image


def decode(encoded: bytes, resolution: int | None, where: str) -> Image:
    """RGB pixels uint8 [H, W, 3] of a JPEG, PNG or other file that Pillow reads.

    With a ``resolution`` the shorter side is resized to it (bicubic, antialiased) and the centre square kept.
    Raises DataError, with ``where`` in its message, if the bytes are no whole image.
    """
    try:
        with PillowImage.open(io.BytesIO(encoded)) as file:
            picture = file.convert("RGB")
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError on bad bytes
        raise DataError(
            f"{where}: not a readable image ({type(error).__name__}: {error}). Replace it or take it out."
        ) from error
    return np.asarray(picture if resolution is None else _square(picture, resolution))


def _square(picture: PillowImage.Image, side: int) -> PillowImage.Image:
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    return picture.resize(
        (side, side), PillowImage.Resampling.BICUBIC, box=(left, top, left + short, top + short)
    )


def resize_pixels(image: Image, side: int) -> Image:
    """``image`` uint8 [H, W, 3] brought to [side, side, 3] as ``decode`` does."""
    return np.asarray(_square(PillowImage.fromarray(image), side))
