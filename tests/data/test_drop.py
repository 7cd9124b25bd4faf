"""views.drop: a view shows the alternate picture as often as asked, whatever batch it is in, and is otherwise
the view it would have been."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ablate.data import Split, two_views
from ablate.data.views import dropped_views
from tests.data.test_views import EVERYTHING, batch


def seen(count: int, **drop: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    images, ids = batch(count)
    spec = EVERYTHING.model_copy(update=drop)
    return (images, ids, *two_views(images, ids, spec, seed=1, epoch=2, alternates=255 - images))


def test_dropped_views_are_the_same_views_of_the_alternates() -> None:
    images, ids, *found = seen(40, drop=0.5)
    spec = EVERYTHING.model_copy(update={"drop": 0.5})
    dropped = dropped_views(ids, spec, seed=1, epoch=2)
    assert 0 < dropped.sum() < 80
    plain = two_views(images, ids, EVERYTHING, seed=1, epoch=2)
    other = two_views(255 - images, ids, EVERYTHING, seed=1, epoch=2)
    for view in (0, 1):
        expected = torch.where(dropped[:, view, None, None, None], other[view], plain[view])
        assert torch.equal(found[view], expected)


def test_views_drop_as_often_as_asked_each_by_itself() -> None:
    ids = torch.arange(4000)
    both = dropped_views(ids, EVERYTHING.model_copy(update={"drop": 0.75}), seed=0, epoch=0).float()
    assert (both.mean(0) - 0.75).abs().max() < 5 * math.sqrt(0.1875 / 4000)
    assert abs(float(both.prod(1).mean()) - 0.5625) < 5 * math.sqrt(0.25 / 4000)
    first = dropped_views(
        ids, EVERYTHING.model_copy(update={"drop": 0.75, "drop_views": "first"}), seed=0, epoch=0
    )
    assert torch.equal(first[:, 0], both[:, 0].bool())
    assert not first[:, 1].any()


def test_a_dropped_view_does_not_depend_on_its_batch() -> None:
    images, ids, first, _ = seen(30, drop=0.5)
    spec = EVERYTHING.model_copy(update={"drop": 0.5})
    some = torch.tensor([17, 3, 29])
    split = Split(images, torch.zeros(30, dtype=torch.int64), ids, alternates=255 - images)
    assert torch.equal(split.two_views(some, spec, seed=1, epoch=2)[0], first[some])
    with pytest.raises(ValueError, match="alternate pictures"):
        replace(split, alternates=None).two_views(some, spec, seed=1, epoch=2)
