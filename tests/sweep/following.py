"""A driver told what happened in another sweep: the same events must lead it to the same decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate.ledger import EXTERNAL, Event
from ablate.ledger.memory import MemoryLedger
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock
from ablate.trial import Checkpoint


def follow(events: Sequence[Event], runs: Path) -> list[Event]:
    """The ledger of a driver in memory, under a virtual clock, that is told the external ``events``.

    They must be those of an undisturbed sweep, in which only slots speak.
    """
    clock = VirtualClock(events[0]["time"])
    ledger = MemoryLedger(clock)
    sweep = SweepSpec.model_validate(events[0]["sweep"])
    with Driver(sweep, runs, clock=clock, open_log=lambda _: ledger) as driver:
        for event in events[1:]:
            if event["event"] in EXTERNAL:
                clock.advance(event["time"])
                _tell(driver, event)
    return ledger.events()


def _tell(driver: Driver, event: Event) -> None:
    match event["event"]:
        case "wanted":
            driver.next(event["slot"])
        case "reported":
            driver.reported(event["trial"], event["epoch"], event["metrics"])
        case "checkpointed":
            path = driver.folder / event["path"]
            driver.checkpointed(event["trial"], Checkpoint(event["epoch"], str(path), event["digest"]))
        case "outcome":
            driver.ended(event["trial"], event["state"], event["reason"], event["metrics"])
        case other:
            raise ValueError(f"{other} in an undisturbed sweep")
