"""Sweeps end to end without training: failures stay local, and a crash at any record loses nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Event, Ledger
from ablate.search import replay
from ablate.spec.sweep import Resources, SweepSpec
from ablate.sweep.driver import Driver, DriverError
from ablate.sweep.inline import run_inline
from ablate.trial import EpochReport
from tests.search.synthetic import BRANCHES, LR, METRIC, SEEDS, sweep
from tests.sweep.fake_trial import FakeTrial

run = partial(run_inline, cache=None, threads=1, make_trial=FakeTrial)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is tested with the ledger; here it would only cost time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def finished(folder: Path) -> list[tuple[Any, ...]]:
    """Everything known of the finished trials, their decisions included, in a comparable form."""
    events = Ledger.read(folder / "ledger.jsonl")
    asked = {e["trial"]: e for e in events if e["event"] == "asked"}
    found = [
        (e["trial"], e["state"], e["reason"], e["epochs"], e["metrics"], asked[e["trial"]]["spec"])
        for e in events
        if e["event"] == "finished"
    ]
    return sorted(found, key=lambda row: row[0])


def chosen(folder: Path) -> list[Event]:
    events = [e for e in Ledger.read(folder / "ledger.jsonl") if e["event"] in ("chosen", "ended")]
    return [{k: v for k, v in e.items() if k not in ("sequence", "time")} for e in events]


def test_a_sweep_runs_to_its_end(tmp_path: Path) -> None:
    with Driver(sweep(trials=8, rungs=(1, 2), confirm=SEEDS), tmp_path) as driver:
        run(driver)
        assert driver.finished
    rows = finished(tmp_path / "s")
    assert [row[0] for row in rows] == [f"c{i:04d}" for i in range(6)] + [f"t{i:04d}" for i in range(8)]
    states = Counter(row[1] for row in rows)
    assert states["PRUNED"] > 0
    assert states["PRUNED"] + states["COMPLETE"] == 14
    complete = [row for row in rows if row[1] == "COMPLETE"]
    assert all(row[4]["probe.h.test"] == row[4][METRIC] - 0.01 for row in complete)


def test_failing_and_collapsing_trials_are_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    lrs = {"optim.lr": {"choice": [0.1, 0.85, 0.95]}}
    with Driver(sweep(trials=12, space=lrs, sampler={"kind": "random"}), tmp_path) as driver:
        run(driver)
        assert driver.finished
    first = reversed(finished(tmp_path / "s"))  # of each kind: the others may be its duplicates
    by_lr = {row[5]["optim"]["lr"]: row for row in first}
    assert by_lr[0.1][1:3] == ("COMPLETE", "")
    assert by_lr[0.85][1:4] == ("COLLAPSED", "no spread left", 1)
    assert by_lr[0.95][1:4] == ("FAILED", "RuntimeError: the GPU fell off the bus", 1)


def test_a_collapsed_seed_keeps_its_real_score_in_confirmation(tmp_path: Path) -> None:
    class CollapsesOnFreshSeeds(FakeTrial):
        def __init__(self, spec: Any, **options: Any) -> None:
            fresh = spec.seed >= 1000
            super().__init__(
                spec.model_copy(update={"optim": spec.optim.model_copy(update={"lr": 0.85})})
                if fresh
                else spec,
                **options,
            )

    with Driver(sweep(trials=2, space={"optim.lr": {"choice": [0.1]}}, confirm=SEEDS), tmp_path) as driver:
        run(driver, make_trial=CollapsesOnFreshSeeds)
    best = [row for row in finished(tmp_path / "s") if row[0] == "c0000"]
    assert best[0][1] == "COMPLETE"


def test_inline_refuses_gangs(tmp_path: Path) -> None:
    gang = sweep().model_copy(update={"resources": Resources(workers=2)})
    with Driver(gang, tmp_path) as driver, pytest.raises(DriverError, match=r"resources\.workers=1"):
        run(driver)


def test_checkpoints_come_as_often_as_asked_and_only_the_last_is_kept(tmp_path: Path) -> None:
    spec = sweep(trials=1, epochs=7).model_copy(update={"resources": Resources(checkpoint_every=2)})
    with Driver(spec, tmp_path) as driver:
        run(driver)
    events = Ledger.read(tmp_path / "s/ledger.jsonl")
    assert [e["epoch"] for e in events if e["event"] == "checkpointed"] == [2, 4, 6]
    assert [p.name for p in (tmp_path / "s/trials/t0000/1").iterdir()] == ["epoch-6.json"]


class Crash(BaseException):
    """A process that stops here and now, as far as one test process can."""


def crash_at(count: int) -> Any:
    seen: list[Event] = []

    def subscriber(event: Event) -> None:
        seen.append(event)
        if len(seen) == count:
            raise Crash

    return subscriber


EVERYTHING = sweep(  # seed 7: its five search trials end in all four states
    trials=5,
    epochs=3,
    rungs=(2,),
    space={**BRANCHES, "optim.lr": {"choice": [0.05, 0.1, 0.85, 0.95]}},
    sampler={"kind": "tpe", "startup": 3},
    confirm={"seeds": 2, "first_seed": 1000, "controls": ["pixels"]},
    seed=7,
)


def undisturbed(runs: Path, spec: SweepSpec) -> Path:
    with Driver(spec, runs) as driver:
        run(driver)
    return runs / spec.name


def check_nothing_lost_or_run_twice(folder: Path, reference: Path) -> None:
    assert finished(folder) == finished(reference)
    assert chosen(folder) == chosen(reference)
    events = Ledger.read(folder / "ledger.jsonl")
    for name in ("asked", "finished", "stopped"):
        assert max(Counter(e["trial"] for e in events if e["event"] == name).values(), default=1) == 1
    over = {e["trial"]: e["sequence"] for e in events if e["event"] == "finished"}
    late = [e for e in events if e["event"] in ("started", "reported") and e["sequence"] > over[e["trial"]]]
    assert late == []
    assert replay(events).ended is not None


def test_the_reference_of_the_crash_tests_holds_every_kind_of_outcome(tmp_path: Path) -> None:
    folder = undisturbed(tmp_path, EVERYTHING)
    assert {row[1] for row in finished(folder)} == {"COMPLETE", "PRUNED", "COLLAPSED", "FAILED"}


def test_a_crash_after_any_event_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """The process stops at its k-th event, with the files as they are then; for every k."""
    reference = undisturbed(tmp_path / "whole", EVERYTHING)
    count = len(Ledger.read(reference / "ledger.jsonl"))
    for k in range(1, count):
        runs = tmp_path / str(k)
        driver = Driver(EVERYTHING, runs)
        driver.subscribe(crash_at(k))
        with pytest.raises(Crash):
            run(driver)
        driver.close()
        with Driver.resume("s", runs) as driver:
            run(driver)
        check_nothing_lost_or_run_twice(runs / "s", reference)
        shutil.rmtree(runs)


def test_a_ledger_cut_anywhere_even_inside_a_batch_or_a_line_resumes_to_the_same_end(tmp_path: Path) -> None:
    reference = undisturbed(tmp_path / "whole", EVERYTHING)
    lines = (reference / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    for k in range(len(lines)):
        folder = tmp_path / str(k) / "s"
        folder.mkdir(parents=True)
        shutil.copy(reference / "sweep.json", folder)
        (folder / "ledger.jsonl").write_bytes(b"".join(lines[:k]) + lines[k][: len(lines[k]) // 2])
        with Driver.resume("s", tmp_path / str(k)) as driver:
            run(driver)
        check_nothing_lost_or_run_twice(folder, reference)


def test_crashing_again_and_again_comes_to_the_same_end(tmp_path: Path) -> None:
    reference = undisturbed(tmp_path / "whole", EVERYTHING)
    runs, resumes = tmp_path / "crashing", 0
    driver = Driver(EVERYTHING, runs)
    while not driver.finished:
        driver.subscribe(crash_at(5))
        try:
            run(driver)
        except Crash:
            resumes += 1
        driver.close()
        driver = Driver.resume("s", runs)
    driver.close()
    assert resumes > 10
    check_nothing_lost_or_run_twice(runs / "s", reference)


def test_a_finished_sweep_resumes_to_nothing(tmp_path: Path) -> None:
    folder = undisturbed(tmp_path, sweep(trials=2))
    before = (folder / "ledger.jsonl").read_bytes()
    with Driver.resume("s", tmp_path) as driver:
        assert driver.finished
        run(driver)
    assert (folder / "ledger.jsonl").read_bytes() == before


def test_the_same_sweep_twice_makes_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    first, second, other = (
        finished(undisturbed(tmp_path / str(i), sweep(trials=6, space=LR, seed=seed)))
        for i, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first != other


def test_an_epoch_out_of_turn_is_the_backends_fault_and_is_not_recorded_as_the_trials(tmp_path: Path) -> None:
    class SkipsAnEpoch(FakeTrial):
        def step(self) -> EpochReport:
            super().step()
            return super().step()

    with (
        Driver(sweep(), tmp_path) as driver,
        pytest.raises(DriverError, match="reported epoch 2 where epoch 1"),
    ):
        run(driver, make_trial=SkipsAnEpoch)
