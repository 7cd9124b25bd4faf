"""Sources whose images have several labels: what is composed, paired and grouped, and what is even."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ablate.data import DataError, Dataset, build, load
from ablate.data.sources import kind_of
from ablate.spec.data import (
    DataSpec,
    DigitsData,
    GroupShiftData,
    MNISTOnCIFAR10Data,
    ParquetData,
    ShiftedFolderData,
    TorchvisionData,
    UrbanCarsData,
    WaterbirdsData,
)
from ablate.spec.errors import SpecError
from ablate.spec.load import load_trial
from ablate.spec.trial import TrialSpec
from tests.data.small_sources import CLASSES, pixels, png, write_parquet


def loaded(spec: DataSpec, cache: Path, seed: int = 0) -> Dataset:
    return load(spec, seed=seed, cache=cache, device=torch.device("cpu"), threads=1)


def digit(number: int) -> np.ndarray:
    """28 x 28: a bright block whose place names the number, on black."""
    image = np.zeros((28, 28), dtype=np.uint8)
    image[2 + number % 12 : 14 + number % 12, 2 + number // 12 : 14] = 255
    return image


@pytest.fixture
def pair(tmp_path: Path) -> MNISTOnCIFAR10Data:
    """30 and 12 photos, and 20 digits in one split, of three classes each."""
    photos, digits = tmp_path / "photos", tmp_path / "digits"
    photos.mkdir()
    digits.mkdir()
    for name, first, count in (("train", 0, 30), ("test", 1000, 12)):
        images = [png(pixels(first + k, side=32)) for k in range(count)]
        write_parquet(photos / f"{name}-0.parquet", images, [k % 3 for k in range(count)])
    write_parquet(digits / "test-0.parquet", [png(digit(k)) for k in range(20)], [k % 3 for k in range(20)])
    return MNISTOnCIFAR10Data(cifar10=str(photos), mnist=str(digits))


def test_the_digit_is_mixed_in_where_it_is_and_the_photo_is_kept_beside_it(
    pair: MNISTOnCIFAR10Data, cache: Path
) -> None:
    full = loaded(pair.model_copy(update={"strength": 1.0}), cache)
    weak = loaded(pair, cache)
    assert weak.factor_names == {"digit": tuple(CLASSES), "object": tuple(CLASSES)}
    assert weak.class_names == tuple(CLASSES)
    for split, first in ((weak.train, 0), (weak.val, 0), (weak.test, 1000)):
        assert torch.equal(split.labels, split.factors["digit"])
        assert split.alternates is not None
        for k, index in enumerate(split.ids.tolist()):
            photo = torch.from_numpy(pixels(first + index, side=32)).permute(2, 0, 1)
            assert torch.equal(split.alternates[k], photo)
            assert split.factors["object"][k] == index % 3
    assert full.test.alternates is not None
    changed = (full.test.images != full.test.alternates).any(1)
    assert not changed[:, :8].any()  # the digit lies in the central 16 x 16
    assert changed[:, 8:24, 8:24].float().mean() > 0.1
    solid = (full.test.images == 255).all(1)
    photo = full.test.alternates.float().permute(0, 2, 3, 1)[solid]
    mixed = weak.test.images.float().permute(0, 2, 3, 1)[solid]
    assert (mixed - (0.3 * photo + 0.7 * 255)).abs().max() <= 0.51


def test_streamed_photos_are_dropped_to_as_resident_ones_are(pair: MNISTOnCIFAR10Data, cache: Path) -> None:
    views = TrialSpec.model_validate(
        {"data": pair.as_dict(), "views": {"drop": 0.5}, "head": {"kind": "none"}, "optim": {"kind": "sgd"}}
    ).views
    rows = torch.tensor([3, 0, 7, 11])
    found = [
        load(pair, seed=0, cache=cache, device=torch.device("cpu"), threads=1, images=images).train
        for images in ("resident", "stream")
    ]
    found[1].expect(rows)
    for split in found:
        assert split.alternates is not None
        assert torch.equal(split.alternates[rows], found[0].alternates[rows])
    one, other = (split.two_views(rows, views, seed=0, epoch=1) for split in found)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_test_digits_come_from_a_held_out_fifth_and_train_shares_no_digit_with_validation(
    pair: MNISTOnCIFAR10Data, cache: Path
) -> None:
    source = kind_of(pair).open(pair)
    assert not set(source.train.groups) & set(source.test.groups)  # a group is a digit image
    assert len(set(source.test.groups)) == 4
    uses = np.bincount(source.train.groups)
    assert set(uses[uses > 0]) <= {1, 2}  # 30 photos, 16 digits
    data = loaded(pair, cache)
    groups = [set(source.train.groups[s.ids].tolist()) for s in (data.train, data.val)]
    assert not groups[0] & groups[1]


def test_the_label_may_be_the_object(pair: MNISTOnCIFAR10Data, cache: Path) -> None:
    data = loaded(pair.model_copy(update={"label": "object"}), cache)
    assert torch.equal(data.test.labels, data.test.factors["object"])
    assert build(pair, cache).digest != data.digest


def test_torchvisions_sets_give_the_same_and_have_their_own_test_digits(
    pair: MNISTOnCIFAR10Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_set(kind: str, _root: str, training: bool, **_options: object) -> SimpleNamespace:
        count, first = (30, 0) if training else (12, 1000)
        photos = np.stack([pixels(first + k, side=32) for k in range(count)])
        digits = np.stack([digit(k + 6 * (not training)) for k in range(count)])
        targets = torch.arange(count) % 3
        if kind == "mnist":
            return SimpleNamespace(data=torch.from_numpy(digits), targets=targets)
        return SimpleNamespace(data=photos, targets=targets.tolist(), classes=CLASSES)

    monkeypatch.setattr("ablate.data.sources.mnist_on_cifar10.open_set", open_set)
    spec = pair.model_copy(update={"layout": "torchvision"})
    source = kind_of(spec).open(spec)
    assert source.names["object"] == tuple(CLASSES)
    assert sorted(source.train.groups) == list(range(30))  # each of as many digits once
    assert source.test.alternates is not None
    photo = next(source.test.alternates(np.array([5])))()
    np.testing.assert_array_equal(photo, pixels(1005, side=32))
    image = next(source.test.read(np.array([5])))()
    assert (image != photo).any(2)[8:24, 8:24].any()


def test_a_missing_folder_of_torchvisions_is_named_by_its_key(pair: MNISTOnCIFAR10Data, cache: Path) -> None:
    with pytest.raises(DataError, match=r"that holds it as data\.cifar10\.$"):
        build(pair.model_copy(update={"layout": "torchvision"}), cache)


def test_a_missing_folder_of_parquet_files_is_named_by_its_key(
    pair: MNISTOnCIFAR10Data, tmp_path: Path, cache: Path
) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder.*data\.mnist"):
        build(pair.model_copy(update={"mnist": str(tmp_path / "nowhere")}), cache)


def test_one_folder_may_be_given_relative_and_the_other_not(
    pair: MNISTOnCIFAR10Data, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = pair.model_copy(update={"mnist": "digits"})
    assert build(relative, cache).digest == build(pair, cache).digest


def test_real_digits_on_real_photos(shared_data: Callable[[str], Path], cache: Path) -> None:
    spec = MNISTOnCIFAR10Data(
        cifar10=str(shared_data("cifar10")), mnist=str(shared_data("mnist")), train=100, test=50
    )
    data = loaded(spec, cache)
    assert data.test.images.shape == (50, 3, 32, 32)
    assert data.factor_names["digit"] == tuple("0123456789")
    assert data.factor_names["object"][0] == "airplane"


def test_coarse_classes_are_the_labels_and_the_classes_a_factor(parquet: Path, cache: Path) -> None:
    coarse = {"insects": ["ant", "bee"], "mammals": ["cat"]}
    spec = ParquetData.model_validate({"path": str(parquet), "coarse": coarse})
    data = loaded(spec, cache)
    assert data.class_names == ("insects", "mammals")
    assert data.factor_names == {"coarse": ("insects", "mammals"), "fine": tuple(CLASSES)}
    assert torch.equal(data.test.labels, (data.test.factors["fine"] == 2).long())
    assert data.groups(data.test).unique().numel() == 3
    assert hash(spec) == hash(ParquetData.model_validate(spec.as_dict()))
    assert spec.as_dict()["coarse"] == coarse


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        ({"a": ["ant"], "b": ["bee"]}, "in no group: cat"),
        ({"a": ["ant", "bee"], "b": ["cat", "dog"]}, "not classes: dog"),
    ],
)
def test_a_grouping_names_every_class(
    parquet: Path, cache: Path, coarse: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        build(ParquetData.model_validate({"path": str(parquet), "coarse": coarse}), cache)


def test_the_order_of_groups_in_a_file_is_of_no_account(cache: Path) -> None:
    odd, even = list("13579"), list("02468")
    one, other = (
        DigitsData.model_validate({"coarse": groups, "train": 20, "test": 10})
        for groups in ({"odd": odd, "even": even}, {"even": even, "odd": odd})
    )
    assert one == other
    assert loaded(one, cache).class_names == ("even", "odd")


@pytest.mark.parametrize(
    ("coarse", "message"),
    [
        ("{odd: [1, 3], even: ['0']}", r"data\.coarse\.odd: must be .* \(quote numbers\), found \[1, 3\]"),
        ("{odd: '1'}", r"data\.coarse\.odd: must be a list of class names"),
        ("[odd, even]", r"data\.coarse: found .*must be a mapping of group names to lists of classes"),
    ],
)
def test_a_grouping_of_another_form_is_refused_at_its_place(
    tmp_path: Path, coarse: str, message: str
) -> None:
    file = tmp_path / "trial.yaml"
    file.write_text(f"data: {{kind: digits, coarse: {coarse}}}\nhead: {{kind: none}}\noptim: {{kind: sgd}}\n")
    with pytest.raises(SpecError, match=message):
        load_trial(file)


@pytest.mark.parametrize("coarse", [{"a": ["x"]}, {"a": ["x"], "b": ["x"]}, {"a": ["x"], "b": []}])
def test_a_grouping_is_of_two_or_more_and_names_no_class_twice(coarse: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError, match="coarse"):
        DigitsData.model_validate({"coarse": coarse})


def test_cifar100_has_its_superclasses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate.torchvision_import import torchvision

    cifar100 = torchvision.datasets.CIFAR100
    root = tmp_path / cifar100.base_folder
    root.mkdir()
    rows = {
        "data": np.zeros((40, 3072), dtype=np.uint8),
        "fine_labels": [k % 4 for k in range(40)],
        "coarse_labels": [(k % 4) // 2 for k in range(40)],
    }
    for name in ("train", "test"):
        (root / name).write_bytes(pickle.dumps(rows))
    meta = {"fine_label_names": list("abcd"), "coarse_label_names": ["fish", "fruit"]}
    (root / "meta").write_bytes(pickle.dumps(meta))
    monkeypatch.setattr(cifar100, "_check_integrity", lambda _self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    spec = TorchvisionData(kind="cifar100", root=str(tmp_path), superclasses=True)
    data = loaded(spec, tmp_path / "cache")
    assert data.factor_names == {"coarse": ("fish", "fruit"), "fine": tuple("abcd")}
    assert torch.equal(data.test.labels, data.test.factors["fine"] // 2)
    with pytest.raises(ValidationError, match="only cifar100"):
        TorchvisionData(kind="cifar10", superclasses=True)


def test_group_shift_is_biased_in_training_and_even_in_validation_and_test(cache: Path) -> None:
    spec = GroupShiftData(per_digit=2, background=0.9, object=0.8)
    data = loaded(spec, cache)
    for split in (data.val, data.test):
        counts = data.groups(split).bincount(minlength=8)
        assert counts.min() == counts.max() > 20
    core = data.train.labels
    for factor, share in (("background", 0.9), ("object", 0.8)):
        agree = (data.train.factors[factor] == core).float()
        assert abs(float(agree.mean()) - share) < 5 * (share * (1 - share) / len(core)) ** 0.5
    again = loaded(spec, cache, seed=3)
    assert torch.equal(again.val.ids, data.val.ids)  # no seed moves a source's own validation split
    assert torch.equal(again.train.ids, data.train.ids)
    assert again.train is data.train  # nor is it read again


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DigitsData(), "SeededValidation, but .* gives a val"),
        (GroupShiftData(), "OwnValidation, but .* no val"),
    ],
)
def test_a_source_gives_the_splits_that_its_spec_promises(
    spec: DataSpec, words: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kind_of(spec).open(spec)
    other = replace(found, validation=found.test if found.validation is None else None)
    monkeypatch.setattr("ablate.data.beton.kind_of", lambda _: replace(kind_of(spec), open=lambda _: other))
    with pytest.raises(DataError, match=f"{spec.kind}: derives from {words}idation part"):
        build(spec, cache)


def test_group_shift_shows_other_digits_in_every_split_and_draws_each_factor() -> None:
    source = kind_of(GroupShiftData()).open(GroupShiftData(per_digit=1))
    assert source.validation is not None
    parts = [source.train, source.validation, source.test]
    digits = [set(part.groups.tolist()) for part in parts]
    assert len(set.union(*digits)) == sum(map(len, digits))
    images = np.stack([make() for make in source.test.read(np.arange(len(source.test.groups)))]) / 255.0
    warmth = (images[..., 0] - images[..., 2]).mean((1, 2))
    background = source.test.factors["background"]
    assert warmth[background == 0].mean() > 0.05 > -0.05 > warmth[background == 1].mean()
    violet = (images[..., 2] - images[..., 1] > 0.25) & (images[..., 0] > 0.45)  # a cross, no texture
    thing = source.test.factors["object"]
    assert violet.mean((1, 2))[thing == 1].mean() > violet.mean((1, 2))[thing == 0].mean() + 0.01


def test_a_subset_keeps_the_groups_even(cache: Path) -> None:
    data = loaded(GroupShiftData(per_digit=1, test=80, validation=40), cache)
    assert data.groups(data.test).bincount(minlength=8).tolist() == [10] * 8
    assert data.groups(data.val).bincount(minlength=8).tolist() == [5] * 8


def test_waterbirds_is_read_as_published(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "waterbirds"
    (root / "001.Albatross").mkdir(parents=True)
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for k in range(60):
        name = f"001.Albatross/{k}.png"
        (root / name).write_bytes(png(pixels(k)))
        lines.append(f"{k},{name},{k % 2},{k // 20},{k // 2 % 2},x.jpg")
    (root / "metadata.csv").write_text("\n".join(lines))
    data = loaded(WaterbirdsData(path=str(root)), cache)
    assert [len(s.labels) for s in (data.train, data.val, data.test)] == [20, 20, 20]
    assert data.factor_names == {"bird": ("landbird", "waterbird"), "place": ("land", "water")}
    assert torch.equal(data.val.factors["place"], torch.arange(20) // 2 % 2)
    np.testing.assert_array_equal(data.test.images[3].permute(1, 2, 0).numpy(), pixels(43))
    (root / "metadata.csv").write_text("\n".join(lines).replace("3,001.Albatross/3.png,1", "3,x.png,7"))
    with pytest.raises(DataError, match=r"metadata\.csv line 5: y is '7'"):
        build(WaterbirdsData(path=str(root)), cache)
    (root / "metadata.csv").write_text("a,b\n1,2")
    with pytest.raises(DataError, match="no column img_filename, y, place, split"):
        build(WaterbirdsData(path=str(root)), cache)


def test_urbancars_is_read_as_its_code_writes_it(tmp_path: Path, cache: Path) -> None:
    places, count = ("urban", "country"), 0
    for part in ("0.95/train", "0.5/val", "0.5/test"):
        ratio, split = part.split("/")
        for c in places:
            for b in places:
                for o in places:
                    name = f"obj-{c}_bg-{b}_co_occur_obj-{o}"
                    below = tmp_path / f"bg-{ratio}_co_occur_obj-{ratio}" / split / name
                    below.mkdir(parents=True)
                    for k in range(2):
                        (below / f"{k}.png").write_bytes(png(pixels(count)))
                        count += 1
    data = loaded(UrbanCarsData(path=str(tmp_path)), cache)
    assert list(data.factor_names) == ["core", "background", "object"]
    for split in (data.train, data.val, data.test):
        assert data.groups(split).tolist() == [k // 2 for k in range(16)]
    np.testing.assert_array_equal(data.test.images[0].permute(1, 2, 0).numpy(), pixels(32))
    with pytest.raises(DataError, match="no such folder"):
        build(UrbanCarsData(path=str(tmp_path / "bg-0.5_co_occur_obj-0.5")), cache)


def class_folders(root: Path, names: list[str], each: int = 4) -> Path:
    for n, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for k in range(each):
            (root / name / f"{k}.png").write_bytes(png(pixels(10 * n + k)))
    return root


def shifted(train: Path, test: Path, mapping: Path | None = None) -> ShiftedFolderData:
    named = None if mapping is None else str(mapping)
    return ShiftedFolderData(path=str(train), test_path=str(test), mapping=named, validation=0.3)


def test_a_shifted_test_set_has_some_of_the_training_classes(tmp_path: Path, cache: Path) -> None:
    train = class_folders(tmp_path / "train", ["n1", "n2", "n3"])
    test = class_folders(tmp_path / "renditions", ["n1", "n3"], each=5)
    data = loaded(shifted(train, test), cache)
    assert data.class_names == ("n1", "n2", "n3")
    assert data.test.labels.bincount().tolist() == [5, 0, 5]
    other = class_folders(tmp_path / "other", ["n1", "n9"])
    with pytest.raises(DataError, match=r"not in .*train: n9.*data\.mapping"):
        build(shifted(train, other), cache)


def test_folders_are_mapped_to_labels_and_others_left_out(tmp_path: Path, cache: Path) -> None:
    train = class_folders(tmp_path / "train", ["n1", "n2", "n3", "n4"])
    test = class_folders(tmp_path / "test", ["n2", "bird", "n7"], each=5)
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"n1": "dog", "n2": "dog", "n3": "bird"}))
    data = loaded(shifted(train, test, mapping), cache)
    assert data.class_names == ("bird", "dog")
    assert len(data.train.labels) + len(data.val.labels) == 12  # n4 is left out, and n7 of the test images
    assert data.test.labels.bincount().tolist() == [5, 5]
    mapping.write_text(json.dumps({"0": 0, "1": -1}))
    with pytest.raises(DataError, match="counts the 1000 classes"):
        build(shifted(train, test, mapping), cache)
    mapping.write_text("[1]")
    with pytest.raises(DataError, match="must map class folders to labels"):
        build(shifted(train, test, mapping), cache)


def test_the_published_mapping_counts_the_classes_of_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.data.sources.shifted_folder._IMAGENET", 4)
    train = class_folders(tmp_path / "train", ["n1", "n2", "n3", "n4"])
    test = class_folders(tmp_path / "original", ["00_dog", "01_bird"])
    mapping = tmp_path / "in_to_in9.json"
    mapping.write_text(json.dumps({"0": 1, "1": 0, "2": -1, "3": 0}))
    spec = shifted(train, test, mapping)
    source = kind_of(spec).open(spec)
    assert source.class_names == ("00_dog", "01_bird")
    assert np.bincount(source.train.factors["label"]).tolist() == [8, 4]
    assert np.bincount(source.test.factors["label"]).tolist() == [4, 4]


def test_only_sources_with_alternate_pictures_can_drop() -> None:
    trial = {"head": {"kind": "none"}, "optim": {"kind": "sgd"}, "views": {"drop": 0.5}}
    with pytest.raises(ValidationError, match=r"views\.drop: digits has no alternate picture"):
        TrialSpec.model_validate({"data": {"kind": "digits"}, **trial})
    composed = {"kind": "mnist-on-cifar10", "cifar10": "a", "mnist": "b"}
    assert TrialSpec.model_validate({"data": composed, **trial}).views.drop == 0.5
