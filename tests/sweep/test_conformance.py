"""What every backend must do, whatever carries its trials: inline, simulated (one slot and three) and ray.

Each scenario is a sweep of trials without training (``conformance_trial``), judged by its ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

import tests.sweep.conformance_trial
from ablate.ledger import Event, Ledger, LedgerError, Log, canonical
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.sweep.ray_backend import run_on_ray
from ablate.sweep.requests import Request
from ablate.sweep.simulated import VirtualClock, run_simulated
from tests.sweep.conformance_trial import (
    BREAKS,
    BREAKS_ONCE,
    COLLAPSES,
    METRIC,
    ConformanceTrial,
    score,
    trained,
)
from tests.sweep.following import follow

Events = list[Event]


@dataclass
class Backend:
    """One of them, with a clock that only it or the test moves."""

    name: str
    slots: int
    runs: Path
    cache: Path
    clock: VirtualClock = field(default_factory=VirtualClock)

    def driver(self, spec: SweepSpec, **options: Any) -> Driver:
        options = {"open_log": partial(Ledger.open, clock=self.clock), **options}
        return Driver(spec, self.runs, clock=self.clock, **options)

    def carry_out(self, driver: Driver) -> None:
        if self.name == "ray":
            run_on_ray(driver, cache=self.cache, make_trial=ConformanceTrial)
        elif self.name == "inline":
            run_inline(driver, self.cache, 1, ConformanceTrial)
        else:
            run_simulated(driver, self._timed, self.clock)

    def _timed(self, spec: TrialSpec, **seam: Any) -> ConformanceTrial:
        return ConformanceTrial(spec, **{**seam, "cache": self.cache})

    def run(self, spec: SweepSpec, **options: Any) -> Events:
        """To the end of the sweep; returns its ledger."""
        with self.driver(spec, **options) as driver:
            self.carry_out(driver)
            assert driver.finished
        return self.ledger()

    def slow_down(self) -> None:
        """Where the operator is heard at intervals of real time, not between any two epochs."""
        if self.name == "ray":
            (self.cache / "slow").touch()

    def ledger(self) -> Events:
        return Ledger.read(self.runs / "conformance/ledger.jsonl")

    def sweep(self, *, space: dict[str, Any] | None = None, epochs: int = 3, **parts: Any) -> SweepSpec:
        search = {"sampler": {"kind": "random"}, **parts.pop("search")}
        return SweepSpec.model_validate(
            {
                "name": "conformance",
                "question": "do all backends do the same?",
                "base": {
                    "data": {"kind": "digits"},
                    "head": {"kind": "mlp"},
                    "optim": {"kind": "sgd", "epochs": epochs, "warmup_epochs": 0.0},
                },
                "space": {"optim.lr": {"float": [0.01, 1.0]}, **(space or {})},
                "search": search,
                "resources": {"slots": self.slots, **parts.pop("resources", {})},
                **parts,
            }
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(tests.sweep.conformance_trial)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,  # Ray Train asks its State API
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(params=["inline", "simulated-1", "simulated-3", "ray"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setattr("os.fsync", lambda _: None)  # durability is tested with the ledger
    if request.param == "ray":
        request.getfixturevalue("cluster")
    name, _, slots = request.param.partition("-")
    (tmp_path / "cache").mkdir()
    return Backend(name, int(slots or {"ray": 2}.get(name, 1)), tmp_path, tmp_path / "cache")


FAULTS = {"optim.head_weight_decay": {"choice": [0.0, BREAKS, COLLAPSES]}}
ASHA = {"kind": "asha", "rungs": [1, 2], "reduction": 2}


def of(events: Iterable[Event], name: str) -> Events:
    return [e for e in events if e["event"] == name]


def finished(events: Iterable[Event]) -> dict[str, Event]:
    """By trial, as the ledger says it, but for when."""
    return {
        e["trial"]: {k: v for k, v in e.items() if k not in ("sequence", "time", "crc")}
        for e in of(events, "finished")
    }


def states(events: Iterable[Event]) -> Counter[str]:
    return Counter(e["state"] for e in of(events, "finished"))


def check_sound(events: Events) -> None:
    """Holds for every ledger: each trial ends once, is silent afterwards, and reports its own numbers; what
    was decided follows from what happened."""
    asked = {e["trial"]: e for e in of(events, "asked")}
    over = {e["trial"]: e["sequence"] for e in of(events, "finished")}
    assert sorted(e["trial"] for e in of(events, "finished")) == sorted(asked)
    late = [e for e in events if e["event"] in ("started", "reported") and e["sequence"] > over[e["trial"]]]
    assert late == []
    weights: dict[tuple[str, int], float] = {}
    for event in of(events, "reported"):
        trial, epoch = event["trial"], event["epoch"]
        spec = TrialSpec.model_validate(asked[trial]["spec"])
        parent = asked[trial]["parent"]
        before = weights.get((trial, epoch - 1), weights.get((parent, epoch - 1), 0.0))
        weights[trial, epoch] = trained(before, spec) if spec.optim.epochs else 0.0
        assert event["metrics"] == {METRIC: score(weights[trial, epoch]), "weights": weights[trial, epoch]}
    for event in of(events, "finished"):
        if event["state"] == "COMPLETE" and asked[event["trial"]]["duplicate_of"] is None:
            last = asked[event["trial"]]["spec"]["optim"]["epochs"]
            assert event["epochs"] == last
            assert event["metrics"]["probe.h.test"] == score(weights[event["trial"], last]) - 0.01
    assert replay(events).ended is not None


def test_every_outcome_and_stops(backend: Backend) -> None:
    references = {
        name: {"optim.head_weight_decay": fault}
        for name, fault in (("breaks", BREAKS), ("collapses", COLLAPSES))
    }
    confirm = {"seeds": 2, "controls": ["untrained"], "references": references}
    search = {"trials": 16, "scheduler": ASHA}
    events = backend.run(backend.sweep(space=FAULTS, search=search, confirm=confirm))
    check_sound(events)
    assert set(states(e for e in events if e.get("trial", "c") < "t")) == {"COMPLETE", "FAILED"}
    assert set(states(events)) == {"COMPLETE", "PRUNED", "FAILED", "COLLAPSED"}
    faults = {e["trial"]: (e["params"]["optim.head_weight_decay"], e["arm"]) for e in of(events, "asked")}
    for event in of(events, "finished"):
        fault, arm = faults[event["trial"]]
        if event["state"] == "FAILED":
            assert (fault, event["reason"], event["epochs"]) == (BREAKS, "RuntimeError: it broke", 1)
        if event["state"] == "COLLAPSED":
            assert (fault, event["reason"], event["epochs"]) == (COLLAPSES, "no spread", 1)
        if arm == "collapses":
            assert event["state"] == "COMPLETE", "a collapsed seed keeps its real score"
    stopped = {e["trial"]: e["epoch"] for e in of(events, "stopped")}
    assert stopped == {t: e["epochs"] for t, e in finished(events).items() if e["state"] == "PRUNED"}
    assert follow_is_equal(events, backend.runs / "followed")


def follow_is_equal(events: Sequence[Event], runs: Path) -> bool:
    return list(map(canonical, follow(events, runs)[1:])) == list(map(canonical, events[1:]))


def test_a_population_exchanges_weights_and_all_backends_agree(
    backend: Backend, reference: Callable[[SweepSpec], Events]
) -> None:
    """Nothing in a generation depends on who arrives first, so every backend has the very same trials."""
    pbt = {"kind": "pbt", "every": 2, "mutate": ["optim.lr"], "quantile": 0.25}
    spec = backend.sweep(
        epochs=6, search={"trials": 6, "scheduler": pbt}, confirm={"seeds": 2, "controls": []}
    )
    events = backend.run(spec)
    check_sound(events)
    children = [e for e in of(events, "asked") if e["parent"] is not None]
    assert children
    for child in children:
        reports = [e for e in of(events, "reported") if e["trial"] == child["trial"]]
        assert reports[0]["epoch"] == child["checkpoint"]["epoch"] + 1
    assert of(events, "paused")
    assert finished(events) == finished(reference(spec))


@pytest.mark.parametrize("variant", ["promotion", "patient"])
def test_a_trial_that_waits_at_a_rung_goes_on_from_its_checkpoint(
    backend: Backend, reference: Callable[[SweepSpec], Events], variant: str
) -> None:
    """Fewer trials than the reduction: all wait at the first rung, and the best at the second, too."""
    scheduler = {**ASHA, "variant": variant, "reduction": 4}
    spec = backend.sweep(epochs=5, search={"trials": 3, "scheduler": scheduler})
    events = backend.run(spec)
    check_sound(events)
    [best] = [e["trial"] for e in of(events, "chosen")]
    of_best = [e["event"] for e in events if e.get("trial") == best and e["event"] != "chosen"]
    wait = ["reported", "checkpointed", "paused", "started"]
    rest = [name for name in of_best if name != "checkpointed"]
    assert of_best[:10] == ["asked", "started", *wait, *wait]
    assert rest[8:] == ["reported"] * 3 + ["outcome", "finished"]
    assert [e["epoch"] for e in of(events, "reported") if e["trial"] == best] == [1, 2, 3, 4, 5]
    assert len(of(events, "paused")) == 4
    assert finished(events) == finished(reference(spec))


@pytest.fixture
def reference(tmp_path: Path) -> Callable[[SweepSpec], Events]:
    """The same sweep run inline, elsewhere."""

    def run(spec: SweepSpec) -> Events:
        other = Backend("inline", 1, tmp_path / "reference", tmp_path / "cache")
        return other.run(spec)

    return run


def test_a_budget_in_epochs_closes_the_search(backend: Backend) -> None:
    spec = backend.sweep(
        search={"trials": 50, "budget": {"epochs": 10}}, confirm={"seeds": 2, "controls": []}
    )
    events = backend.run(spec)
    check_sound(events)
    [closed] = of(events, "closed")
    assert closed["by"] == "epochs"
    spent = sum(e["epochs"] for e in of(events, "finished") if e["trial"].startswith("t"))
    # What runs goes on to its end: at most an epoch less than a trial in each slot is too much.
    assert 10 <= spent < 10 + 3 * backend.slots
    assert states(events) == {"COMPLETE": len(of(events, "asked"))}


def test_a_budget_in_hours_closes_the_search(backend: Backend) -> None:
    """Half an hour passes with every report: six of them, then nothing new."""
    spec = backend.sweep(epochs=4, search={"trials": 2000, "budget": {"hours": 3}})

    def pass_time(event: Event) -> None:
        if event["event"] == "reported":
            backend.clock.advance(backend.clock() + 1800)

    with backend.driver(spec) as driver:
        driver.subscribe(pass_time)
        backend.carry_out(driver)
        assert driver.finished
    events = backend.ledger()
    check_sound(events)
    [halted], [closed] = of(events, "halted"), of(events, "closed")
    assert (halted["by"], halted["running"], closed["by"]) == ("hours", "finish", "hours")
    assert halted["time"] >= 3 * 3600
    assert not [e for e in of(events, "asked") if e["sequence"] > closed["sequence"]]
    assert len(of(events, "asked")) < 2000
    if backend.name != "ray":  # which looks at the clock now and then, not at every report
        assert len(of(events, "reported")) < 6 + 4 * (backend.slots + 1)


def test_a_duplicate_is_not_run_again_and_the_others_are_saved_as_often_as_asked(backend: Backend) -> None:
    space = {"optim.lr": {"choice": [0.1, 0.2]}}
    spec = backend.sweep(space=space, epochs=7, search={"trials": 8}, resources={"checkpoint_every": 2})
    events = backend.run(spec)
    check_sound(events)
    ends = finished(events)
    duplicates = {e["trial"]: e["duplicate_of"] for e in of(events, "asked") if e["duplicate_of"]}
    assert len(duplicates) == 6
    assert {e["trial"] for e in of(events, "started")} == set(ends) - set(duplicates)
    for trial, original in duplicates.items():
        assert ends[trial]["metrics"] == ends[original]["metrics"]
        assert ends[trial]["reason"] == f"same configuration as {original}, not run again"
    for trial in set(ends) - set(duplicates):
        saved = [e for e in of(events, "checkpointed") if e["trial"] == trial]
        assert [e["epoch"] for e in saved] == [2, 4, 6]
        there = [(backend.runs / "conformance" / e["path"]).exists() for e in saved]
        assert there == [False, False, True]
        artifact = backend.runs / f"conformance/trials/{trial}/weights.txt"
        assert float(artifact.read_text()) == ends[trial]["metrics"]["weights"]


class Operator:
    """Asks once, after ``count`` events of a kind."""

    def __init__(self, requests: Sequence[Request], event: str, count: int = 1) -> None:
        self._requests, self._event, self._left = list(requests), event, count

    def __call__(self, event: Event) -> None:
        self._left -= event["event"] == self._event

    def take(self) -> list[Request]:
        taken, self._requests = (self._requests, []) if self._left <= 0 else ([], self._requests)
        return taken


def test_a_pause_saves_and_leaves_and_the_sweep_goes_on_even_from_a_damaged_checkpoint(
    backend: Backend, reference: Callable[[SweepSpec], Events]
) -> None:
    spec = backend.sweep(epochs=60, search={"trials": 5}, resources={"checkpoint_every": 1000})
    operator = Operator([Request("pause")], "reported", 20)
    backend.slow_down()
    with backend.driver(spec, requests=operator.take) as driver:
        driver.subscribe(operator)
        backend.carry_out(driver)
        assert not driver.finished
    paused = backend.ledger()
    running = sorted({e["trial"] for e in of(paused, "started")} - set(finished(paused)))
    saved = {e["trial"]: e for e in of(paused, "checkpointed")}
    for trial in running:
        assert [e for e in paused if e.get("trial") == trial][-1] == saved[trial]
    (backend.runs / "conformance" / saved[running[0]]["path"]).write_bytes(b"damaged")
    (backend.cache / "slow").unlink(missing_ok=True)
    events = backend.run(spec, resuming=True)
    check_sound(events)
    [resumed], [abandoned] = of(events, "resumed"), of(events, "abandoned")
    assert {t: resumed["epochs"][t] for t in running} == {t: saved[t]["epoch"] for t in running}
    assert (abandoned["trial"], abandoned["epoch"]) == (running[0], 0)
    assert "digest" in abandoned["reason"]
    assert finished(events) == finished(reference(spec))


def test_an_operator_stops_one_trial_and_then_the_search(backend: Backend) -> None:
    spec = backend.sweep(epochs=200, search={"trials": 500}, resources={"checkpoint_every": 1000})
    operator = Operator([Request("cancel", "t0000")], "reported", 20)
    stop = Operator([Request("stop")], "finished")
    backend.slow_down()
    with backend.driver(spec, requests=lambda: operator.take() + stop.take()) as driver:
        driver.subscribe(operator)
        driver.subscribe(stop)
        backend.carry_out(driver)
        assert driver.finished
    events = backend.ledger()
    check_sound(events)
    assert finished(events)["t0000"]["state"] == "PRUNED"
    assert finished(events)["t0000"]["epochs"] < 200
    assert [e["by"] for e in of(events, "closed")] == ["operator"]
    assert len([e for e in of(events, "asked") if e["stage"] == "search"]) < 500


def test_a_failed_trial_is_run_again_on_request_even_after_the_end(backend: Backend) -> None:
    """Every trial breaks; then what broke them is mended."""
    space = {"optim.head_weight_decay": {"choice": [BREAKS_ONCE]}}
    spec = backend.sweep(space=space, search={"trials": 3})
    first = backend.run(spec)
    assert states(first) == {"FAILED": 3}
    (backend.cache / "mended").touch()
    requests = Operator([Request("retry", f"t{i:04d}") for i in range(3)], "resumed", 0)
    with backend.driver(spec, resuming=True, requests=requests.take) as driver:
        driver.tick()
        backend.carry_out(driver)
        assert driver.finished
    events = backend.ledger()
    assert len(of(events, "retried")) == 3
    last = finished(events)
    assert [last[t]["state"] for t in sorted(last)] == ["COMPLETE"] * 3
    assert replay(events).ended is not None


class FullDisk:
    """A ledger that can be written so many times: the driver's end at a point of the test's choice."""

    def __init__(self, log: Log, batches: int) -> None:
        self.log, self.left = log, batches

    def extend(self, events: Iterable[Event]) -> Events:
        self.left -= 1
        if self.left < 0:
            raise LedgerError("No space left on device")
        return self.log.extend(events)

    def append(self, event: Event) -> int:
        sequence: int = self.extend([event])[0]["sequence"]
        return sequence

    def events(self) -> Events:
        return self.log.events()

    def close(self) -> None:
        self.log.close()


@pytest.mark.parametrize("batches", [2, 9, 22])  # written by the first driver
def test_a_driver_that_dies_is_resumed_and_nothing_is_lost_or_run_twice(
    backend: Backend, reference: Callable[[SweepSpec], Events], batches: int
) -> None:
    if backend.name == "ray" and batches != 22:
        pytest.skip("starts of Ray are costly: once will do")
    spec = backend.sweep(space=FAULTS, search={"trials": 6}, confirm={"seeds": 2, "controls": []})

    def open_log(path: Path) -> Log:
        return FullDisk(Ledger.open(path, clock=backend.clock), batches)

    with backend.driver(spec, open_log=open_log) as driver, pytest.raises(LedgerError, match="No space left"):
        backend.carry_out(driver)
    before = finished(backend.ledger())
    events = backend.run(spec, resuming=True)
    check_sound(events)
    after = finished(events)
    assert after == finished(reference(spec))
    assert {t: after[t] for t in before} == before
