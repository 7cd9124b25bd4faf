"""Views are functions of (seed, epoch, sample, view), and they vary as their constants say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ablate.data import plain_view, two_views
from ablate.data.keyed import keyed_bits
from ablate.spec.views import VIEW_PRESETS, ViewSpec

PLAIN: dict[str, Any] = {
    "size": 16, "crop_area": (1.0, 1.0), "crop_aspect": (1.0, 1.0), "rotate": 0.0, "flip": 0.0,
    "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0,
    "blur": 0.0, "blur_sigma": (0.1, 2.0), "solarize": 0.0,
    "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0),
}  # fmt: skip


def views_of(**changes: Any) -> ViewSpec:
    """Views that change nothing, but for ``changes``."""
    return ViewSpec.model_validate({**PLAIN, **changes})


def batch(count: int, size: int = 16, width: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    shape = (count, size, width or size, 3)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return images.permute(0, 3, 1, 2), torch.arange(count) * 7 + 3


def constant(count: int, colour: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    images = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(count, 3, 16, 16)
    return images, torch.arange(count)


EVERYTHING = views_of(
    size=15, crop_area=(0.1, 1.0), crop_aspect=(0.5, 2.0), rotate=20.0, flip=0.5, jitter=0.8, brightness=0.4,
    contrast=0.4, saturation=0.4, hue=0.1, gray=0.2, blur=0.5, solarize=0.2,
)  # fmt: skip


@pytest.mark.parametrize("spec", [EVERYTHING, *(ViewSpec(**VIEW_PRESETS[name]) for name in VIEW_PRESETS)])
def test_a_samples_views_do_not_depend_on_its_batch(spec: ViewSpec) -> None:
    count = 9 if spec.size > 100 else 37
    images, ids = batch(count, size=spec.size + 3)
    whole = two_views(images, ids, spec, seed=5, epoch=2)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    for chosen in (order, order[:1], order[:2], order[:7], torch.arange(1, count)):
        part = two_views(images[chosen], ids[chosen], spec, seed=5, epoch=2)
        for view in (0, 1):
            assert torch.equal(part[view], whole[view][chosen])


def test_nor_on_the_number_of_threads() -> None:
    images, ids = batch(64, size=18)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(two_views(images, ids, EVERYTHING, seed=0, epoch=0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_every_part_of_the_key_changes_the_views() -> None:
    images, ids = batch(8)
    first, second = two_views(images, ids, EVERYTHING, seed=0, epoch=0)
    for other in (
        second,
        two_views(images, ids, EVERYTHING, seed=1, epoch=0)[0],
        two_views(images, ids, EVERYTHING, seed=0, epoch=1)[0],
        two_views(images, ids + 1, EVERYTHING, seed=0, epoch=0)[0],
    ):
        assert (first - other).abs().amax((1, 2, 3)).min() > 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": batch(4)[0][:, :1]}, r"images must be uint8 \[4, 3, 16, 16\], found .* \[4, 1, 16, 16\]"),
        ({"images": batch(4)[0].float()}, "images must be uint8 .* found torch.float32"),
        ({"alternates": batch(3)[0]}, r"alternates must be uint8 \[4, 3, 16, 16\], found .* \[3, 3"),
        ({"alternates": batch(4, size=9)[0]}, "alternates must be .* found .* 9, 9"),
        ({"ids": torch.arange(3)}, r"ids must be int64 \[4\], one an image, found .* \[3\]"),
        ({"ids": torch.arange(4, dtype=torch.int32)}, "ids must be int64 .* found torch.int32"),
        ({"rows": torch.arange(2)}, r"ids must be int64 \[2\], one an image, found .* \[4\]"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(changes: dict[str, Tensor], message: str) -> None:
    images, ids = batch(4)
    spec = EVERYTHING.model_copy(update={"drop": 0.5})
    given: dict[str, Any] = {"images": images, "ids": ids, "alternates": images, **changes}
    with pytest.raises(ValueError, match=message):
        two_views(**given, spec=spec, seed=0, epoch=0)


def test_shapes_types_and_memory() -> None:
    images, ids = batch(5, size=20, width=26)
    for view in (*two_views(images, ids, EVERYTHING, seed=0, epoch=0), plain_view(images, EVERYTHING)):
        assert view.shape == (5, 3, 15, 15)
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)


def test_views_that_change_nothing_return_the_image_normalised() -> None:
    images, ids = batch(6)
    spec = views_of(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = (images / 255 - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    for view in (*two_views(images, ids, spec, seed=0, epoch=0), plain_view(images, spec)):
        torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)


def test_flips_happen_as_often_as_asked() -> None:
    images, ids = batch(400)
    first, second = two_views(images, ids, views_of(flip=0.25), seed=0, epoch=0)
    original = images / 255
    for view in (first, second):
        flipped = (view - original.flip(3)).abs().amax((1, 2, 3)) < 1e-4
        kept = (view - original).abs().amax((1, 2, 3)) < 1e-4
        assert bool((flipped ^ kept).all())
        assert abs(flipped.float().mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 400)


def position_images(count: int) -> tuple[Tensor, Tensor]:
    """Red rises from left to right and green from top to bottom, so a view tells where it was cut."""
    ramp = (torch.arange(64) * 4).to(torch.uint8)
    images = torch.stack(
        [ramp[None, :].expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64, dtype=torch.uint8)]
    )
    return images.expand(count, 3, 64, 64), torch.arange(count)


def test_crops_have_the_areas_shapes_and_places_asked_for() -> None:
    images, ids = position_images(2000)
    spec = views_of(crop_area=(0.2, 0.5), crop_aspect=(0.75, 4 / 3))
    view = two_views(images, ids, spec, seed=0, epoch=0)[0] * 255 / 4  # the pixel a value came from
    inner = (spec.size - 4) / spec.size  # measured away from the borders, where sampling is clamped
    width = (view[:, 0, 8, -3] - view[:, 0, 8, 2]) / inner * (spec.size - 4) / (spec.size - 5)
    height = (view[:, 1, -3, 8] - view[:, 1, 2, 8]) / inner * (spec.size - 4) / (spec.size - 5)
    area = width * height / 64**2
    assert 0.19 < area.min() < 0.21
    assert 0.49 < area.max() < 0.52  # sides are whole pixels
    assert abs(area.mean() - 0.35) < 0.01
    log_aspect = (width / height).log()
    assert abs(log_aspect.mean()) < 0.02
    assert math.log(0.72) < log_aspect.min() < math.log(0.78)
    assert math.log(1.29) < log_aspect.max() < math.log(1.38)
    centre = view[:, 0, 7:9, 7:9].mean((1, 2))
    assert abs(centre.mean() - 31.5) < 1
    assert (centre - width / 2).min() > -1.5  # never outside the image
    assert (centre + width / 2).max() < 64.5


def test_rotation_turns_by_up_to_the_angle_both_ways() -> None:
    images, ids = position_images(1000)
    view = two_views(images, ids, views_of(rotate=30.0), seed=0, epoch=0)[0]
    across, down = (view[:, c, 8, 10] - view[:, c, 8, 5] for c in (0, 1))
    angle = torch.rad2deg(torch.atan2(down, across))
    assert -30.5 < angle.min() < -29
    assert 29 < angle.max() < 30.5
    assert abs(angle.mean()) < 5 * 30 / math.sqrt(3 * 1000)


def test_brightness_and_contrast_keep_to_their_ranges() -> None:
    images, ids = constant(2000, (100, 100, 100))
    view = two_views(images, ids, views_of(jitter=0.8, brightness=0.4, contrast=0.4), seed=0, epoch=0)[0]
    assert (view.amax((1, 2, 3)) - view.amin((1, 2, 3))).max() < 1e-4  # contrast leaves a flat image flat
    factor = view[:, 0, 0, 0] / (100 / 255)
    unchanged = (factor - 1).abs() < 1e-5
    assert abs(unchanged.float().mean() - 0.2) < 5 * math.sqrt(0.16 / 2000)
    assert 0.6 - 1e-3 < factor.min() < 0.61
    assert 1.39 < factor.max() < 1.4 + 1e-3

    images, ids = batch(2000)
    plain = images / 255
    view = two_views(images, ids, views_of(jitter=1.0, contrast=0.4), seed=0, epoch=0)[0]
    ratio = view.std((1, 2, 3)) / plain.std((1, 2, 3))
    assert 0.58 < ratio.min() < 0.63
    assert ratio.max() < 1.4 + 1e-3


def test_grayscale_saturation_and_hue() -> None:
    images, ids = constant(1000, (200, 100, 40))
    luma = (200 * 0.299 + 100 * 0.587 + 40 * 0.114) / 255
    gray = two_views(images, ids, views_of(gray=0.3), seed=0, epoch=0)[0][:, :, 0, 0]
    is_gray = gray.amax(1) - gray.amin(1) < 1e-5
    assert abs(is_gray.float().mean() - 0.3) < 5 * math.sqrt(0.21 / 1000)
    torch.testing.assert_close(
        gray[is_gray][:, 0], torch.full((int(is_gray.sum()),), luma), atol=1e-5, rtol=0
    )

    tinted = two_views(images, ids, views_of(jitter=1.0, saturation=0.4), seed=0, epoch=0)[0][:, :, 0, 0]
    strength = (tinted[:, 0] - luma) / (200 / 255 - luma)
    assert 0.6 - 1e-3 < strength.min() < 0.62
    assert strength.max() > 1.2  # clamped at 1.0 above that

    turned = two_views(images, ids, views_of(jitter=1.0, hue=0.1), seed=0, epoch=0)[0][:, :, 0, 0]
    assert bool((turned[:, 0].std() > 0.01) & (turned[:, 1].std() > 0.01))
    inside = (turned.amax(1) < 1) & (turned.amin(1) > 0)
    lumas = turned @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(lumas[inside], torch.full_like(lumas[inside], luma), atol=1e-4, rtol=0)


def test_grey_images_stay_grey_under_every_colour_shift() -> None:
    images, ids = batch(64)
    images = images[:, :1].expand(-1, 3, -1, -1)
    view = two_views(images, ids, views_of(jitter=1.0, saturation=0.4, hue=0.5, gray=0.2), seed=0, epoch=0)[0]
    assert (view.amax(1) - view.amin(1)).max() < 1e-5


def test_blur_is_the_gaussian_of_the_drawn_sigma() -> None:
    point = torch.zeros(16, 3, 17, 17, dtype=torch.uint8)
    point[:, :, 8, 8] = 255
    spec = views_of(size=17, blur=1.0, blur_sigma=(1.0, 1.0))
    view = two_views(point, torch.arange(16), spec, seed=0, epoch=0)[1]
    line = torch.exp(-0.5 * (torch.arange(17) - 8.0) ** 2) * ((torch.arange(17) - 8).abs() <= 3)
    expected = torch.outer(line, line) / line.sum() ** 2
    torch.testing.assert_close(view, expected.expand(16, 3, 17, 17), atol=1e-5, rtol=0)

    images, ids = batch(300)
    half = two_views(images, ids, views_of(blur=0.5, blur_sigma=(0.5, 2.0)), seed=0, epoch=0)[0]
    sharp = (half - images / 255).abs().amax((1, 2, 3)) < 1e-4
    assert abs(sharp.float().mean() - 0.5) < 5 * 0.5 / math.sqrt(300)


def test_solarisation_inverts_the_bright_half() -> None:
    images, ids = batch(300)
    plain = images / 255
    view = two_views(images, ids, views_of(solarize=0.4), seed=0, epoch=0)[0]
    inverted = torch.where(plain >= 0.5, 1 - plain, plain)
    done = (view - inverted).abs().amax((1, 2, 3)) < 1e-4
    assert bool((done | ((view - plain).abs().amax((1, 2, 3)) < 1e-4)).all())
    assert abs(done.float().mean() - 0.4) < 5 * math.sqrt(0.24 / 300)


def test_the_second_view_may_have_chances_of_its_own() -> None:
    images, ids = batch(300)
    plain = images / 255
    spec = views_of(blur=1.0, blur_second=0.0, blur_sigma=(1.0, 1.0), solarize=0.0, solarize_second=1.0)
    first, second = two_views(images, ids, spec, seed=0, epoch=0)
    assert ((first - plain).abs().amax((1, 2, 3)) > 0.1).all()  # blurred
    torch.testing.assert_close(second, torch.where(plain >= 0.5, 1 - plain, plain), atol=1e-5, rtol=0)
    alike = two_views(images, ids, spec.model_copy(update={"blur_second": None}), seed=0, epoch=0)
    assert torch.equal(alike[0], first)
    assert (alike[1] - second).abs().amax((1, 2, 3)).min() > 0.1


def test_plain_view_resizes_the_shorter_side_and_keeps_the_centre() -> None:
    images = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    images[..., 16:48] = 255
    torch.testing.assert_close(plain_view(images, views_of()), torch.ones(1, 3, 16, 16), atol=0.2, rtol=0)
    assert plain_view(images, views_of())[..., 1:-1].min() == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**63 - 1), start=st.integers(0, 2**40))
def test_keyed_bits_are_those_of_splitmix64(seed: int, start: int) -> None:
    def mix(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    gamma = 0x9E3779B97F4A7C15
    expected = [
        [mix((mix(((i + 1) * gamma + seed) % 2**64) + k * gamma) % 2**64) for k in (1, 2, 3)]
        for i in range(start, start + 4)
    ]
    bits = keyed_bits(seed, torch.arange(start, start + 4), 3)
    assert [[b % 2**64 for b in row] for row in bits.tolist()] == expected
