"""A generated group shift in the manner of UrbanCars (Li et al., arXiv 2212.04825): three factors an image.

- ``core``: a real handwritten digit of scikit-learn's, 1, 3, 5 or 7 ("open"), or 0, 6, 8 or 9 ("looped"); the
  label;
- ``background``: a texture, stripes in mostly warm colours or checks in mostly cool ones;
- ``object``: a shape in a corner, a yellowish disc or a violet cross.

In training each of background and object agrees with the core (open: stripes, disc; looped: checks, cross) in
the share of images the options say, each by itself (UrbanCars: .95 and .95). In validation and test all eight
combinations are equally frequent, exactly. As in UrbanCars the shortcuts are the easy part. All is drawn from
constants, the same on every machine and for every seed; training, validation and test show different digits,
each digit ``per_digit`` times (so test images are not independent of each other).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ablate.data.choose import choose_stratified
from ablate.data.keyed import keyed_bits, keyed_permutation
from ablate.data.sources.digits import raw_digits
from ablate.data.sources.registry import Indices, Names, Part, Source, array_part, register
from ablate.data.sources.scattered_digits import Floats, render
from ablate.spec.data import GroupShiftData

_SEED = 2212
_VALIDATION_SEED = 4825
_VALIDATION_SHARE = 0.3  # of the training digits
_MOST_COPIES = 32  # the spec's bound: canvas k of digit i has number 32 i + k whatever `per_digit` is
_CHUNK = 256  # canvases drawn at a time
# Lowest and highest red, green and blue of each class.
_OF_BACKGROUND = np.array([[(0.2, 0.1, 0.1), (0.8, 0.5, 0.6)], [(0.1, 0.1, 0.2), (0.6, 0.5, 0.8)]])
_OF_OBJECT = np.array([[(0.6, 0.6, 0.0), (0.9, 0.9, 0.2)], [(0.5, 0.0, 0.5), (0.8, 0.2, 0.9)]])
_OPEN, _LOOPED = (1, 3, 5, 7), (0, 6, 8, 9)
_DIGIT_DRAWS = 6
_DRAWS = _DIGIT_DRAWS + 18
_NAMES: dict[str, Names] = {
    "core": ("open", "looped"),
    "background": ("stripes", "checks"),
    "object": ("disc", "cross"),
}


def _recipe(spec: GroupShiftData) -> dict[str, object]:
    options = ("canvas", "per_digit", "background", "object")
    return {"kind": spec.kind, **{name: getattr(spec, name) for name in options}, "recipe": 1}


@register(GroupShiftData, recipe=_recipe)
def open_group_shift(spec: GroupShiftData) -> Source:
    pixels, digits, *pools = raw_digits()
    core = np.isin(digits, _LOOPED).astype(np.int64)
    training, test = (pool[np.isin(digits[pool], _OPEN + _LOOPED)] for pool in pools)
    count = round(_VALIDATION_SHARE * len(training))
    held = choose_stratified(digits[training], count, seed=_VALIDATION_SEED)
    kept, validation = np.delete(training, held), training[held]

    def canvases(pool: Indices) -> Indices:
        return np.repeat(pool * _MOST_COPIES, spec.per_digit) + np.tile(np.arange(spec.per_digit), len(pool))

    def part(numbers: Indices, factors: Indices, name: str) -> Part:
        shown = numbers // _MOST_COPIES
        images = [
            _draw(pixels, numbers[i : i + _CHUNK], factors[:, i : i + _CHUNK], spec.canvas)
            for i in range(0, len(numbers), _CHUNK)
        ]
        drawn = array_part(np.concatenate(images), factors[0], shown, name=f"group-shift {name}")
        return replace(drawn, factors=dict(zip(_NAMES, factors, strict=True)))

    return Source(
        _NAMES,
        part(*_biased(core, canvases(kept), spec), "training"),
        part(*_balanced(core, canvases(test)), "test"),
        validation=part(*_balanced(core, canvases(validation)), "validation"),
        label="core",
    )


def _biased(core: Indices, canvases: Indices, spec: GroupShiftData) -> tuple[Indices, Indices]:
    """All canvases, and factors [3, N] of which the second and the third mostly agree with the first."""
    true = core[canvases // _MOST_COPIES]
    draws = _uniform(canvases, 2, seed=_SEED + 1)
    agree = [draws[:, 0] < spec.background, draws[:, 1] < spec.object]
    return canvases, np.stack([true, *(np.where(a, true, 1 - true) for a in agree)])


def _balanced(core: Indices, canvases: Indices) -> tuple[Indices, Indices]:
    """Most canvases, ascending, and factors [3, N]: all eight combinations are equally frequent."""
    true = core[canvases // _MOST_COPIES]
    each = min(np.bincount(true)) // 4
    chosen, factors = [], []
    for c in (0, 1):
        members = canvases[true == c]
        order = keyed_permutation(_SEED + 2, len(members)).numpy()[: 4 * each]
        combination = np.repeat(np.arange(4), each)
        chosen.append(members[order])
        factors.append(np.stack([np.full(4 * each, c), combination // 2, combination % 2]))
    numbers, labels = np.concatenate(chosen), np.concatenate(factors, axis=1)
    ascending = np.argsort(numbers)
    return numbers[ascending], labels[:, ascending].astype(np.int64)


def _uniform(canvases: Indices, count: int, *, seed: int) -> Floats:
    """[N, count] in [0, 1) that depend on the canvas number alone."""
    bits = keyed_bits(seed, torch.from_numpy(canvases), count).numpy()
    return np.asarray(((bits >> 11) & (2**53 - 1)) / 2.0**53)


def _draw(
    pixels: Floats, canvases: Indices, factors: Indices, side: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8 [N, side, side, 3]: texture, on it the digit in near white, and over both the shape."""
    draws = _uniform(canvases, _DRAWS, seed=_SEED)
    rest = draws[:, _DIGIT_DRAWS:]
    image = _texture(factors[1], rest[:, :10], side)
    digit = render(pixels[canvases // _MOST_COPIES], draws[:, :_DIGIT_DRAWS], side, whole=True)[..., None]
    image = image * (1 - digit) + digit * (0.9 + 0.1 * rest[:, 17, None, None, None])
    shape = _shape(factors[2], rest[:, 10:14], side)[..., None]
    image = image * (1 - shape) + shape * _colour(rest[:, 14:17], _OF_OBJECT[factors[2]])[:, None, None]
    return np.rint(255 * image).astype(np.uint8)


def _colour(draws: Floats, ranges: Floats) -> Floats:
    """[N, 3] of draws [N, 3], uniform in ``ranges`` [N, 2, 3] of red, green and blue."""
    return np.asarray(ranges[:, 0] + (ranges[:, 1] - ranges[:, 0]) * draws)


def _texture(kind: Indices, draws: Floats, side: int) -> Floats:
    """[N, side, side, 3]: stripes (0) or checks (1) of two random colours."""
    period = side * (0.15 + 0.1 * draws[:, 0])
    angle = np.pi * draws[:, 1]
    phase = 2 * np.pi * draws[:, 2:4]
    ys, xs = np.mgrid[:side, :side] + 0.5
    cos, sin, scale = (v[:, None, None] for v in (np.cos(angle), np.sin(angle), 2 * np.pi / period))
    u = np.cos(scale * (cos * xs + sin * ys) + phase[:, 0, None, None])
    v = np.cos(scale * (cos * ys - sin * xs) + phase[:, 1, None, None])
    # Half of the area either way, so that the amount of a colour does not tell the texture.
    inside = np.where(kind[:, None, None] == 0, u, u + v) > 0
    first, second = (_colour(draws[:, k : k + 3], _OF_BACKGROUND[kind])[:, None, None] for k in (4, 7))
    return np.asarray(np.where(inside[..., None], first, second))


def _shape(kind: Indices, draws: Floats, side: int) -> Floats:
    """[N, side, side] of 0 and 1: a disc (0) or a cross (1) of about equal area in a random corner."""
    radius = side * (0.12 + 0.04 * draws[:, 0])
    edge = side * (0.17 + 0.04 * draws[:, 1])
    x, y = (np.where(draws[:, k] < 0.5, edge, side - edge) for k in (2, 3))
    ys, xs = np.mgrid[:side, :side] + 0.5
    dx, dy = (axis - place[:, None, None] for axis, place in ((xs, x), (ys, y)))
    r = radius[:, None, None]
    disc = dx**2 + dy**2 < r**2
    arm, reach = 0.5 * r, 1.1 * r
    across, down = np.abs(dx), np.abs(dy)
    cross = ((across < arm) & (down < reach)) | ((down < arm) & (across < reach))
    return np.asarray(np.where(kind[:, None, None] == 0, disc, cross), dtype=np.float64)
