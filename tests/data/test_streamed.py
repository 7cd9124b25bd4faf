"""Streamed images are the resident ones, decoded once, no more than expected, by threads that end."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.data import DataError, Dataset, Split, build, epoch_order, load
from ablate.data.ffcv_io import PictureFile
from ablate.data.streamed import Streamed
from ablate.spec.data import Images, ParquetData
from ablate.train import World
from tests.data.small_sources import png, smooth, write_parquet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 training and 12 test photos of 40 x 40 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for name, first, count in (("train", 0, 80), ("test", 1000, 12)):
        images = [png(smooth(first + k)) for k in range(count)]
        write_parquet(folder / f"{name}-0.parquet", images, [k % 3 for k in range(count)])
    return folder


@pytest.fixture(params=[None, 90], ids=["raw", "jpeg"])
def spec(photos: Path, request: pytest.FixtureRequest) -> ParquetData:
    return ParquetData(path=str(photos), jpeg=request.param)


def loaded(spec: ParquetData, cache: Path, images: Images = "stream", threads: int = 2) -> Dataset:
    return load(spec, seed=0, cache=cache, device=CPU, threads=threads, images=images)


def streamed(split: Split) -> Streamed:
    assert isinstance(split.images, Streamed)
    return split.images


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the files that were decoded since, in ascending order for each part of a batch."""
    rows: list[int] = []
    read = PictureFile.read

    def noted(self: PictureFile, at: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        rows.extend(at.tolist())
        read(self, at, out)

    monkeypatch.setattr(PictureFile, "read", noted)
    return rows


def test_they_are_the_resident_ones_in_any_order(spec: ParquetData, cache: Path) -> None:
    resident, stream = loaded(spec, cache, "resident"), loaded(spec, cache)
    for name in ("train", "val", "test"):
        one, other = getattr(resident, name), getattr(stream, name)
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.labels, other.labels)
        images, count = streamed(other), len(one.labels)
        assert (len(images), images.shape, images.device) == (count, one.images.shape, CPU)
        for rows in (torch.arange(count), torch.randint(count, (50,)), torch.tensor([3]), torch.arange(0)):
            assert torch.equal(images[rows], one.images[rows])
            assert images[rows].is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images.resident(), one.images)


def test_an_expected_batch_is_decoded_once_and_recognised_by_its_rows(
    spec: ParquetData, cache: Path, decoded: list[int]
) -> None:
    train = streamed(loaded(spec, cache).train)
    truth = train.resident()
    decoded.clear()
    first, second, third = torch.arange(60).split(20)
    train.expect(first)
    train.expect(second)
    assert torch.equal(train[second.clone()], truth[second])  # out of order
    assert torch.equal(train[third], truth[third])  # not expected
    assert torch.equal(train[first], truth[first])
    assert len(decoded) == 60
    assert torch.equal(train[first], truth[first])  # no longer expected
    assert len(decoded) == 80


def test_a_batch_is_decoded_once_for_as_many_reads_as_were_expected(
    spec: ParquetData, cache: Path, decoded: list[int]
) -> None:
    train = streamed(loaded(spec, cache).train)
    truth = train.resident()
    decoded.clear()
    first, second = torch.arange(40).split(20)
    train.expect(first)
    train.expect(second)
    train.expect(first.clone())
    for rows in (first, second, first):
        assert torch.equal(train[rows], truth[rows])
    assert len(decoded) == 40
    assert torch.equal(train[first], truth[first])
    assert len(decoded) == 60


def test_rows_that_change_after_they_were_expected_are_other_rows(spec: ParquetData, cache: Path) -> None:
    train = streamed(loaded(spec, cache).train)
    truth = train.resident()
    rows = torch.arange(10)
    train.expect(rows)
    rows += 5
    assert torch.equal(train[rows], truth[rows])
    assert torch.equal(train[rows - 5], truth[rows - 5])


