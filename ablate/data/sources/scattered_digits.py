"""The same real digits at random place, scale and slight rotation on a small canvas strewn with fragments.

On plain digits raw pixels already give a linear probe .97, so nothing can be learnt there; here place and
scale must be unlearnt. Each canvas shows one digit, 0.5 to 0.8 canvas sides wide, turned by up to 15
degrees, and fragments cut from *other* training digits (never from test digits); where they overlap, the
brighter pixel shows. Everything is drawn from constants: the set is the same on every machine and for every
seed. Canvases of one digit form a group, so that a split between train and validation is a split of digits.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ablate.data.keyed import keyed_bits
from ablate.data.sources.digits import NAMES, raw_digits
from ablate.data.sources.registry import LABEL, Indices, Part, Source, array_part, register
from ablate.spec.data import ScatteredDigitsData

Floats = NDArray[np.float64]

_SEED = 24
_RAW = 8  # side of a raw digit
_WIDTH = (0.5, 0.8)  # of a digit, in canvas sides
_TURN = np.deg2rad(15.0)
_FRAGMENT = 1.6  # half side of the square cut from a digit, in raw pixels
_DRAWS = 7  # random numbers of one digit or fragment
_CHUNK = 256  # canvases drawn at a time
_MOST_COPIES = 32  # the spec's bound; keeps a canvas the same whatever `per_digit` is


def _recipe(spec: ScatteredDigitsData) -> dict[str, object]:
    return {
        "kind": spec.kind,
        "canvas": spec.canvas,
        "per_digit": spec.per_digit,
        "clutter": spec.clutter,
        "recipe": 2,
    }


@register(ScatteredDigitsData, recipe=_recipe)
def open_scattered_digits(spec: ScatteredDigitsData) -> Source:
    pixels, labels, train, test = raw_digits()

    def part(digits: Indices, copies: int, name: str) -> Part:
        shown = np.repeat(digits, copies)
        canvases = shown * _MOST_COPIES + np.tile(np.arange(copies), len(digits))
        images = [
            _draw(pixels, train, shown[i : i + _CHUNK], canvases[i : i + _CHUNK], spec)
            for i in range(0, len(shown), _CHUNK)
        ]
        return array_part(np.concatenate(images), labels[shown], shown, name=name)

    return Source(
        {LABEL: NAMES},
        part(train, spec.per_digit, "scattered-digits training"),
        part(test, 1, "scattered-digits test"),
    )


def _draw(
    pixels: Floats, sources: Indices, shown: Indices, canvases: Indices, spec: ScatteredDigitsData
) -> NDArray[np.uint8]:
    """uint8 [N, C, C]: digit ``shown[i]`` on canvas number ``canvases[i]``, fragments from ``sources``."""
    bits = keyed_bits(_SEED, torch.from_numpy(canvases), (spec.clutter + 1) * _DRAWS).numpy()
    draws = ((bits >> 11) & (2**53 - 1)).reshape(len(shown), -1, _DRAWS) / 2.0**53
    canvas = render(pixels[shown], draws[:, 0], spec.canvas, whole=True)
    for k in range(1, spec.clutter + 1):
        pick = (draws[:, k, 6] * (len(sources) - 1)).astype(np.int64)
        pick += sources[pick] >= shown  # `sources` ascends: skips the digit that is shown
        np.maximum(canvas, render(pixels[sources[pick]], draws[:, k], spec.canvas, whole=False), out=canvas)
    return np.rint(canvas * 255).astype(np.uint8)


def render(digits: Floats, draws: Floats, side: int, *, whole: bool) -> Floats:
    """[N, side, side]: each digit [N, 8, 8] scaled, turned and placed; of a fragment a square is seen.

    ``draws`` [N, 6] in [0, 1): scale, turn, place across and down, centre of a fragment across and down.
    """
    scale = side * (_WIDTH[0] + (_WIDTH[1] - _WIDTH[0]) * draws[:, 0]) / _RAW
    angle = _TURN * (2 * draws[:, 1] - 1)
    reach = scale * _RAW / 2 if whole else np.zeros_like(scale)  # digits lie inside, fragments anywhere
    place = [reach + (side - 2 * reach) * draws[:, i] for i in (2, 3)]
    centre = [np.full(len(digits), _RAW / 2) if whole else 1 + (_RAW - 2) * draws[:, i] for i in (4, 5)]
    ys, xs = np.mgrid[:side, :side] + 0.5
    dx, dy = (axis - p[:, None, None] for axis, p in zip((xs, ys), place, strict=True))
    cos, sin = ((f(angle) / scale)[:, None, None] for f in (np.cos, np.sin))
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    seen = _bilinear(digits, x + centre[0][:, None, None], y + centre[1][:, None, None])
    return seen if whole else seen * ((np.abs(x) < _FRAGMENT) & (np.abs(y) < _FRAGMENT))


def _bilinear(images: Floats, x: Floats, y: Floats) -> Floats:
    """Sample [N, 8, 8] at pixel-edge coordinates x, y [N, h, w]; black outside."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    x, y = (np.clip(axis + 0.5, 0, _RAW + 1 - 1e-9) for axis in (x, y))
    left, top = x.astype(np.int64), y.astype(np.int64)
    x, y = x - left, y - top
    corner = (np.arange(len(images))[:, None, None] * (_RAW + 2) + top) * (_RAW + 2) + left
    flat = padded.ravel()
    above = flat[corner] * (1 - x) + flat[corner + 1] * x
    below = flat[corner + _RAW + 2] * (1 - x) + flat[corner + _RAW + 3] * x
    return np.asarray(above * (1 - y) + below * y)
