"""What is written is what is read; bad data costs one clear error and leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ablate.data import DataError, Dataset, build, load
from ablate.data.ffcv_io import Layout, write_beton
from ablate.spec.data import DataSpec, DigitsData, FolderData, ParquetData
from tests.data.small_sources import CLASSES, pixels, png, smooth, write_parquet

CPU = torch.device("cpu")


def load_now(spec: DataSpec, cache: Path, seed: int = 0) -> Dataset:
    return load(spec, seed=seed, cache=cache, device=CPU, threads=1)


def train_file(folder: Path) -> Path:
    return folder / "train-00000-of-00001.parquet"


def betons(cache: Path) -> list[str]:
    """What a failed build might have left, other than locks and remembered fingerprints."""
    return sorted(p.name for p in cache.glob("*") if p.name not in {"locks", "fingerprints"})


def test_every_pixel_and_label_comes_back(parquet: Path, cache: Path) -> None:
    dataset = load_now(ParquetData(path=str(parquet)), cache)
    assert dataset.class_names == tuple(CLASSES)
    for split, first in ((dataset.train, 0), (dataset.val, 0), (dataset.test, 1000)):
        assert split.images.is_contiguous(memory_format=torch.channels_last)
        for image, label, index in zip(split.images, split.labels, split.ids, strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels(first + int(index)))
            assert label == index % 3


def test_photos_kept_as_jpegs_come_back_nearly_and_in_their_colours(tmp_path: Path, cache: Path) -> None:
    for split in ("train", "test"):
        images = [png(smooth(k)) for k in range(6)]
        write_parquet(tmp_path / f"{split}-0.parquet", images, [0, 1, 2, 0, 1, 2])
    raw = ParquetData(path=str(tmp_path), validation=0.5)
    fine, coarse = (raw.model_copy(update={"jpeg": quality}) for quality in (95, 50))
    errors, sizes = [], []
    for spec in (raw, fine, coarse):
        test = load_now(spec, cache).test
        truth = np.stack([smooth(k) for k in range(6)]).astype(float)
        errors.append(np.abs(test.images[:].permute(0, 2, 3, 1).numpy() - truth).mean((0, 1, 2)))
        sizes.append(build(spec, cache).samples("test").pictures[0].sizes.sum())
    assert (errors[0] == 0).all()
    assert (errors[1] < 2).all()  # with red and blue exchanged it would be 60 and more
    assert (errors[1] < errors[2]).all()
    assert sizes[2] < sizes[1] < sizes[0] / 3
    assert len({build(spec, cache).digest for spec in (raw, fine, coarse)}) == 3


@pytest.mark.parametrize("quality", [49, 101, 90.0])
def test_a_quality_that_is_none_is_refused(quality: float) -> None:
    with pytest.raises(ValidationError, match="jpeg"):
        ParquetData.model_validate({"path": "x", "jpeg": quality})


@pytest.mark.parametrize("side", [900, 1700])  # 2.4 and 8.7 MB: more than FFCV's smallest and default page
def test_large_images_take_large_pages(tmp_path: Path, cache: Path, side: int) -> None:
    def large(seed: int) -> NDArray[np.uint8]:
        return pixels(seed, side=side // 20).repeat(20, axis=0).repeat(20, axis=1)

    folder = tmp_path / "large"
    folder.mkdir()
    for split in ("train", "test"):
        write_parquet(folder / f"{split}-0.parquet", [png(large(k)) for k in range(4)], [0, 1, 0, 1])
    test = load_now(ParquetData(path=str(folder), validation=0.5), cache).test
    for k, image in enumerate(test.images):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), large(k))


def test_an_import_that_fails_while_images_are_read_is_not_laid_to_ffcv(tmp_path: Path) -> None:
    def samples() -> Iterator[tuple[NDArray[np.uint8] | int, ...]]:
        raise ImportError("no codec for this picture")
        yield

    with pytest.raises(ImportError, match="no codec"):
        write_beton(tmp_path / "x.beton", samples(), Layout(1, 1), 1, (8, 8))


def test_folder_reads_both_layouts(folder: Path, tmp_path: Path, cache: Path) -> None:
    (folder / "ant" / ".hidden.png").write_bytes(b"junk")
    (folder / "ant" / "notes.txt").write_text("not an image")
    flat = load_now(FolderData(path=str(folder)), cache)
    assert len(flat.test.ids) == 6
    assert flat.test.labels.bincount().tolist() == [2, 2, 2]
    assert len(flat.train.ids) + len(flat.val.ids) == 24
    split = tmp_path / "split"
    for part in ("train", "test"):
        shutil.copytree(folder, split / part)
    assert len(load_now(FolderData(path=str(split)), cache).test.ids) == 30


def test_resolution_resizes_and_crops_the_centre(tmp_path: Path, cache: Path) -> None:
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30] = 200  # the centre square is uniform, the rest is cut away
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "wide" / split / name).mkdir(parents=True)
            for k in range(3):
                (tmp_path / "wide" / split / name / f"{k}.png").write_bytes(png(wide))
    test = load_now(FolderData(path=str(tmp_path / "wide"), resolution=10, validation=0.34), cache).test
    assert test.images.shape == (6, 3, 10, 10)
    assert set(test.images[..., 2:-2].flatten().tolist()) == {200}  # bicubic looks a little beyond
    assert test.images.min() > 150


def test_the_content_names_the_beton_not_the_path(parquet: Path, tmp_path: Path, cache: Path) -> None:
    first = build(ParquetData(path=str(parquet)), cache)
    moved = tmp_path / "moved"
    shutil.copytree(parquet, moved)
    assert build(ParquetData(path=str(moved)), cache) == first
    write_parquet(train_file(moved), [png(pixels(k + 1)) for k in range(30)], [k % 3 for k in range(30)])
    assert build(ParquetData(path=str(moved)), cache).digest != first.digest
    assert build(ParquetData(path=str(parquet), resolution=8), cache).digest != first.digest
    assert build(ParquetData(path=str(parquet), validation=0.4), cache) == first


def corrupt_image(folder: Path) -> str:
    images = [png(pixels(k)) for k in range(30)]
    images[17] = images[17][:60]
    write_parquet(train_file(folder), images, [k % 3 for k in range(30)])
    return "train-00000-of-00001.parquet row 17"


def truncated_file(folder: Path) -> str:
    content = train_file(folder).read_bytes()
    train_file(folder).write_bytes(content[: len(content) // 2])
    return "train-00000-of-00001.parquet"


def damaged_pages(folder: Path) -> str:
    content = bytearray(train_file(folder).read_bytes())
    content[200 : len(content) // 2] = bytes(len(content) // 2 - 200)  # the footer is still whole
    train_file(folder).write_bytes(bytes(content))
    return "train-00000-of-00001.parquet"


def odd_size(folder: Path) -> str:
    images = [png(pixels(k, side=12 if k != 9 else 13)) for k in range(30)]
    write_parquet(train_file(folder), images, [k % 3 for k in range(30)])
    return r"row 9: is 13 x 13 pixels.*row 0 is 12 x 12.*data\.resolution"


def label_out_of_range(folder: Path) -> str:
    write_parquet(train_file(folder), [png(pixels(0))] * 30, [0] * 20 + [3] * 10)
    return "row 20: label is 3, outside its 3 classes"


def one_class(folder: Path) -> str:
    write_parquet(train_file(folder), [png(pixels(k)) for k in range(30)], [1] * 30)
    return r"train-.* row 0 .*one class \(bee\)"


def no_metadata(folder: Path) -> str:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(train_file(folder)).replace_schema_metadata(None), train_file(folder))
    return "train-.*no readable Hugging Face features"


def no_test_file(folder: Path) -> str:
    (folder / "test-00000-of-00001.parquet").unlink()
    return r"no file test-\*\.parquet"


@pytest.mark.parametrize(
    "spoil",
    [
        corrupt_image,
        truncated_file,
        damaged_pages,
        odd_size,
        label_out_of_range,
        one_class,
        no_metadata,
        no_test_file,
    ],
)
def test_bad_parquet_is_one_clear_error_and_no_beton(
    parquet: Path, cache: Path, spoil: Callable[[Path], str]
) -> None:
    good = build(ParquetData(path=str(parquet)), cache)
    expected = spoil(parquet)
    with pytest.raises(DataError, match=expected):
        build(ParquetData(path=str(parquet)), cache)
    assert betons(cache) == [good.digest]  # nothing added, nothing lost


def test_bad_folders_are_named(folder: Path, cache: Path) -> None:
    spec = FolderData(path=str(folder))
    (folder / "bee" / "4.png").write_bytes(b"\x89PNG but not really")
    with pytest.raises(DataError, match=r"bee/4\.png: not a readable image"):
        build(spec, cache)
    for name in ("bee", "cat"):
        shutil.rmtree(folder / name)
    with pytest.raises(DataError, match="only the class folder 'ant'"):
        build(spec, cache)
    (folder / "bee").mkdir()
    with pytest.raises(DataError, match="bee: holds no image"):
        build(spec, cache)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="photos: no such folder"):
        build(spec, cache)
    assert betons(cache) == []


def test_asking_for_more_images_than_there_are(parquet: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train is 31, but the source has 30"):
        build(ParquetData(path=str(parquet), train=31), cache)


def test_a_truncated_beton_is_refused(cache: Path) -> None:
    beton = build(DigitsData(), cache)
    with beton.path("train").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="Delete that folder"):
        load_now(DigitsData(), cache)


def test_a_full_disk_is_one_clear_error_and_no_beton(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ablate.data.beton.sync", full)
    with pytest.raises(DataError, match="No space left"):
        build(DigitsData(), cache)
    assert betons(cache) == []


def test_a_killed_builder_is_cleaned_up(cache: Path, tmp_path: Path) -> None:
    digest = build(DigitsData(), tmp_path / "elsewhere").digest
    (cache / f"{digest}.unfinished").mkdir(parents=True)
    (cache / f"{digest}.unfinished" / "train.beton").write_bytes(b"half")
    build(DigitsData(), cache)
    assert betons(cache) == [digest]


def test_two_builders_at_once_make_one_beton(parquet: Path, cache: Path) -> None:
    spec = ParquetData(path=str(parquet))
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        waiting = [pool.apply_async(build, (spec, cache)) for _ in range(2)]
        first, second = (job.get(timeout=120) for job in waiting)
    assert first == second
    assert betons(cache) == [first.digest]
    assert len(load_now(spec, cache).test.ids) == 12


def test_threads_are_as_they_were(parquet: Path, cache: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load(ParquetData(path=str(parquet)), seed=0, cache=cache, device=CPU, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pixels_beyond_the_memory_share_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.data.dataset.device_memory", lambda _device: 1_000_000)
    with pytest.raises(DataError, match=r"or lower data\.train or data\.resolution"):
        load(DigitsData(), seed=0, cache=cache, device=CPU, threads=1, images="resident")


@pytest.mark.parametrize("name", ["cifar10"])
def test_shared_parquet(name: str, shared_data: Callable[[str], Path], cache: Path) -> None:
    dataset = load_now(ParquetData(path=str(shared_data(name)), train=200, test=100), cache)
    assert dataset.class_names[0] == "airplane"
    assert dataset.train.images.shape == (160, 3, 32, 32)
    assert dataset.test.labels.bincount().tolist() == [10] * 10