def test_no_more_than_two_batches_wait(
    spec: ParquetData, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = streamed(loaded(spec, cache, threads=1).train)
    truth = train.resident()
    go, read, began = threading.Event(), PictureFile.read, []

    def held(self: PictureFile, at: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        began.append(len(at))
        go.wait(10)
        read(self, at, out)

    monkeypatch.setattr(PictureFile, "read", held)
    batches = torch.arange(60).split(4)
    for rows in batches:
        train.expect(rows)
    go.set()
    assert torch.equal(train[batches[-1]], truth[batches[-1]])
    assert torch.equal(train[batches[-2]], truth[batches[-2]])
    assert sum(began) <= 3 * 4  # the two, and what of the first had begun


def test_what_was_handed_out_stays_as_it_was(spec: ParquetData, cache: Path) -> None:
    train = streamed(loaded(spec, cache).train)
    batches = [train[rows] for rows in torch.arange(60).split(10)]
    copies = [batch.clone() for batch in batches]
    for rows in torch.arange(60).flip(0).split(10):
        train.expect(rows)
        train[rows]
    assert all(torch.equal(batch, copy) for batch, copy in zip(batches, copies, strict=True))


def test_a_batch_may_be_expected_in_inference_mode_and_read_outside_and_the_other_way(
    spec: ParquetData, cache: Path
) -> None:
    train = streamed(loaded(spec, cache).train)
    truth = train.resident()
    with torch.inference_mode():
        rows = torch.arange(20)
        train.expect(rows)
    assert not train[rows].is_inference()
    train.expect(torch.arange(20))
    with torch.inference_mode():
        assert torch.equal(train[rows], truth[:20])


def spoil(spec: ParquetData, cache: Path, row: int, how: Callable[[int, int, Path], None]) -> None:
    """Do ``how`` to (offset, size, file) of a training image."""
    pictures = build(spec, cache).samples("train").pictures[0]
    how(int(pictures.offsets[row]), int(pictures.sizes[row]), pictures.path)


def overwrite(offset: int, size: int, path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))


def cut_tail(offset: int, size: int, path: Path) -> None:
    """Zeros from the middle of the image on."""
    overwrite(offset + size // 2, size - size // 2, path)


def cut_file(offset: int, size: int, path: Path) -> None:
    os.truncate(path, offset + size // 2)


def is_named(row: int, how: str) -> str:
    return rf"train\.beton: image {row} is damaged \({how}\)\. Delete .* to have it built anew\."


@pytest.mark.parametrize("damage", [overwrite, cut_tail])
def test_a_damaged_jpeg_is_named_where_it_is_read_and_no_other_suffers(
    photos: Path, cache: Path, damage: Callable[[int, int, Path], None]
) -> None:
    spec = ParquetData(path=str(photos), jpeg=90)
    whole = loaded(spec, cache, "resident").train
    train = loaded(spec, cache).train
    row = int(train.ids[7])
    spoil(spec, cache, row, damage)
    train.expect(torch.arange(8))
    train.expect(torch.arange(8, 20))
    message = is_named(row, "not a whole JPEG")
    with pytest.raises(DataError, match=message):
        streamed(train)[torch.arange(8)]
    assert torch.equal(streamed(train)[torch.arange(8, 20)], whole.images[8:20])
    with pytest.raises(DataError, match=message):
        list(train.chunks(20))
    with pytest.raises(DataError, match=message):
        load(spec, seed=1, cache=cache, device=CPU, threads=3, images="resident")


def test_a_file_that_is_cut_short_under_a_trial_is_an_error(spec: ParquetData, cache: Path) -> None:
    train = loaded(spec, cache).train
    row = int(train.ids[7])
    spoil(spec, cache, row, cut_file)
    assert len(streamed(train)[torch.arange(7)]) == 7  # those before it
    with pytest.raises(DataError, match=is_named(row, "the file ends in it")):
        streamed(train)[torch.arange(20)]


@pytest.mark.parametrize("first", [0, 2000, 3200])  # of the header, the columns' names, the samples' places
def test_tables_that_are_not_whole_are_refused_before_any_image_is_read(
    spec: ParquetData, cache: Path, first: int
) -> None:
    path = build(spec, cache).path("train")
    content = path.read_bytes()
    path.write_bytes(content[:first] + bytes(len(content) - first))
    with pytest.raises(DataError, match=r"train\.beton: damaged .*Delete"):
        loaded(spec, cache)


def test_threads_and_files_end_with_the_dataset(spec: ParquetData, cache: Path) -> None:
    def threads() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("ablate-decode")]

    def files() -> list[str]:
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        return [to for link in links if os.path.islink(link) and str(cache) in (to := os.readlink(link))]

    gc.collect()
    dataset = loaded(spec, cache, threads=3)
    dataset.train.expect(torch.arange(30))
    streamed(dataset.train)[torch.arange(60)]
    for split in (dataset.train, dataset.val, dataset.test):
        split.expect(torch.arange(10))
    assert 0 < len(threads()) <= 3  # for all splits; a thread that is idle is taken before another begins
    assert len(files()) == 3
    del split
    del dataset
    assert not files() or threads()  # closed, but for parts that are still being decoded
    assert eventually(lambda: not threads() and not files())
    loaded(spec, cache, "resident", threads=3)
    assert eventually(lambda: not threads() and not files())


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def test_rows_of_a_split_stay_on_disk_and_chunks_are_decoded_one_ahead(
    spec: ParquetData, cache: Path, decoded: list[int]
) -> None:
    resident, stream = loaded(spec, cache, "resident").train, loaded(spec, cache).train
    decoded.clear()
    chosen = torch.tensor([5, 1, 40, 7, 7, 12, 30])
    some, same = stream.rows(chosen), resident.rows(chosen)
    assert isinstance(some.images, Streamed)
    assert decoded == []
    assert torch.equal(some.ids, same.ids)
    chunks = some.chunks(3)
    assert torch.equal(next(chunks), same.images[:3])
    assert eventually(lambda: sorted(decoded) == sorted(stream.ids[chosen[:6]].tolist()))
    assert torch.equal(torch.cat(list(chunks)), same.images[3:])
    assert torch.equal(some.resident().images, same.images)
    for split in (stream, resident):
        assert [len(images) for images in split.chunks(25)] == [25, 25, 14]
        assert torch.equal(torch.cat(list(split.chunks(2, chosen))), same.images)


def test_where_images_are_is_chosen_by_memory_and_said(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ParquetData(path=str(photos), jpeg=90)  # 92 images of 4,800 bytes: 442 kB of pixels
    monkeypatch.setattr("ablate.data.dataset.device_memory", lambda _device: 2**20)
    small = loaded(spec, cache, "auto")
    assert small.residence == "stream: 442 kB of pixels, at most 367 kB allowed (0.35 of cpu)"
    assert isinstance(small.test.images, Streamed)
    with pytest.raises(DataError, match=r"compute\.images is resident, but .* 442 kB.*0\.35.*auto or stream"):
        loaded(spec, cache, "resident")
    monkeypatch.setattr("ablate.data.dataset.device_memory", lambda _device: 24 * 2**30)
    large = loaded(spec, cache, "auto")
    assert large.residence == "resident: 442 kB of pixels, at most 9.02 GB allowed (0.35 of cpu)"
    assert isinstance(large.test.images, Tensor)
    assert loaded(spec, cache).residence == "stream: compute.images says so; 442 kB of pixels"
    monkeypatch.setattr("ablate.data.dataset.device_memory", lambda _device: 4 * 2**20)
    quarter = load(spec, seed=0, cache=cache, device=CPU, threads=1, share=0.25)
    assert quarter.residence == "stream: 442 kB of pixels, at most 367 kB allowed (0.35 of 0.25 of cpu)"
    assert isinstance(loaded(spec, cache, "auto").test.images, Tensor)


def test_no_more_than_two_resident_sets_are_held_while_another_is_read(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, seeds = ParquetData(path=str(photos)), (0, 1, 2, 1, 3, 1)
    made: list[weakref.ref[Tensor]] = []
    held: list[int] = []
    resident = Streamed.resident

    def noted(self: Streamed) -> Tensor:
        pixels = resident(self)
        made.append(weakref.ref(pixels))
        held.append(sum(one() is not None for one in made))
        return pixels

    monkeypatch.setattr(Streamed, "resident", noted)
    read = []
    for seed in seeds:
        before = len(made)
        load(spec, seed=seed, cache=cache, device=CPU, threads=1, images="resident")
        read.append(len(made) > before)
    assert read == [True, True, True, False, True, False]  # 1 was used after 2 was
    assert max(held) == 2 * 3  # splits


def test_a_resident_set_is_read_once_and_a_streamed_one_has_threads_of_its_own(
    spec: ParquetData, cache: Path
) -> None:
    first, second = (loaded(spec, cache, "resident") for _ in range(2))
    assert first.train is second.train
    one, other = (loaded(spec, cache) for _ in range(2))
    assert isinstance(one.train.images, Streamed)
    assert one.train is not other.train
    assert torch.equal(one.train.ids, first.train.ids)


def rows_of(split: Split, world: World, *, batch: int, epoch: int) -> Iterator[Tensor]:
    """As the trainer takes them: whole batches of the epoch's order, this worker's share of each."""
    order = epoch_order(len(split.labels), seed=3, epoch=epoch)
    for start in range(0, len(order) - batch + 1, batch):
        yield world.share(order[start : start + batch])


@pytest.mark.parametrize(("batch", "workers"), [(12, 3), (10, 2), (7, 1), (64, 4), (30, 5)])
def test_workers_decode_their_own_rows_and_together_every_row_of_whole_batches_once(
    spec: ParquetData, cache: Path, decoded: list[int], batch: int, workers: int
) -> None:
    whole = loaded(spec, cache, "resident").train
    count = len(whole.labels)
    seen: list[list[Tensor]] = []
    for rank in range(workers):
        train = loaded(spec, cache).train
        decoded.clear()
        mine = list(rows_of(train, World(rank, workers), batch=batch, epoch=1))
        for rows, following in zip(mine, [*mine[1:], None], strict=True):
            if following is not None:
                train.expect(following)
            assert torch.equal(streamed(train)[rows], whole.images[rows])
        assert sorted(decoded) == sorted(whole.ids[torch.cat(mine)].tolist())
        seen.append(mine)
    steps = [torch.cat(shares) for shares in zip(*seen, strict=True)]
    order = epoch_order(count, seed=3, epoch=1)
    assert torch.equal(torch.cat(steps), order[: count // batch * batch])  # the rest is left out


def test_real_photos_are_streamed_as_they_are_resident(
    shared_data: Callable[[str], Path], cache: Path, tmp_path: Path
) -> None:
    found = next(shared_data("imagenet-sample").glob("*.parquet"))
    for name in ("train", "test"):
        (tmp_path / f"{name}-0.parquet").symlink_to(found)
    spec = ParquetData(path=str(tmp_path), resolution=160, jpeg=90, train=40, test=20)
    whole, stream = loaded(spec, cache, "resident"), loaded(spec, cache)
    plain = loaded(spec.model_copy(update={"jpeg": None}), cache, "resident")
    assert torch.equal(torch.cat(list(stream.train.chunks(9))), whole.train.images)
    assert isinstance(whole.test.images, Tensor)
    assert isinstance(plain.test.images, Tensor)
    wrong = (whole.test.images.float() - plain.test.images.float()).abs().mean((0, 2, 3))
    assert (wrong < 6).all()
    assert (wrong > 0.5).all()
