"""The ledger: durable and exact, torn at any byte, damaged in any other way, locked, read while written."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.ledger import FORMAT, Ledger, LedgerBusy, LedgerError, canonical, plain

OPENED = {"event": "opened", "sweep": {"name": "ü", "big": 2**80}, "fence": 1}
WANTED = {"event": "wanted", "slot": "slot 0\n"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def write(path: Path, *events: dict[str, Any]) -> None:
    ledger = Ledger.open(path)
    ledger.extend(events)
    ledger.close()


def bare(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k not in ("sequence", "time", "version")} for e in events]


def test_records_come_back_in_order_with_sequence_time_and_format(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.jsonl"
    write(path, OPENED, WANTED)
    write(path, WANTED)
    events = Ledger.read(path)
    assert bare(events) == [OPENED, WANTED, WANTED]
    assert [e["sequence"] for e in events] == [0, 1, 2]
    assert events[0]["version"] == FORMAT
    assert events[0]["time"] == events[1]["time"] <= events[2]["time"]


def test_the_names_of_new_folders_are_as_durable_as_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    Ledger.open(tmp_path / "runs" / "s" / "ledger.jsonl").close()
    assert {tmp_path, tmp_path / "runs", tmp_path / "runs" / "s"} <= set(synced)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(values)
def test_every_value_survives_exactly_nan_included(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    event = {"event": "reported", "metrics": {"x": value}}
    write(path, event)
    found = bare(Ledger.read(path))[0]
    assert canonical(found) == canonical(event)
    assert repr(found) == repr(plain(event)) == repr(event)


def test_nan_and_infinities_are_numbers_again_and_the_file_is_json_for_anyone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, {"event": "reported", "metrics": {"a": math.nan, "b": -math.inf}})
    assert b"NaN" not in path.read_bytes()
    assert b"Infinity" not in path.read_bytes()
    metrics = Ledger.read(path)[0]["metrics"]
    assert math.isnan(metrics["a"])
    assert metrics["b"] == -math.inf


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4, deadline=None)
@given(st.dictionaries(st.text(max_size=8), values, max_size=3))
def test_a_last_record_torn_at_any_byte_is_dropped_and_written_anew(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    payload: dict[str, Any],
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # thousands of them, and no power cut to survive here
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    last = {"event": "wanted", "payload": payload}
    write(path, OPENED, WANTED)
    kept = path.stat().st_size
    write(path, last)
    whole = path.read_bytes()
    for length in range(kept, len(whole)):
        path.write_bytes(whole[:length])
        assert bare(Ledger.read(path)) == [OPENED, WANTED]
        assert path.stat().st_size == length, "reading must not change the file"
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            write(path, last)
        assert ("half-written" in caplog.text) == (length > kept)
        assert canonical(Ledger.read(path)[2]) == canonical(last)
        assert len(Ledger.read(path)) == 3


def test_a_batch_is_on_disk_when_extend_returns_at_the_price_of_one_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger.open(path)
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda _: sizes.append(path.stat().st_size))
    ledger.extend([OPENED, WANTED, WANTED])
    assert sizes == [path.stat().st_size]
    assert len(Ledger.read(path)) == 3
    ledger.close()


def test_a_torn_first_record_leaves_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, OPENED)
    path.write_bytes(path.read_bytes()[:-1])
    assert Ledger.read(path) == []
    write(path, OPENED)
    assert Ledger.read(path)[0]["version"] == FORMAT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_is_an_error_naming_file_and_line(tmp_path: Path, where: float, change: int) -> None:
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    write(path, OPENED, WANTED, WANTED)
    good = path.read_bytes()
    place = int(where * (len(good) - 1))
    path.write_bytes(good[:place] + bytes([good[place] ^ change]) + good[place + 1 :])
    line = good[:place].count(b"\n") + 1
    with pytest.raises(LedgerError, match=rf"ledger\.jsonl, line {line}: "):
        Ledger.read(path)
    with pytest.raises(LedgerError, match=rf"ledger\.jsonl, line {line}: "):
        Ledger.open(path)


def test_a_missing_or_repeated_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, OPENED, WANTED, WANTED)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for lines, where in (((first, third), 2), ((first, second, second, third), 3), ((second, third), 1)):
        path.write_bytes(b"".join(lines))
        with pytest.raises(LedgerError, match=f"line {where}: record"):
            Ledger.read(path)


def test_another_format_is_refused_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setattr("ablate.ledger.record.FORMAT", FORMAT + 1)
    write(path, OPENED)
    monkeypatch.undo()
    with pytest.raises(LedgerError, match=f"line 1: format version {FORMAT + 1}; .* reads {FORMAT}"):
        Ledger.read(path)


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.jsonl")
    ledger.append(OPENED)
    for bad in ({"event": "gossip"}, {"event": "wanted", "time": 1}, {"event": "wanted", "slot": {1, 2}}):
        with pytest.raises(LedgerError):
            ledger.extend([WANTED, bad])
    assert ledger.append(WANTED) == 1
    ledger.close()
    assert len(Ledger.read(tmp_path / "ledger.jsonl")) == 2


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path / "ledger.jsonl")
    ledger.append(OPENED)
    size, write_some = ledger.path.stat().st_size, os.write

    def disk_full_after_ten_bytes(descriptor: int, data: memoryview) -> int:
        if ledger.path.stat().st_size > size:
            raise OSError(28, "No space left on device")
        return write_some(descriptor, data[:10])

    monkeypatch.setattr(os, "write", disk_full_after_ten_bytes)
    with pytest.raises(LedgerError, match="No space left on device"):
        ledger.append(WANTED)
    monkeypatch.undo()
    assert ledger.path.stat().st_size == size
    assert ledger.append(WANTED) == 1
    ledger.close()


def test_a_second_driver_is_refused_and_told_who_holds_the_sweep(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger.open(path)
    with pytest.raises(LedgerBusy, match=rf"process {os.getpid()} on .+, since \d{{4}}-"):
        Ledger.open(path)
    ledger.close()
    Ledger.open(path).close()


def _hold_and_die(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.append(OPENED)
    os._exit(9)


def test_the_lock_of_a_driver_that_died_is_free(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    child = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 9
    write(path, WANTED)
    assert len(Ledger.read(path)) == 2


def test_a_follower_sees_every_record_once_and_never_a_half(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger.open(path)
    seen, position = Ledger.tail(path)
    for i in range(3):
        ledger.extend([OPENED] if i == 0 else [WANTED, WANTED])
        with path.open("ab") as file:  # a record on its way
            file.write(b'{"sequence":99,"ev')
        news, position = Ledger.tail(path, position)
        seen += news
        os.truncate(path, position.offset)
    ledger.close()
    assert [e["sequence"] for e in seen] == [0, 1, 2, 3, 4]
    assert seen == Ledger.read(path)
