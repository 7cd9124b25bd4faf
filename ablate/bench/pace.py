"""How fast work goes once it is warm."""

from __future__ import annotations

import time
from collections.abc import Callable

from ablate.bench.figures import Figure


def pace(
    work: Callable[[], int], *, seconds: float, warm: int = 3, wait: Callable[[], None] = lambda: None
) -> float:
    """Units a second of ``work``, which does some and returns how many.

    The clock runs from after ``warm`` calls (compilation, prefetched batches, caches) until ``seconds`` have
    passed and the call at work then has ended. ``wait`` waits for a device that runs behind.
    """
    for _ in range(warm):
        work()
    wait()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        done += work()
    wait()
    return done / (time.perf_counter() - began)


def views_figure(name: str, peer: str, ours: str, theirs: str, at_least: float | None = None) -> Figure:
    """How many times as many views a second one contender does as the other."""
    sides = f"{ours}/views", f"{theirs}/views"
    return Figure(name, peer, *sides, "views/s", "ours/theirs", at_least=at_least)
