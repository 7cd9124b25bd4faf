"""The clock runs over warm work only, and over whole pieces of it."""

from __future__ import annotations

import pytest

from ablate.bench.pace import pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_units_a_second_after_warm_up_and_to_the_end_of_the_last_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("ablate.bench.pace.time", clock)
    lasts = iter([50.0, 50.0, *[2.0] * 10])

    def work() -> int:
        clock.now += next(lasts)
        return 8

    assert pace(work, seconds=5.0, warm=2) == 4.0  # three pieces of 2 s and 8 units


def test_what_a_device_still_does_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("ablate.bench.pace.time", clock)
    queued = 0.0

    def work() -> int:
        nonlocal queued
        clock.now += 1.0
        queued += 3.0
        return 8

    def wait() -> None:
        nonlocal queued
        clock.now, queued = clock.now + queued, 0.0

    assert pace(work, seconds=2.0, warm=1, wait=wait) == 2.0  # two pieces, 2 s and what was queued, 6 s
