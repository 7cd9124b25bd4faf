"""The ledger in memory keeps the promises of the one on a file, but for durability."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.ledger import Ledger, LedgerError
from ablate.ledger.memory import MemoryLedger

EVENTS = [{"event": "opened", "sweep": {}, "fence": 1}, {"event": "wanted", "slot": "a"}]


def test_it_records_what_a_file_would_record(tmp_path: Path) -> None:
    times = iter([5.0, 6.0])
    memory = MemoryLedger(lambda: next(times))
    times_of_file = iter([5.0, 6.0])
    file = Ledger.open(tmp_path / "ledger.jsonl", clock=lambda: next(times_of_file))
    for ledger in (memory, file):
        ledger.extend(EVENTS)
        assert ledger.append({"event": "wanted", "slot": "b"}) == 2
    file.close()
    assert memory.events() == Ledger.read(tmp_path / "ledger.jsonl")
    assert [e["time"] for e in memory.events()] == [5.0, 5.0, 6.0]


def test_another_goes_on_from_its_events_but_it_itself_is_closed() -> None:
    first = MemoryLedger()
    first.extend(EVENTS)
    first.close()
    with pytest.raises(LedgerError, match="closed"):
        first.append(EVENTS[1])
    second = MemoryLedger(records=first.events())
    assert second.append({"event": "wanted", "slot": "b"}) == 2
    assert len(first.events()) == 2


@pytest.mark.parametrize("event", [{"event": "unheard-of"}, {}, {"event": "wanted", "time": 1.0}])
def test_what_a_file_would_refuse_is_refused_whole(event: dict[str, object]) -> None:
    ledger = MemoryLedger()
    with pytest.raises(LedgerError):
        ledger.extend([EVENTS[0], event])
    assert ledger.events() == []
