"""A sweep on disk in all the states that operators meet, run inline with trials without training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from tests.search.synthetic import SEEDS, sweep
from tests.sweep.fake_trial import FakeTrial

run = partial(run_inline, cache=None, threads=1, make_trial=FakeTrial)


RATES = (0.1, 0.95, 0.85, 0.05, 0.2)


class Crash(BaseException):
    """The driver dies here and now."""


def spec(name: str = "s", **search: Any) -> SweepSpec:
    """Of its five search trials t0001 fails and t0002 collapses; then two seeds of three arms."""
    made = sweep(trials=5, space={"optim.lr": {"choice": list(RATES)}}, confirm=SEEDS, name=name)
    points = [{"optim.lr": rate} for rate in RATES]
    return SweepSpec.model_validate(
        {**made.as_dict(), "search": {**made.search.as_dict(), "points": points, **search}}
    )


def ended(runs: Path, **search: Any) -> Path:
    """The folder of a sweep that ran to its end."""
    with Driver(spec(**search), runs) as driver:
        run(driver)
        assert driver.finished
    return driver.folder


def killed(runs: Path, after: int) -> Path:
    """The folder of a sweep whose driver died after so many reports, having saved all but the last."""
    seen: list[Event] = []

    def count(event: Event) -> None:
        seen.extend([event] if event["event"] == "reported" else [])
        if len(seen) == after:
            raise Crash

    driver = Driver(spec(), runs)
    driver.subscribe(count)
    try:
        run(driver)
    except Crash:
        driver.close()
    return driver.folder


def events(folder: Path, name: str) -> list[Event]:
    return [e for e in Ledger.read(folder / "ledger.jsonl") if e["event"] == name]
