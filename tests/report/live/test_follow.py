"""Following a ledger that is being written, and what the page says of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ablate.ledger import Event, Ledger
from ablate.report.document.blocks import Bullets, Document, Paragraph, Table
from ablate.report.live.document import document_of
from ablate.report.live.follow import Follower
from tests.report.made_sweep import Made


def report_of(folder: Path, events: list[Event]) -> Document:
    """A stand-in that says how much it was given."""
    return Document(folder.name, "question", (Paragraph(f"{len(events)} events"),), (), ())


def texts(document: Document) -> list[str]:
    found = []
    for block in document.answer:
        found += [block.text] if isinstance(block, Paragraph) else []
        found += [item.text for item in block.items] if isinstance(block, Bullets) else []
    return found


def begun(runs: Path, events: list[Event]) -> tuple[Path, Ledger]:
    """A sweep's folder and its ledger, held open as its driver does."""
    folder = runs / "made"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(Made().sweep.as_dict()))
    ledger = Ledger.open(folder / "ledger.jsonl")
    write(ledger, events)
    return folder, ledger


def write(ledger: Ledger, events: list[Event]) -> None:
    ledger.extend([{k: v for k, v in event.items() if k != "time"} for event in events])


def test_only_what_is_new_is_read_and_everything_is_seen(tmp_path: Path) -> None:
    events = Made().search().events
    folder, ledger = begun(tmp_path, events[:3])
    follower = Follower(folder)
    first = follower.look()
    assert [e["event"] for e in first.events] == [e["event"] for e in events[:3]]
    assert follower.look() == first
    write(ledger, events[3:7])
    second = follower.look()
    assert [e["event"] for e in second.events] == [e["event"] for e in events[:7]]
    assert second.records > first.records
    ledger.close()


def test_a_half_written_record_waits(tmp_path: Path) -> None:
    folder, ledger = begun(tmp_path, Made().events)
    follower = Follower(folder)
    seen = follower.look()
    with (folder / "ledger.jsonl").open("ab") as file:
        file.write(b'{"sequence": 1, "eve')
    assert follower.look() == seen
    ledger.close()


def test_a_sweep_begun_again_under_the_same_name_is_read_anew(tmp_path: Path) -> None:
    made = Made().search()
    folder, ledger = begun(tmp_path, made.events[:4])
    follower = Follower(folder)
    before = follower.look()
    ledger.close()
    for events in (made.events[:2], made.events[:9]):  # shorter, and then longer than what was read
        (folder / "ledger.jsonl").unlink()
        ledger = Ledger.open(folder / "ledger.jsonl")
        write(ledger, events)
        seen = follower.look()
        assert [e["event"] for e in seen.events] == [e["event"] for e in events]
        assert (seen.error, seen.records > before.records) == ("", True)
        before = seen
        ledger.close()


def test_before_anything_is_recorded_the_page_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    document = document_of(folder, Follower(folder).look(), report_of)
    assert document.question == "made: nothing has happened yet"
    assert "ablate resume made" in texts(document)[0]


def test_who_drives_it_and_what_runs_comes_before_the_report(tmp_path: Path) -> None:
    events = Made().search().confirm().events
    asked = [i for i, e in enumerate(events) if e["event"] == "asked"]
    folder, ledger = begun(tmp_path, events[: asked[1] + 3])  # t0000 has ended, t0001 has reported once
    document = document_of(folder, Follower(folder).look(), report_of)
    now, report = texts(document)
    assert now.startswith("Running: process ")
    assert now.endswith("1 of the 2 trials asked for so far have ended.")
    assert report == f"{asked[1] + 3} events"
    (table,) = document.sections[0].blocks
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == ["t0001", "search", "search", "0", "1 of 3", "0.1100"]
    assert table.rows[0][0].to == "run-t0001"
    ledger.close()


def test_a_driver_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    events = Made().search().events
    folder, ledger = begun(tmp_path, events[:4])
    ledger.close()
    document = document_of(folder, Follower(folder).look(), report_of)
    assert texts(document)[0].startswith(
        f"No driver is at work: nothing more happens until `ablate resume made --runs {tmp_path}`."
    )
    assert document.sections == ()  # nothing runs, whatever was last recorded of it
    (folder / "storage.json").write_text('{"url": "s3://bucket"}')
    document = document_of(folder, Follower(folder).look(), report_of)
    assert "a driver on another machine is not seen from here" in texts(document)[0]


def test_an_end_is_told_with_its_reason(tmp_path: Path) -> None:
    for name, made, said in (
        ("all", Made("all").search().confirm(), "Ended: all was done."),
        ("cut", Made("cut").search().end("stopped by the operator"), "Ended: stopped by the operator."),
    ):
        folder = made.write(tmp_path / name)
        assert texts(document_of(folder, Follower(folder).look(), report_of))[0].startswith(said)


def test_a_damaged_ledger_is_told_instead_of_the_report(tmp_path: Path) -> None:
    folder = Made().search().write(tmp_path / "made")
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"t0001"', b'"t0011"', 1))
    document = document_of(folder, Follower(folder).look(), report_of)
    assert document.question == "made: the ledger cannot be read"
    assert "check sum" in texts(document)[0]


def test_a_folder_that_was_removed_is_told_and_no_command_for_it(tmp_path: Path) -> None:
    folder = Made().search().write(tmp_path / "made")
    follower = Follower(folder)
    assert follower.look().events
    shutil.rmtree(folder)
    document = document_of(folder, follower.look(), report_of)
    assert document.question == "made: the sweep is gone"
    assert not any("ablate resume" in text for text in texts(document))
