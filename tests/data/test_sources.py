"""Sources whose files are not written on the spot, and the import of torchvision."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ablate.data import DataError, build, load
from ablate.data.sources import kind_of
from ablate.data.sources.digits import raw_digits
from ablate.spec.data import ScatteredDigitsData, TorchvisionData


def test_torchvision_imports_and_its_models_run() -> None:
    from ablate.torchvision_import import torchvision

    assert torchvision.models.resnet18(weights=None)(torch.zeros(2, 3, 32, 32)).shape == (2, 1000)


def test_a_torchvision_that_imports_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate import torchvision_import

    matched, before = ModuleType("torchvision"), list(torchvision_import._declared)
    monkeypatch.setitem(sys.modules, "torchvision", matched)
    assert torchvision_import._import() is matched
    assert torchvision_import._declared == before


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate import torchvision_import

    def fail(_name: str) -> ModuleType:
        raise RuntimeError("Detected that PyTorch and torchvision were compiled with different CUDA versions")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(RuntimeError, match="different CUDA versions"):
        torchvision_import._import()


def test_a_missing_torchvision_set_says_what_to_do(tmp_path: Path) -> None:
    spec = TorchvisionData(kind="cifar10", root=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"cifar10 cannot be read from .*nowhere.*data\.download: true"):
        build(spec, tmp_path / "cache")


def test_cifar10_is_read_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate.torchvision_import import torchvision

    cifar10 = torchvision.datasets.CIFAR10
    root = tmp_path / cifar10.base_folder
    root.mkdir()
    random = np.random.default_rng(0)
    rows = {}
    for name, _ in [*cifar10.train_list, *cifar10.test_list]:
        rows[name] = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        (root / name).write_bytes(pickle.dumps({"data": rows[name], "labels": [k % 10 for k in range(20)]}))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(cifar10, "_check_integrity", lambda _self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    dataset = load(
        TorchvisionData(kind="cifar10", root=str(tmp_path)),
        seed=0,
        cache=tmp_path / "cache",
        device=torch.device("cpu"),
        threads=1,
    )
    assert dataset.class_names == tuple("abcdefghij")
    np.testing.assert_array_equal(dataset.test.images.numpy(), rows["test_batch"].reshape(20, 3, 32, 32))
    assert len(dataset.train.ids) == 80


def test_test_digits_never_show_in_training_canvases() -> None:
    pixels, labels, train, test = raw_digits()
    assert len(test) == 597
    assert not set(train) & set(test)
    assert np.bincount(labels[test]).min() >= 57  # stratified
    source = kind_of(ScatteredDigitsData()).open(ScatteredDigitsData())
    assert set(source.train.groups) == set(train)
    assert set(source.test.groups) == set(test)
    assert (labels[source.test.groups] == source.test.factors["label"]).all()
    assert pixels.max() == 1


def test_canvases_show_one_digit_and_the_clutter_asked_for() -> None:
    def brightness(clutter: int) -> float:
        spec = ScatteredDigitsData(clutter=clutter, per_digit=1)
        part = kind_of(spec).open(spec).test
        images = np.stack([decode() for decode in part.read(np.arange(100))])
        assert images.shape == (100, 24, 24, 3)
        assert images.max() == 255
        return float(images.mean())

    assert brightness(0) < brightness(6) < brightness(16)
