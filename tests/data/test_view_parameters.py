"""What was drawn for a view, against what the view shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ablate.data import two_views, view_parameters
from ablate.spec.views import ViewSpec
from tests.data.test_views import EVERYTHING, batch, constant, views_of


def both(images: Tensor, ids: Tensor, **changes: object) -> tuple[Tensor, dict[str, Tensor]]:
    """First views and their parameters."""
    spec = views_of(**changes)
    view, _ = two_views(images, ids, spec, seed=3, epoch=1)
    drawn = view_parameters(images, ids, spec, seed=3, epoch=1)
    assert all(values.shape == (len(images), 2) for values in drawn.values())
    return view, {name: values[:, 0] for name, values in drawn.items()}


def test_nothing_varies_where_the_spec_changes_nothing() -> None:
    _, drawn = both(*batch(20))
    assert all(values.unique().numel() == 1 for values in drawn.values())
    assert float(drawn["crop_area"][0]) == pytest.approx(1)
    assert [float(drawn[name][0]) for name in ("brightness", "hue", "flip", "crop_x")] == [1, 0, 0, 0]


def test_everything_varies_where_the_spec_changes_everything() -> None:
    images, ids = batch(300, size=15)
    drawn = view_parameters(images, ids, EVERYTHING, seed=0, epoch=0)
    assert {name for name, values in drawn.items() if float(values.std()) == 0} == {"drop"}
    assert float(drawn["rotation"].abs().max()) <= 20
    assert 0.6 <= float(drawn["contrast"].min()) <= float(drawn["contrast"].max()) <= 1.4
    assert float(drawn["hue"].abs().max()) <= 0.1
    assert not torch.equal(drawn["crop_x"][:, 0], drawn["crop_x"][:, 1])


def test_brightness_is_the_factor_of_the_view() -> None:
    view, drawn = both(*constant(40, (100, 100, 100)), jitter=0.7, brightness=0.4)
    torch.testing.assert_close(view[:, 0, 0, 0], drawn["brightness"] * 100 / 255)
    assert 5 < int((drawn["brightness"] == 1).sum()) < 25  # 3 in 10 are not shifted


def test_gray_and_flip_say_which_views_are() -> None:
    images, ids = batch(40)
    view, drawn = both(images, ids, gray=0.5, flip=0.5)
    is_gray = (view[:, 0] - view[:, 1]).abs().amax((1, 2)) < 1e-4
    assert torch.equal(is_gray, drawn["gray"].bool())
    colour, drawn = both(images, ids, flip=0.5)
    mirrored = (colour - images.flip(3) / 255).abs().amax((1, 2, 3)) < 1e-4
    assert torch.equal(mirrored, drawn["flip"].bool())


def test_the_crops_centre_and_area_are_where_the_view_looks() -> None:
    """Images whose red is x and whose green is y: a view's mean colour is its centre."""
    axis = torch.arange(64, dtype=torch.uint8) * 4
    images = torch.zeros(50, 3, 64, 64, dtype=torch.uint8)
    images[:, 0], images[:, 1] = axis[None, None, :], axis[None, :, None]
    view, drawn = both(images, torch.arange(50), crop_area=(0.1, 0.6))
    for channel, name in ((0, "crop_x"), (1, "crop_y")):
        seen = view[:, channel].mean((1, 2)) * 255 / 4  # in pixels
        torch.testing.assert_close(seen, 31.5 + 32 * drawn[name], atol=0.3, rtol=0)
    assert 0.1 <= float(drawn["crop_area"].min()) < float(drawn["crop_area"].max()) <= 0.6
    width = (view[:, 0, 0, -1] - view[:, 0, 0, 0]) * 255 / 4 * 16 / 15
    torch.testing.assert_close(width / 64, drawn["crop_area"].sqrt(), atol=0.02, rtol=0)


def test_the_crops_aspect_is_width_over_height() -> None:
    images, ids = batch(500, size=60, width=90)
    _, drawn = both(images, ids, crop_area=(0.1, 0.5), crop_aspect=(0.5, 2.0))
    pixels = drawn["crop_area"] * 60 * 90
    wide, tall = (pixels * drawn["crop_aspect"]).sqrt(), (pixels / drawn["crop_aspect"]).sqrt()
    for side in (wide, tall):  # of whole pixels
        torch.testing.assert_close(side, side.round(), atol=1e-3, rtol=0)
    assert (drawn["crop_x"].abs() + wide / 90).max() < 1 + 1e-4  # inside the image
    assert (drawn["crop_y"].abs() + tall / 60).max() < 1 + 1e-4
    assert drawn["crop_aspect"].log().std() > 0.3


@pytest.mark.parametrize("preset", ["byol-224", "directclr-224"])
def test_views_of_asymmetric_presets_differ_as_published(preset: str) -> None:
    spec = ViewSpec.model_validate({"preset": preset})
    images = torch.empty(1, 3, 1, 1, dtype=torch.uint8).expand(4000, 3, 256, 256)
    drawn = view_parameters(images, torch.arange(4000), spec, seed=0, epoch=0)
    blurred, solarized = (drawn["blur"] > 0).float().mean(0), drawn["solarize"].mean(0)
    assert (blurred[0], solarized[0]) == (1, 0)
    assert abs(blurred[1] - 0.1) < 0.02
    assert abs(solarized[1] - 0.2) < 0.03
