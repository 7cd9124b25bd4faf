"""The test split is fixed; a seed moves only the border between train and validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.data import DataError, Dataset, epoch_order, load
from ablate.data.choose import choose_stratified, split_by_group
from ablate.spec.data import DataSpec, DigitsData, ScatteredDigitsData
from ablate.spec.streams import stream_seed

SCATTERED = ScatteredDigitsData(per_digit=3, canvas=16, clutter=1)


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def loaded(spec: DataSpec, cache: Path, seed: int) -> Dataset:
    return load(spec, seed=seed, cache=cache, device=torch.device("cpu"), threads=1)


@pytest.mark.parametrize("spec", [DigitsData(), SCATTERED], ids=lambda spec: spec.kind)
def test_a_seed_moves_only_train_and_validation(spec: DataSpec, module_cache: Path) -> None:
    first, second, again = (loaded(spec, module_cache, seed) for seed in (0, 1, 0))
    assert len(first.test.ids) == 597
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.val.ids, second.val.ids)
    assert torch.equal(first.val.ids, again.val.ids)
    everything = torch.cat([first.train.ids, first.val.ids]).sort().values
    assert torch.equal(everything, torch.arange(len(everything)))
    assert len(first.val.ids) == round(0.2 * len(everything))


def test_canvases_of_one_digit_stay_together(module_cache: Path) -> None:
    dataset = loaded(SCATTERED, module_cache, 0)
    digits = [set((split.ids // 3).tolist()) for split in (dataset.train, dataset.val)]
    assert not digits[0] & digits[1]
    assert len(digits[0]) + len(digits[1]) == 1200


def test_more_canvases_a_digit_keep_the_first_ones(module_cache: Path) -> None:
    fewer = loaded(SCATTERED.model_copy(update={"per_digit": 1}), module_cache, 0)
    more = loaded(SCATTERED, module_cache, 0)
    assert torch.equal(fewer.test.images, more.test.images)
    images = {
        int(i): image
        for split in (more.train, more.val)
        for i, image in zip(split.ids, split.images, strict=True)
    }
    for i, image in zip(fewer.train.ids.tolist(), fewer.train.images, strict=True):
        assert torch.equal(image, images[3 * i])


def test_a_subset_is_the_same_for_all_seeds_and_balanced(module_cache: Path) -> None:
    spec = DigitsData(train=100, test=50)
    first, second = loaded(spec, module_cache, 0), loaded(spec, module_cache, 1)

    def as_set(dataset: Dataset) -> set[bytes]:
        images = torch.cat([dataset.train.images, dataset.val.images])
        return {image.numpy().tobytes() for image in images}

    assert as_set(first) == as_set(second)
    counts = torch.cat([first.train.labels, first.val.labels]).bincount()
    assert counts.min() >= 9
    assert counts.max() <= 11
    assert len(first.test.ids) == 50


def test_an_empty_split_is_refused(module_cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.validation is 0\.001"):
        loaded(DigitsData(train=20, validation=0.001), module_cache, 0)
    with pytest.raises(DataError, match="1 validation images of 20; each needs two"):
        loaded(DigitsData(train=20, validation=0.05), module_cache, 0)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_choices_are_proportional_and_nested(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels)
    count = round(share * len(labels))
    chosen = choose_stratified(array, count, seed=seed)
    assert len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    for label in set(labels):
        fair = count * labels.count(label) / len(labels)
        assert abs((array[chosen] == label).sum() - fair) <= len(set(labels))
    assert set(choose_stratified(array, count // 2, seed=seed)) <= set(chosen)


@given(
    groups=st.lists(st.integers(0, 30), min_size=2, max_size=60),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**40),
)
def test_groups_never_part(groups: list[int], share: float, seed: int) -> None:
    group = torch.tensor(groups)
    kept, aside = split_by_group(group % 3, group, share, seed=seed)
    assert sorted([*kept.tolist(), *aside.tolist()]) == list(range(len(groups)))
    assert not set(group[kept].tolist()) & set(group[aside].tolist())


@given(count=st.integers(1, 500), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000))
def test_an_epochs_order_is_a_permutation_fixed_by_its_key(count: int, seed: int, epoch: int) -> None:
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert torch.equal(order.sort().values, torch.arange(count))
    assert torch.equal(order, epoch_order(count, seed=seed, epoch=epoch))


def test_orders_of_epochs_and_seeds_differ_and_are_uniform() -> None:
    orders = torch.stack([epoch_order(50, seed=s, epoch=e) for s in range(20) for e in range(20)])
    assert len({tuple(order.tolist()) for order in orders}) == 400
    first = orders.float().mean(0)  # 24.5 at every place, standard error 14.4 / 20
    assert (first - 24.5).abs().max() < 5 * 14.5 / 20


@given(name=st.text(max_size=8), parts=st.lists(st.integers(-5, 2**40), max_size=3))
def test_streams_are_63_bits_and_separate(name: str, parts: list[int]) -> None:
    seed = stream_seed(name, *parts)
    assert 0 <= seed < 2**63
    assert seed == stream_seed(name, *parts)
    assert seed != stream_seed(name, *parts, 0)
    assert seed != stream_seed(name + "x", *parts)


def test_a_streams_seed_is_the_same_on_every_machine() -> None:
    assert stream_seed("views", 0, 1) == 8547089359068556796
