"""Data sets come to a node once, whole, and from wherever they can be had."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ablate.data import DataError, build
from ablate.data.beton import locked
from ablate.data.manifest import MANIFEST, Manifest, Piece, manifest_of
from ablate.durable import FULL
from ablate.ledger import Store, StoreError
from ablate.spec.data import DataSpec, ParquetData
from ablate.sweep import beton_depot, datasets
from ablate.sweep.beton_depot import _Keeper, _Refused
from ablate.sweep.datasets import Moved, NotDelivered, Shelf, Supply, supplied
from ablate.sweep.storage import SweepStorage
from ablate.trial import TrialFailure, describe_failure
from tests.data.small_sources import pixels, png, write_parquet
from tests.train.synthetic import tiny_trial

Spoil = Callable[[str, bytes], bytes]  # (name of the file, block) -> what arrives


@dataclass
class Driver:
    """The node of the driver, reached without Ray. ``spoil`` alters blocks under way for the first ``times``
    files that are asked for; who asks for a list leaves a line in ``asked``."""

    cache: Path
    asked: Path
    spoil: Spoil | None = None
    times: int = 10**6
    here: bool = False
    why_not_stored: str = ""

    def __str__(self) -> str:
        return "the driver's node"

    def is_here(self) -> bool:
        return self.here

    def named(self, spec: DataSpec, moved: Moved) -> str:
        moved()
        return build(spec, self.cache).digest

    def stored(self, digest: str, moved: Moved) -> str:  # noqa: ARG002
        return self.why_not_stored

    def manifest(self, digest: str, moved: Moved) -> Manifest:  # noqa: ARG002
        with self.asked.open("a") as file:
            file.write("asked\n")
        return manifest_of(self.cache / digest)

    def blocks(self, digest: str, piece: Piece) -> Iterator[bytes]:
        spoil, self.times = (self.spoil if self.times > 0 else None), self.times - 1
        content = (self.cache / digest / piece.name).read_bytes()
        for start in range(0, len(content), 4096):
            block = content[start : start + 4096]
            yield spoil(piece.name, block) if spoil else block


def flipped(_: str, block: bytes) -> bytes:
    return bytes([block[0] ^ 1]) + block[1:]


def lost(name: str, block: bytes) -> bytes:
    if name == "train.beton":
        raise NotDelivered("the connection was cut")
    return block


def shortened(_: str, block: bytes) -> bytes:
    return block[:-1]


def lengthened(_: str, block: bytes) -> bytes:
    return block + b"x"


@pytest.fixture
def spec(tmp_path: Path) -> ParquetData:
    """Of a source that only the driver's node reads, until a test says otherwise."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, first, count in (("train", 0, 30), ("test", 1000, 12)):
        images = [png(pixels(first + k)) for k in range(count)]
        write_parquet(folder / f"{name}-0.parquet", images, [k % 3 for k in range(count)])
    return ParquetData(path=str(folder))


@pytest.fixture
def driver(tmp_path: Path, spec: ParquetData) -> Driver:
    found = Driver(tmp_path / "driver", tmp_path / "asked")
    build(spec, found.cache)
    return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of another node, which waits for nothing."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(datasets, "PAUSES", ())
    return tmp_path / "node"


def supply(driver: Driver, shelf: Shelf | None = None) -> Supply:
    return Supply(driver, shelf, driver.cache, everywhere=False)


def without_source(driver: Driver, spec: DataSpec) -> Supply:
    """What the driver's node has told so far holds; the source cannot be read any more."""
    found = supply(driver)
    found._digests.update(known(driver, spec))
    shutil.rmtree(spec.path)  # type: ignore[union-attr]
    return found


def known(driver: Driver, spec: DataSpec) -> dict[str, str]:
    asked = supply(replace(driver, here=True))
    asked.bring(spec)
    return dict(asked._digests)


def alike(one: Path, other: Path) -> bool:
    names = {f.name for f in one.iterdir()}
    same = all((one / n).read_bytes() == (other / n).read_bytes() for n in names)
    return same and names == {f.name for f in other.iterdir()}


