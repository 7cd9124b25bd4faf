"""The ledger in shared storage: one history whoever writes, taken over when its driver is dead, checked
when read. On a server that speaks S3 and on a folder."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import BucketLedger, Ledger, LedgerBusy, LedgerError, Store, StoreError, canonical
from ablate.ledger.bucket import read_segments
from ablate.ledger.lease import Lease
from tests.ledger.object_store import s3_bucket

OPENED = {"event": "opened", "sweep": {"name": "ü"}, "fence": 1}
WANTED = {"event": "wanted", "slot": "slot 0\n"}
REPORTED = {"event": "reported", "metrics": {"loss": math.nan}}
HOUR = 3600.0


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket() as url:
        yield url


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store.at(f"file://{tmp_path}/shared", "s")
    return Store.at(request.getfixturevalue("bucket"), request.node.name.replace("[", "-").strip("]"), "s")


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Path]:
    """The ledger's path on a machine of that name."""
    return lambda name: tmp_path / name / "ledger.jsonl"


def write(path: Path, store: Store, *appends: list[dict[str, Any]]) -> None:
    ledger = BucketLedger.open(path, store=store)
    for events in appends:
        ledger.extend(events)
    ledger.close()


def names(path: Path) -> list[str]:
    return [event["event"] for event in Ledger.read(path)]


def die(ledger: BucketLedger) -> None:
    """As a killed process leaves it: the kernel drops the lock, nobody gives the lease back."""
    ledger._lease._over.set()
    ledger._copy.close()


def test_another_machine_goes_on_where_the_first_ended(store: Store, machine: Callable[[str], Path]) -> None:
    write(machine("a"), store, [OPENED, WANTED], [REPORTED])
    write(machine("b"), store, [WANTED])
    assert names(machine("b")) == ["opened", "wanted", "reported", "wanted"]
    write(machine("a"), store)  # opening brings its copy up to date
    assert machine("a").read_bytes() == machine("b").read_bytes()
    assert [first for first, _ in read_segments(store)] == [0, 2, 3]


def test_an_append_is_in_the_store_before_the_file_and_returns_what_is_read_back(
    store: Store, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine("a")
    ledger = BucketLedger.open(path, lambda: 12.5, store=store)
    written = []
    monkeypatch.setattr(Ledger, "write", lambda *_: written.append(read_segments(store)))
    assert ledger.extend([]) == []
    records = ledger.extend([OPENED, REPORTED])
    monkeypatch.undo()
    die(ledger)
    (segments,) = written
    assert [canonical(e) for e in segments[0][1]] == [canonical(e) for e in records]
    assert [e["time"] for e in records] == [12.5, 12.5]
    again = BucketLedger.open(path, store=store)  # the copy lacks what the crash left in the store only
    assert names(path) == ["opened", "reported"]
    assert again.append(WANTED) == 2
    again.close()


def test_a_second_driver_is_refused_and_told_who_runs_the_sweep_and_how_long_to_wait(
    store: Store, machine: Callable[[str], Path]
) -> None:
    ledger = BucketLedger.open(machine("a"), store=store, seconds=HOUR)
    with pytest.raises(
        LedgerBusy, match=rf"process {os.getpid()} on .+ if it is dead, try again in 3[56]\d\d "
    ):
        BucketLedger.open(machine("b"), store=store)
    with pytest.raises(LedgerBusy):  # on the same machine the file's lock says so already
        BucketLedger.open(machine("a"), store=store)
    ledger.close()
    write(machine("b"), store, [OPENED])


def _hold_and_die(path: Path, store: Store) -> None:
    ledger = BucketLedger.open(path, store=store, seconds=HOUR)
    ledger.append(OPENED)
    os._exit(9)


def test_the_machine_of_a_killed_driver_need_not_wait_for_its_lease_but_another_must(
    store: Store, machine: Callable[[str], Path]
) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(machine("a"), store))
    child.start()
    child.join()
    assert child.exitcode == 9
    with pytest.raises(LedgerBusy, match=f"process {child.pid} on"):
        BucketLedger.open(machine("b"), store=store)
    write(machine("a"), store, [WANTED])
    assert names(machine("a")) == ["opened", "wanted"]


def test_a_lease_that_ran_out_is_taken_and_its_owner_stops_without_harm(
    tmp_path: Path, machine: Callable[[str], Path]
) -> None:
    store = Store.at(f"file://{tmp_path}/shared")
    asleep = BucketLedger.open(machine("a"), store=store, seconds=HOUR)
    asleep.append(OPENED)
    leased = tmp_path / "shared/lease/000001.json"
    os.utime(leased, (0, leased.stat().st_mtime - HOUR + 30))
    with pytest.raises(LedgerBusy, match=r"try again in (29|30) seconds"):
        BucketLedger.open(machine("b"), store=store)
    os.utime(leased, (0, leased.stat().st_mtime - 31))
    other = BucketLedger.open(machine("b"), store=store)
    other.append(WANTED)
    with pytest.raises(LedgerError, match=rf"taken this sweep over: process {os.getpid()} on"):
        asleep.append(REPORTED)  # it has not heard yet, and meets the other's segment
    asleep._lease.renew()
    with pytest.raises(LedgerError, match="taken this sweep over"):
        asleep.append(REPORTED)  # now it knows
    asleep.close()
    other.append(WANTED)  # closing gave back nothing that was not its own
    other.close()
    assert names(machine("b")) == ["opened", "wanted", "wanted"]
    assert names(machine("a")) == ["opened"]


