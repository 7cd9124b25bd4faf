"""Whatever a sweep decides, and wherever its process dies: nothing finished is lost, nothing is run twice,
and the end is that of the undisturbed sweep. For each scheduler, and for what else shapes a search."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import DECISIONS, Event, Ledger
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.sweep.requests import Request
from tests.search.synthetic import LR, sweep
from tests.sweep.conformance_trial import BREAKS, COLLAPSES, ConformanceTrial

FAULTS = {"optim.head_weight_decay": {"choice": [0.0, 0.0001, BREAKS, COLLAPSES]}}
RANDOM = {"kind": "random"}
ONE_SEED: dict[str, Any] = {"seeds": 2, "first_seed": 1000, "controls": []}
SWEEPS: dict[str, SweepSpec] = {
    "pbt": sweep(
        trials=4,
        epochs=3,
        space={**LR, **FAULTS},
        sampler=RANDOM,
        scheduler={"kind": "pbt", "every": 1, "mutate": ["optim.lr"]},
        resources={"keep": ["best"], "checkpoint_every": 2},
        seed=6,
    ),
    "hyperband": sweep(
        trials=5, sampler=RANDOM, scheduler={"kind": "hyperband", "rungs": [1, 2], "brackets": 2}, seed=6
    ),
    "median, epochs": sweep(
        trials=50, sampler=RANDOM, scheduler={"kind": "median", "others": 2}, budget={"epochs": 10}, seed=7
    ),
    "duplicates, exhausted": sweep(
        trials=50,
        epochs=2,
        space={"optim.lr": {"choice": [0.1, 0.2]}},
        sampler={"kind": "exhaustive"},
        points=[{"optim.lr": 0.2}, {"optim.lr": 0.2}],
        confirm=ONE_SEED,
    ),
}


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is tested with the ledger; here it would only cost time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(params=sorted(SWEEPS))
def spec(request: pytest.FixtureRequest) -> SweepSpec:
    return SWEEPS[request.param]


def run(driver: Driver) -> None:
    run_inline(driver, Path("unused"), 1, ConformanceTrial)


def undisturbed(runs: Path, spec: SweepSpec) -> list[Event]:
    with Driver(spec, runs) as driver:
        run(driver)
        assert driver.finished
    return Ledger.read(runs / "s/ledger.jsonl")


def decided(events: list[Event]) -> list[Event]:
    """What was decided but for who ran it when: equal however often a sweep was interrupted."""
    kept = [e for e in events if e["event"] in DECISIONS - {"started", "paused"}]
    bare = [{k: v for k, v in e.items() if k not in ("sequence", "time")} for e in kept]
    for event in bare:
        if event.get("checkpoint"):
            event["checkpoint"] = event["checkpoint"]["epoch"]  # under which driver it was written may differ
    return bare


def check(folder: Path, reference: list[Event]) -> None:
    events = Ledger.read(folder / "ledger.jsonl")
    assert decided(events) == decided(reference)
    over = {e["trial"]: e["sequence"] for e in events if e["event"] == "finished"}
    late = [e for e in events if e["event"] in ("started", "reported") and e["sequence"] > over[e["trial"]]]
    assert late == []
    assert replay(events).ended is not None
    kept = {path.name for path in folder.rglob("epoch-*.pt")}
    assert len(kept) <= 4, f"no checkpoint is left over: {kept}"


def test_the_references_hold_what_they_are_there_for(tmp_path: Path) -> None:
    found = {name: undisturbed(tmp_path / name, spec) for name, spec in SWEEPS.items()}
    states = {n: Counter(e["state"] for e in evs if e["event"] == "finished") for n, evs in found.items()}
    assert set(states["pbt"]) == {"COMPLETE", "PRUNED", "FAILED", "COLLAPSED"}
    assert len({e["parent"] for e in found["pbt"] if e["event"] == "asked"}) == 3
    assert states["hyperband"]["PRUNED"] > 0
    assert states["median, epochs"]["PRUNED"] > 0
    closed = {n: [e["by"] for e in evs if e["event"] == "closed"] for n, evs in found.items()}
    assert (closed["median, epochs"], closed["duplicates, exhausted"]) == (["epochs"], ["exhausted"])
    assert any(e["event"] == "asked" and e["duplicate_of"] for e in found["duplicates, exhausted"])


class Crash(BaseException):
    """A process that stops here and now, as far as one test process can."""


def crash_at(count: int) -> Any:
    seen: list[Event] = []

    def subscriber(event: Event) -> None:
        seen.append(event)
        if len(seen) == count:
            raise Crash

    return subscriber


def test_a_crash_after_any_event_comes_to_the_same_end(tmp_path: Path, spec: SweepSpec) -> None:
    reference = undisturbed(tmp_path / "whole", spec)
    for k in range(1, len(reference)):
        runs = tmp_path / str(k)
        driver = Driver(spec, runs)
        driver.subscribe(crash_at(k))
        with pytest.raises(Crash):
            run(driver)
        driver.close()
        with Driver.resume("s", runs) as driver:
            run(driver)
        check(runs / "s", reference)
        shutil.rmtree(runs)


def test_a_crash_at_every_few_events_comes_to_the_same_end(tmp_path: Path, spec: SweepSpec) -> None:
    reference = undisturbed(tmp_path / "whole", spec)
    runs, resumes = tmp_path / "crashing", 0
    driver = Driver(spec, runs)
    while not driver.finished:
        driver.subscribe(crash_at(7))
        try:
            run(driver)
        except Crash:
            resumes += 1
        driver.close()
        driver = Driver.resume("s", runs)
    driver.close()
    assert resumes > 3
    check(runs / "s", reference)


class Operator:
    """Leaves each request once the ledger holds so many events of a kind; a crash does not repeat it."""

    def __init__(self, plan: list[tuple[str, int, Request]]) -> None:
        self.plan, self.path = plan, Path()

    def take(self) -> list[Request]:
        events = Ledger.read(self.path)
        counts = Counter(e["event"] for e in events)
        told = sum(counts[name] for name in ("cancelled", "halted", "retried"))
        due = self.plan[told : told + 1]
        return [request for name, count, request in due if counts[name] >= count]


OPERATED = sweep(
    trials=6,
    epochs=2,
    space={**LR, **FAULTS},
    sampler=RANDOM,
    confirm=ONE_SEED,
    seed=3,
)


def operated(driver: Driver, operator: Operator) -> None:
    operator.path = driver.path
    run(driver)


def test_a_crash_after_any_word_of_an_operator_keeps_it(tmp_path: Path) -> None:
    """One trial is stopped, and later the search is ended."""
    plan = [
        ("finished", 1, Request("cancel", "t0001")),
        ("finished", 3, Request("stop")),
    ]
    reference = tmp_path / "whole"
    operator = Operator(plan)
    with Driver(OPERATED, reference, requests=operator.take) as driver:
        operated(driver, operator)
        assert driver.finished
    events = Ledger.read(reference / "s/ledger.jsonl")
    assert {e["event"] for e in events} >= {"cancelled", "halted", "closed"}
    for k in range(1, len(events)):
        runs = tmp_path / str(k)
        operator = Operator(plan)
        driver = Driver(OPERATED, runs, requests=operator.take)
        driver.subscribe(crash_at(k))
        with pytest.raises(Crash):
            operated(driver, operator)
        driver.close()
        with Driver.resume("s", runs, requests=operator.take) as driver:
            operated(driver, operator)
            assert driver.finished
        replay(Ledger.read(runs / "s/ledger.jsonl"))
        shutil.rmtree(runs)
