"""Views against torchvision's own transforms, in distribution (docs/views.md has the figures)."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ablate.data import two_views, view_parameters
from ablate.torchvision_import import torchvision
from tests.data.test_views import views_of

T = torchvision.transforms
COUNT = 20_000


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def drawn(count: int = COUNT, height: int = 256, width: int = 256, **changes: object) -> dict[str, Tensor]:
    """Parameters of the first views of ``count`` images."""
    images = torch.empty(1, 3, 1, 1, dtype=torch.uint8).expand(count, 3, height, width)
    found = view_parameters(images, torch.arange(count), views_of(**changes), seed=1, epoch=0)
    return {name: values[:, 0] for name, values in found.items()}


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.2, 1.0)])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (256, 256), (150, 400)])
def test_crops_have_torchvisions_areas_shapes_and_places(
    area: tuple[float, float], height: int, width: int
) -> None:
    aspect = (3 / 4, 4 / 3)
    ours = drawn(height=height, width=width, crop_area=area, crop_aspect=aspect)
    image = torch.empty(3, height, width)
    boxes = [T.RandomResizedCrop.get_params(image, list(area), list(aspect)) for _ in range(COUNT)]
    top, left, tall, wide = torch.tensor(boxes, dtype=torch.float32).unbind(1)
    for mine, theirs in (
        (ours["crop_area"], tall * wide / (height * width)),
        (ours["crop_aspect"].log(), (wide / tall).log()),
        (ours["crop_x"], (2 * left + wide) / width - 1),
        (ours["crop_y"], (2 * top + tall) / height - 1),
    ):
        # Rounded, so that equal shares that were divided differently count as equal.
        assert ks_2samp(mine.double().round(decimals=5), theirs.double().round(decimals=5)).statistic < 0.03


def test_where_no_crop_fits_it_is_torchvisions_central_one() -> None:
    """Six times as wide as high, and the whole area asked for in a shape of at most 4 : 3."""
    ours = drawn(count=50, height=20, width=120, crop_area=(0.9, 1.0), crop_aspect=(3 / 4, 4 / 3))
    box = T.RandomResizedCrop.get_params(torch.empty(3, 20, 120), [0.9, 1.0], [3 / 4, 4 / 3])
    assert box == (0, 46, 20, 27)
    assert ours["crop_area"].unique().tolist() == pytest.approx([27 / 120])
    assert ours["crop_x"].unique().tolist() == pytest.approx([(2 * 46 + 27) / 120 - 1])
    assert ours["crop_y"].unique().tolist() == [0]


def test_flips_and_grays_come_as_often() -> None:
    ours = drawn(flip=0.5, gray=0.2)
    pixels = torch.tensor([[[0.9, 0.1]], [[0.2, 0.2]], [[0.3, 0.3]]])  # red on the left
    flip, gray = T.RandomHorizontalFlip(0.5), T.RandomGrayscale(0.2)
    flipped = [bool(flip(pixels)[0, 0, 0] < 0.5) for _ in range(COUNT // 4)]
    grayed = [bool(gray(pixels)[0, 0, 0] == gray_of(pixels)) for _ in range(COUNT // 4)]
    assert abs(float(ours["flip"].mean()) - sum(flipped) / len(flipped)) < 0.03
    assert abs(float(ours["gray"].mean()) - sum(grayed) / len(grayed)) < 0.03


def gray_of(pixels: Tensor) -> Tensor:
    return T.functional.rgb_to_grayscale(pixels)[0, 0, 0]


def test_blurs_have_torchvisions_sigmas() -> None:
    sigma = drawn(blur=0.5, blur_sigma=(0.1, 2.0))["blur"]
    theirs = [T.GaussianBlur.get_params(0.1, 2.0) for _ in range(COUNT)]
    assert ks_2samp(sigma[sigma > 0], theirs).statistic < 0.03
    assert abs(float((sigma > 0).float().mean()) - 0.5) < 0.03


def test_a_blur_is_torchvisions_but_for_the_far_taps() -> None:
    """Ours is cut at three sigmas (here 6 pixels), theirs at 11 pixels."""
    images = pictures(6, 48)
    spec = views_of(size=48, blur=1.0, blur_sigma=(2.0, 2.0))
    ours = two_views(images, torch.arange(6), spec, seed=0, epoch=0)[0]
    assert (ours - T.functional.gaussian_blur(images / 255, [23, 23], [2.0, 2.0])).abs().max() < 1e-3


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_colours_shift_as_much_as_torchvisions(strength: float) -> None:
    """In mean and spread over images, though theirs are clamped one by one, in any order, and turn the hue of
    another space."""
    brightness, contrast, saturation, hue = (strength * most for most in (0.8, 0.8, 0.8, 0.2))
    images = pictures(2000, 16)
    spec = views_of(jitter=0.8, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
    ours = shifts(images, two_views(images, torch.arange(2000), spec, seed=0, epoch=0)[0])
    jitter = T.RandomApply([T.ColorJitter(brightness, contrast, saturation, hue)], p=0.8)
    theirs = shifts(images, torch.stack([jitter(image) for image in images / 255]))
    for name, mine in ours.items():
        assert abs(float(mine.mean() - theirs[name].mean())) < 0.05, name
        assert float(mine.std() / theirs[name].std()) == pytest.approx(1, abs=0.12), name


def pictures(count: int, size: int) -> Tensor:
    """Smooth uint8 pictures of a tint, lighter and darker in places, and less so in colour."""
    generator = torch.Generator().manual_seed(size)
    tint = torch.rand(count, 3, 1, 1, generator=generator) * 0.3 + 0.3
    light, colour = (torch.rand(count, c, 4, 4, generator=generator) - 0.5 for c in (1, 3))
    places = torch.nn.functional.interpolate(0.7 * light + 0.2 * colour, (size, size), mode="bilinear")
    return ((tint + places).clamp(0, 1) * 255).byte()


def shifts(before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """How each picture, ``before`` in 0..255, ``after`` in 0..1, differs in its mean luma; in the spread of
    luma and in its mean chroma (ratios less 1); and in the hue of its mean colour (turns)."""
    (luma_0, chroma_0, hue_0), (luma_1, chroma_1, hue_1) = map(_looks, (before / 255, after))
    return {
        "brightness": luma_1.mean((1, 2)) - luma_0.mean((1, 2)),
        "contrast": luma_1.std((1, 2)) / luma_0.std((1, 2)) - 1,
        "saturation": chroma_1.mean((1, 2)) / chroma_0.mean((1, 2)) - 1,
        "hue": (hue_1 - hue_0 + 0.5) % 1 - 0.5,
    }


def _looks(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Luma and chroma [N, H, W], and the hue [N] of the mean colour, in turns."""
    red, green, blue = pixels.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    across, up = red - (green + blue) / 2, math.sqrt(3) / 2 * (green - blue)
    hue = torch.atan2(up.mean((1, 2)), across.mean((1, 2))) / (2 * math.pi)
    return luma, (across**2 + up**2).sqrt(), hue