def left(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.glob("*") if p.name not in {"locks", "fingerprints"})


def test_it_is_brought_once_and_is_then_the_same_files(
    driver: Driver, node: Path, spec: ParquetData, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = supply(driver).bring(spec)
    assert alike(node / digest, driver.cache / digest)
    said = capsys.readouterr().out
    assert f"data set {digest}: not in the cache of this node" in said
    assert f"data set {digest}: fetched from the driver's node, " in said
    supply(driver).bring(spec)
    assert driver.asked.read_text() == "asked\n"
    assert capsys.readouterr().out == ""


def test_on_the_drivers_node_its_own_is_taken(driver: Driver, node: Path, spec: ParquetData) -> None:
    here = replace(driver, here=True)
    assert supply(here).cache_here() == driver.cache
    supply(here).bring(spec)
    assert not node.exists()
    assert not driver.asked.exists()


def test_a_cache_that_was_named_is_at_the_same_place_everywhere(
    driver: Driver, node: Path, spec: ParquetData
) -> None:
    Supply(driver, None, driver.cache, everywhere=True).bring(spec)
    assert not node.exists()


@pytest.mark.parametrize(
    ("spoil", "files", "why"),
    [
        (lost, 3, "the connection was cut"),
        (flipped, 1, "meta.json came damaged: its SHA-256 is not that of the manifest"),
        (shortened, 1, "meta.json came with less than its"),
        (lengthened, 1, "meta.json came with more than its"),
    ],
)
def test_what_comes_damaged_is_refused_and_fetched_again(
    driver: Driver,
    node: Path,
    spec: ParquetData,
    spoil: Spoil,
    files: int,
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    driver.spoil, driver.times = spoil, files
    digest = supply(driver).bring(spec)
    assert alike(node / digest, driver.cache / digest)
    assert f"after the driver's node: {why}" in capsys.readouterr().out
    shutil.rmtree(node)
    driver.times = 10**6
    with pytest.raises(NotDelivered, match=r"cannot be brought to .*: the driver's node: "):
        without_source(driver, spec).bring(spec)
    assert left(node) == []


def test_what_was_cut_in_the_cache_is_brought_anew(
    driver: Driver, node: Path, spec: ParquetData, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = supply(driver).bring(spec)
    with (node / digest / "train.beton").open("r+b") as file:
        file.truncate(1000)
    supply(driver).bring(spec)
    assert alike(node / digest, driver.cache / digest)
    assert "damaged here" in capsys.readouterr().out
    assert left(node) == [digest]


def test_a_data_set_that_is_being_replaced_stays_until_the_new_one_is_whole(
    driver: Driver, node: Path, spec: ParquetData
) -> None:
    digest = supply(driver).bring(spec)
    (node / digest / "test.beton").write_bytes(b"")
    driver.spoil = flipped
    with pytest.raises(NotDelivered):
        without_source(driver, spec).bring(spec)
    assert left(node) == [digest]
    assert (node / digest / "train.beton").stat().st_size > 0


def test_processes_of_a_node_fetch_once_between_them(driver: Driver, node: Path, spec: ParquetData) -> None:
    context = multiprocessing.get_context("fork")
    with locked(node / build(spec, driver.cache).digest):  # until all of them wait
        processes = [context.Process(target=supply(driver).bring, args=(spec,)) for _ in range(3)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert driver.asked.read_text() == "asked\n"


def test_where_the_same_source_can_be_read_it_is_built_if_nothing_else_helps(
    driver: Driver, node: Path, spec: ParquetData, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.spoil = flipped
    digest = supply(driver).bring(spec)
    assert left(node) == [digest]
    assert "built from the source in" in capsys.readouterr().out


def test_another_source_at_the_same_place_is_not_taken_for_it(
    driver: Driver, node: Path, spec: ParquetData
) -> None:
    broken = supply(driver)
    broken._digests.update(known(driver, spec))
    images = [png(pixels(5000 + k)) for k in range(12)]
    write_parquet(Path(spec.path) / "test-0.parquet", images, [k % 3 for k in range(12)])
    driver.spoil = flipped
    with pytest.raises(NotDelivered):
        broken.bring(spec)
    assert left(node) == []


def test_patience_ends(
    driver: Driver, node: Path, spec: ParquetData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not node.exists()
    slept: list[float] = []
    monkeypatch.setattr(datasets, "PAUSES", (1.0, 2.0))
    monkeypatch.setattr("time.sleep", slept.append)
    driver.spoil = flipped
    with pytest.raises(NotDelivered):
        without_source(driver, spec).bring(spec)
    assert slept == [1.0, 2.0]


# --- the storage -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failing(Store):
    """A store that takes no list, as if the upload had been cut before it."""

    def put(self, key: str, data: bytes | Path) -> None:
        if key.endswith(MANIFEST):
            raise StoreError("it is gone")
        super().put(key, data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/shared/betons")


def test_an_upload_counts_when_it_is_whole_and_is_made_once(
    driver: Driver, node: Path, spec: ParquetData, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build(spec, driver.cache).folder
    with pytest.raises(StoreError):
        Shelf(Failing(store.url)).publish(folder)
    assert store.sizes(folder.name)
    with pytest.raises(NotDelivered, match="it is not there"):
        Shelf(store).manifest(folder.name, lambda: None)
    assert Shelf(store).publish(folder)
    assert not Shelf(store).publish(folder)
    supply(driver, Shelf(store)).bring(spec)
    assert alike(node / folder.name, folder)
    assert f"fetched from the storage ({store.url})" in capsys.readouterr().out
    assert not driver.asked.exists()


def test_what_is_missing_or_cut_in_the_storage_is_uploaded_again(
    driver: Driver, spec: ParquetData, store: Store
) -> None:
    folder, shelf = build(spec, driver.cache).folder, Shelf(store)
    shelf.publish(folder)
    [train] = [key for key in store.sizes(folder.name) if "train.beton" in key]
    for damage in (store.delete, lambda key: store.put(key, b"short")):
        damage(train)
        assert shelf.publish(folder)
        assert store.sizes(folder.name)[train] == (folder / "train.beton").stat().st_size
    store.put(f"{folder.name}/{MANIFEST}", b"nonsense")
    assert shelf.publish(folder)


def test_a_damaged_copy_in_the_storage_is_refused_for_the_drivers(
    driver: Driver, node: Path, spec: ParquetData, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build(spec, driver.cache).folder
    Shelf(store).publish(folder)
    [train] = [key for key in store.sizes(folder.name) if "train.beton" in key]
    content = store.get(train)
    store.put(train, flipped("", content))
    supply(driver, Shelf(store)).bring(spec)
    assert alike(node / folder.name, folder)
    said = capsys.readouterr().out
    assert "fetched from the driver's node" in said
    assert "after the storage" in said


def test_betons_lie_beside_the_sweeps_of_a_storage(tmp_path: Path) -> None:
    sweep = SweepStorage.find(tmp_path / "runs" / "s", f"file://{tmp_path}/shared/")
    assert sweep is not None
    assert Shelf.beside(sweep).store.url == f"file://{tmp_path}/shared/betons"


def test_the_driver_builds_and_uploads_what_a_node_asks_for(
    tmp_path: Path, spec: ParquetData, store: Store
) -> None:
    keeper = _Keeper(tmp_path / "new", Shelf(store), 1, Path.cwd())
    digest = until(lambda: keeper.named(spec))
    assert until(lambda: keeper.stored(digest)) == ""
    manifest = keeper.manifest(digest)
    assert Shelf(store).manifest(digest, lambda: None) == manifest
    assert isinstance(manifest, Manifest)
    for piece in manifest.pieces:
        content = (tmp_path / "new" / digest / piece.name).read_bytes()
        assert keeper.block(digest, piece.name, 0) == content
    greedy = spec.model_copy(update={"train": 1000})
    refused = until(lambda: keeper.named(greedy))
    assert isinstance(refused, _Refused)
    assert "data.train is 1000" in refused.reason


def test_a_refusal_is_heard_by_all_who_wait_and_then_tried_again(
    tmp_path: Path, spec: ParquetData, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = _Keeper(tmp_path / "new", Shelf(store), 1, Path.cwd())
    greedy = spec.model_copy(update={"train": 1000})
    first = until(lambda: keeper.named(greedy))
    assert keeper.named(greedy) is first
    with monkeypatch.context() as later:
        later.setattr(beton_depot, "REFUSED", 0.0)
        assert keeper.named(greedy) is None
    assert until(lambda: keeper.named(greedy)) is not first


def until(ask: Callable[[], Any]) -> Any:
    """What is answered at last: None means that it is still at work."""
    while (found := ask()) is None:
        time.sleep(0.01)
    return found


# --- trials ----------------------------------------------------------------------------------------------


@dataclass
class Made:
    """A trial that only knows how it was made."""

    spec: Any
    given: dict[str, Any]
    progress: int = 7


def make(spec: Any, **given: Any) -> Made:
    return Made(spec, given)


def trial_of(found: Supply, spec: DataSpec) -> Any:
    made: Any = pickle.loads(pickle.dumps(supplied(make, found)))
    return made(tiny_trial().model_copy(update={"data": spec}), cache=Path("/nowhere"), threads=2)


def test_a_trial_is_made_with_the_cache_of_its_node_once_it_is_asked(
    driver: Driver, node: Path, spec: ParquetData
) -> None:
    trial = trial_of(supply(driver), spec)
    assert trial.progress == 0
    assert not node.exists()
    [digest] = (f.name for f in driver.cache.iterdir() if (f / MANIFEST).exists())
    assert trial.given == {"cache": node, "beton": digest, "threads": 2}
    assert trial.progress > 7, "what arrived has moved it, and then it moves itself"


def test_a_node_that_nothing_can_be_brought_to_ends_the_sweep_and_not_the_trial(
    driver: Driver, node: Path, spec: ParquetData, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.spoil = flipped
    trial = trial_of(without_source(driver, spec), spec)
    with pytest.raises(TrialFailure, match="cannot be brought to") as raised:
        _ = trial.done
    assert raised.value.state == "HALTED"

    def full(*_: object) -> None:
        raise OSError(FULL[0], "no room")

    monkeypatch.setattr(datasets, "check_free", full)
    with pytest.raises(TrialFailure, match="no room") as raised:
        _ = trial.done
    assert raised.value.state == "HALTED"
    assert left(node) == []


def test_data_that_cannot_be_built_are_the_trials_own_fault(driver: Driver, spec: ParquetData) -> None:
    trial = trial_of(supply(driver), spec.model_copy(update={"train": 1000}))
    with pytest.raises(DataError) as raised:
        _ = trial.done
    assert describe_failure(raised.value).state == "FAILED"


def test_whoever_waits_for_another_process_does_not_stand_still(
    driver: Driver, spec: ParquetData, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "LOOK", 0.02)
    [digest] = known(driver, spec).values()
    moves, waiting = 0, threading.Event()

    def moved() -> None:
        nonlocal moves
        moves += 1
        if moves == 5:  # of which its own steps are fewer, before it waits
            waiting.set()

    node.mkdir(exist_ok=True)
    lock = locked(node / digest)
    lock.acquire()  # by one that has nothing to show yet
    waiter = threading.Thread(target=lambda: supply(driver).bring(spec, moved))
    waiter.start()
    try:
        assert waiting.wait(60)
        assert not (node / digest).exists()
    finally:
        lock.release()
        waiter.join()
    assert alike(node / digest, driver.cache / digest)


def test_whoever_builds_does_not_stand_still(
    driver: Driver, spec: ParquetData, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "LOOK", 0.02)
    moving, built = threading.Event(), datasets.build_in

    def slowly(folder: Path, *words: Any, **more: Any) -> Any:
        moving.clear()
        assert moving.wait(60), "nothing moved while it was built"
        return built(folder, *words, **more)

    monkeypatch.setattr(datasets, "build_in", slowly)
    unreachable = replace(driver, spoil=lost)
    supply(unreachable).bring(spec, moving.set)
    [digest] = known(driver, spec).values()
    assert alike(node / digest, driver.cache / digest)