def test_of_many_drivers_at_once_one_gets_the_lease(store: Store, tmp_path: Path) -> None:
    together, taken, busy = threading.Barrier(6), [], []

    def take(i: int) -> None:
        together.wait()
        try:
            taken.append(Lease.take(store, tmp_path / f"stub{i}"))
        except LedgerBusy:
            busy.append(i)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert len(busy) == 5
    taken[0].release()


def test_a_lease_is_renewed_while_its_driver_lives(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda *a: (put(*a), renewed.set()))
    lease = Lease.take(store, tmp_path / "stub", seconds=0.2)
    assert renewed.wait(60)
    lease.release()


def test_creating_again_what_was_created_is_no_conflict_but_anything_else_is(store: Store) -> None:
    assert store.create("k", b"mine")
    assert store.create("k", b"mine"), "the first answer may have been lost"
    assert not store.create("k", b"yours")
    assert store.get("k") == b"mine"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-1], "000000000002.jsonl: damaged: it should hold 2 records"),
        (lambda text: text[: text[:-1].rindex(b"\n") + 1], "damaged: it should hold 2 records"),
        (lambda text: text.replace(b"slot 0", b"slot 1"), "line 4: not a record of a ledger: its check sum"),
        (lambda text: text.replace(b'"segment": 2', b'"segment": 1'), "damaged"),
        (lambda _: b"", "not a segment of a ledger"),
    ],
    ids=["no newline", "a record short", "edited", "renamed", "empty"],
)
def test_a_damaged_segment_is_an_error_naming_it(
    tmp_path: Path, machine: Callable[[str], Path], damage: Callable[[bytes], bytes], message: str
) -> None:
    store = Store.at(f"file://{tmp_path}/shared")
    write(machine("a"), store, [OPENED, WANTED], [REPORTED, WANTED])
    key = "ledger/000000000002.jsonl"
    store.put(key, damage(store.get(key)))
    with pytest.raises(LedgerError, match=message):
        BucketLedger.open(machine("b"), store=store)


@pytest.mark.parametrize(
    ("missing", "message"),
    [(0, "segment ledger/000000000000.jsonl is missing"), (1, "next segment is .*2.jsonl: one is missing")],
)
def test_a_missing_segment_is_an_error_naming_it(
    store: Store, machine: Callable[[str], Path], missing: int, message: str
) -> None:
    write(machine("a"), store, [OPENED], [WANTED], [WANTED])
    store.delete(f"ledger/{missing:012d}.jsonl")
    with pytest.raises(LedgerError, match=message):
        BucketLedger.open(machine("b"), store=store)


def test_a_working_copy_of_another_history_or_ahead_of_the_store_is_refused(
    tmp_path: Path, machine: Callable[[str], Path]
) -> None:
    first, second = (Store.at(f"file://{tmp_path}/{name}") for name in ("first", "second"))
    write(machine("a"), first, [OPENED], [WANTED])
    with pytest.raises(LedgerError, match=r"has 2 records but .*second has 0"):
        BucketLedger.open(machine("a"), store=second)
    write(machine("b"), second, [OPENED], [WANTED])
    with pytest.raises(LedgerError, match="hold different sweeps of the same name"):
        BucketLedger.open(machine("a"), store=second)
    write(machine("a"), first, [WANTED])  # both were left as they were, and free


def test_a_torn_working_copy_is_made_whole_from_the_store(
    tmp_path: Path, machine: Callable[[str], Path]
) -> None:
    store = Store.at(f"file://{tmp_path}/shared")
    path = machine("a")
    write(path, store, [OPENED, WANTED], [REPORTED, WANTED, WANTED])
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        write(path, store)
        assert path.read_bytes() == whole


def test_an_unreachable_store_is_an_error_and_the_next_driver_finds_all_that_counted(
    tmp_path: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.at(f"file://{tmp_path}/shared")
    ledger = BucketLedger.open(machine("a"), store=store)
    ledger.append(OPENED)

    def down(*_: object) -> bool:
        raise StoreError("the network is down")

    monkeypatch.setattr(Store, "create", down)
    with pytest.raises(LedgerError, match="the network is down"):
        ledger.append(WANTED)
    monkeypatch.undo()
    ledger.close()
    write(machine("b"), store)
    assert names(machine("b")) == names(machine("a")) == ["opened"]


def test_errors_of_the_store_name_it_and_say_what_to_do(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="s3://no-such-bucket: cannot write k: there is no such bucket"):
        Store.at("s3://no-such-bucket").put("k", b"")
    for bad in ("ftp://x/y", "/a/folder", "s3://", "file://folder"):
        with pytest.raises(StoreError, match=r"give(n as)? (s3://bucket/prefix|file:///absolute/folder)"):
            Store.at(bad)
    with pytest.raises(StoreError, match="cannot read missing: "):
        Store.at(bucket).get("missing")
    store = Store.at(bucket, "deep")
    assert not store.fetch("missing", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    store.delete("missing")
    assert not store.exists("missing")


def test_a_store_connects_anew_in_another_process(store: Store) -> None:
    store.put("k", b"v")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert copy.get("k") == b"v"
    assert store.sizes() == {"k": 1}
    assert store.age("k") >= 0


def test_a_lease_of_no_form_is_an_error(store: Store, machine: Callable[[str], Path]) -> None:
    store.put("lease/000001.json", json.dumps({})[:1].encode())
    with pytest.raises(LedgerError, match=r"lease/000001\.json is not a lease"):
        BucketLedger.open(machine("a"), store=store)
