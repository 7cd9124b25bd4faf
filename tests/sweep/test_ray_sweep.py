"""Sweeps on a real Ray cluster of two CPUs: whatever dies or is stopped, results stay with their trials."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import tests.sweep.fakes
from ablate.ledger import Ledger
from ablate.spec.trial import TrialSpec
from ablate.sweep.capacity import gang_groups
from ablate.sweep.driver import Driver
from ablate.sweep.gang import Gang
from ablate.sweep.inline import run_inline
from ablate.sweep.logs import log_file
from ablate.sweep.messages import Caller, Failed, SlotPlan, Start, Step, Work
from ablate.sweep.post import Post
from ablate.sweep.ray_backend import run_on_ray
from ablate.trial import run_trial
from tests.sweep.fakes import FakeTrial, arm, real_or_stuck, sweep, value
from tests.sweep.other_job import cpus_held

Events = list[dict[str, Any]]


pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Its address."""
    ray.cloudpickle.register_pickle_by_value(tests.sweep.fakes)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,  # Ray Train asks its State API
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def finish(driver: Driver, cache: Path) -> Events:
    with driver:
        run_on_ray(driver, cache=cache, make_trial=FakeTrial)
        assert driver.finished
    assert not list(driver.folder.glob(".ray-*"))
    return Ledger.read(driver.path)


def of(events: Events, name: str) -> Events:
    return [e for e in events if e["event"] == name]


def check_every_result_belongs_to_its_configuration(events: Events) -> None:
    specs = {e["trial"]: TrialSpec.model_validate(e["spec"]) for e in of(events, "asked")}
    for event in of(events, "reported"):
        metrics = event["metrics"]
        if not math.isnan(metrics["probe.h.val"]):
            assert metrics["probe.h.val"] == value(specs[event["trial"]], event["epoch"])
        assert metrics["ranks_disagree"] == 0
    for event in of(events, "finished"):
        if event["state"] == "COMPLETE":
            assert event["metrics"]["probe.h.test"] == specs[event["trial"]].optim.lr
            assert event["epochs"] == specs[event["trial"]].optim.epochs
    assert sorted(e["trial"] for e in of(events, "finished")) == sorted(specs)  # each once


def check_every_log_speaks_of_its_own_trial(folder: Path, events: Events, *, ranks: int) -> None:
    for event in of(events, "asked"):
        fingerprint = event["spec"]["optim"]["lr"]
        for rank in range(ranks):
            text = log_file(folder / "trials" / event["trial"], rank).read_text()
            said = [line for line in text.splitlines() if "reaches epoch" in line]
            assert f"{fingerprint} reaches epoch 1 on rank {rank}" in said
            assert all(line.startswith(f"{fingerprint} ") for line in said)


OUTCOMES = {
    1.0: ("FAILED", "RuntimeError: it broke"),
    2.0: ("COLLAPSED", "no spread"),
    3.0: ("FAILED", "out of memory: "),
    4.0: ("FAILED", "probe.h.val was nan at rung 2"),
}


def test_two_slots_keep_results_apart_and_survive_what_trials_do(tmp_path: Path, cache: Path) -> None:
    arm(cache, "kill-rank-0")
    spec = sweep("slots", trials=20, faults=(0.0, 1.0, 2.0, 3.0, 4.0), slots=2)
    events = finish(Driver(spec, tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    params = {e["trial"]: e["params"] for e in of(events, "asked")}
    ended = {e["trial"]: e for e in of(events, "finished")}
    struck = set()
    for trial, event in ended.items():
        fault = params[trial]["optim.head_weight_decay"]
        if fault and (event["state"], event["epochs"]) != ("PRUNED", 1):
            struck.add(fault)
            state, reason = OUTCOMES[fault]
            assert (event["state"], event["reason"][: len(reason)]) == (state, reason)
    assert len(struck) > 1
    assert {e["state"] for e in ended.values()} >= {"COMPLETE", "PRUNED", "FAILED"}
    check_every_log_speaks_of_its_own_trial(tmp_path / "slots", events, ranks=1)
    # Two slots, of which one was killed once: three processes ran all the trials.
    assert len({e["metrics"]["pid"] for e in of(events, "reported")}) <= 3
    [abandoned] = of(events, "abandoned")
    assert abandoned["reason"] == "crash: its process was killed or died of a fatal error"
    assert {e["slot"] for e in of(events, "started")} == {"slot-0", "slot-1"}


@pytest.mark.timeout(900)  # starts of gangs, and Ray's workers yield to whatever else runs
def test_gangs_of_two_take_turns_and_are_rebuilt(tmp_path: Path, cache: Path) -> None:
    """The cluster fits one gang, two slots want one, and rank 1 of the first is killed amid a trial that
    breaks in no other way."""
    arm(cache, "kill-rank-1")
    spec = sweep("gangs", trials=12, faults=(1.0, 0.0), first=0.0, slots=2, workers=2)
    events = finish(Driver(spec, tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    states = Counter(e["state"] for e in of(events, "finished"))
    assert states["PRUNED"] > 0
    assert states["COMPLETE"] > 0
    assert states["FAILED"] > 0
    [abandoned] = of(events, "abandoned")
    trial = abandoned["trial"]
    assert abandoned["epoch"] == 1
    assert abandoned["reason"] == "crash: its process was killed or died of a fatal error"
    check_every_log_speaks_of_its_own_trial(tmp_path / "gangs", events, ranks=2)
    second = [e for e in of(events, "reported") if e["trial"] == trial and e["epoch"] == 2]
    assert [e["metrics"]["restored"] for e in second] == [1.0]
    assert len({e["metrics"]["pid"] for e in of(events, "reported")}) == 2


@pytest.mark.timeout(900)  # starts of gangs, and Ray's workers yield to whatever else runs
def test_a_gang_with_a_rank_that_stands_still_is_ended(tmp_path: Path, cache: Path) -> None:
    arm(cache, "stop-rank-1")
    spec = sweep("stalls", trials=2, slots=1, workers=2, stall_minutes=0.25)
    events = finish(Driver(spec, tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    [abandoned] = of(events, "abandoned")
    assert (abandoned["epoch"], abandoned["reason"]) == (1, "stall: no step of training for 0.25 minutes")


@pytest.mark.timeout(900)  # starts of gangs, and Ray's workers yield to whatever else runs
def test_a_gang_waits_for_what_another_job_holds_and_says_what_it_is(
    cluster: str, tmp_path: Path, cache: Path
) -> None:
    with cpus_held(cluster) as heard:
        events = finish(Driver(sweep("waits", trials=2, slots=2, workers=2), tmp_path), cache)
    assert "the sweep waits for room in the cluster: 2 CPU needed, 0 of 2 free" in heard[0]
    assert "2 CPU of them held by other Ray jobs" in heard[0]
    check_every_result_belongs_to_its_configuration(events)
    assert of(events, "abandoned") == []


def test_a_process_that_has_run_many_trials_is_renewed_between_two(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.sweep.ray_backend.MAX_TRIALS", 3)
    events = finish(Driver(sweep("renews", trials=4, slots=1), tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    assert of(events, "abandoned") == []
    assert len({e["metrics"]["pid"] for e in of(events, "reported")}) == 2


def test_an_interrupt_saves_what_runs_and_another_backend_can_go_on(tmp_path: Path, cache: Path) -> None:
    spec = sweep("interrupted", trials=8, slots=2)
    with Driver(spec, tmp_path) as driver:
        seen: Events = []

        def interrupt(event: dict[str, Any]) -> None:
            seen.append(event)
            if len(of(seen, "reported")) == 5 and event["event"] == "reported":
                os.kill(os.getpid(), signal.SIGINT)

        driver.subscribe(interrupt)
        run_on_ray(driver, cache=cache, make_trial=FakeTrial)
        assert not driver.finished
    with Driver.resume("interrupted", tmp_path) as driver:
        run_inline(driver, cache, 1, FakeTrial)
        assert driver.finished
        events = Ledger.read(driver.path)
    check_every_result_belongs_to_its_configuration(events)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import ray
    import tests.sweep.fakes as fakes
    from ablate.sweep.driver import Driver
    from ablate.sweep.ray_backend import run_on_ray

    ray.cloudpickle.register_pickle_by_value(fakes)
    address, runs, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    seen = []

    def die(event):
        seen.append(event)
        if event["event"] == "checkpointed" and len(seen) > 30:
            os.kill(os.getpid(), signal.SIGKILL)

    driver = Driver(fakes.sweep("killed", trials=10), runs)
    driver.subscribe(die)
    run_on_ray(driver, cache=cache, address=address, make_trial=fakes.FakeTrial)
"""


def test_a_sweep_whose_driver_is_killed_goes_on_as_if_nothing_had_happened(
    cluster: str, tmp_path: Path, cache: Path
) -> None:
    spec = sweep("killed", trials=10)
    with Driver(spec, tmp_path / "undisturbed") as driver:
        run_inline(driver, cache, 1, FakeTrial)
        undisturbed = Ledger.read(driver.path)
    program = [sys.executable, "-c", textwrap.dedent(KILLED), cluster, str(tmp_path), str(cache)]
    killed = subprocess.run(
        program, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Driver.resume("killed", tmp_path) as driver:
        run_on_ray(driver, cache=cache, make_trial=FakeTrial)
        assert not list(driver.folder.glob(".ray-*"))
        events = Ledger.read(driver.path)
    check_every_result_belongs_to_its_configuration(events)
    assert max(e["fence"] for e in of(events, "started")) == 2
    assert _outcomes(events) == _outcomes(undisturbed)


def _outcomes(events: Events) -> dict[str, tuple[str, int, float | None]]:
    return {
        e["trial"]: (e["state"], e["epochs"], e["metrics"].get("probe.h.test"))
        for e in of(events, "finished")
    }


@pytest.fixture(scope="module")
def gang(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:  # noqa: ARG001
    """Two ranks, which have run nothing yet."""
    folder = tmp_path_factory.mktemp("gang")
    post = Post.open("post-gang")
    plan = SlotPlan(
        post="post-gang",
        sweep="gang",
        run="gang",
        workers=2,
        cpus=1,
        gpus=0,
        checkpoint_every=1,
        stall=600.0,
        max_trials=1000,
        max_growth=2**30,
        cache=folder,
        scratch=folder,
        working_directory=folder,
        make_trial=real_or_stuck,
    )
    gang = Gang(plan, "gang-1", Caller("slot-0", "first"))
    yield gang
    gang.close()
    post.close()


def work(trial: str, folder: Path, *, lr: float = 0.3, hidden: int = 32, fault: float = 0.0) -> Work:
    optim = {"kind": "sgd", "epochs": 2, "batch": 32, "lr": lr, "head_weight_decay": fault}
    spec = TrialSpec.model_validate(
        {
            "data": {"kind": "digits", "train": 160, "test": 40},
            "encoder": {"kind": "tiny-resnet", "width": 8, "blocks": [1, 1]},
            "head": {"kind": "mlp", "hidden": hidden, "out": 16},
            "optim": optim,
        }
    )
    return Work(trial, spec, "search", "search", folder / trial, None, 1)


def test_a_trial_in_a_used_gang_gives_the_numbers_of_a_fresh_one(gang: Gang, tmp_path: Path) -> None:
    group = gang.hello()
    assert gang_groups() == {group}
    curves: dict[str, list[dict[str, float]]] = {}
    for task in (
        work("first", tmp_path),
        work("other", tmp_path, lr=0.9, hidden=48),
        work("again", tmp_path),
    ):
        done = gang.run(task.trial, Start(task))
        curve = curves[task.trial] = []
        while not done:
            stepped = gang.run(task.trial, Step())
            done = stepped.done
            curve.append({k: v for k, v in stepped.metrics.items() if k != "views_per_second"})
    assert len(curves["first"]) == 2
    assert curves["first"] == curves["again"]
    assert curves["first"] != curves["other"]
    # Two Ray Train workers do what one would do. Rounding grows with the steps, so: the first epoch here,
    # and a single step, exactly, in tests/train/test_world.py.
    alone = run_trial(work("alone", tmp_path).spec, cache=tmp_path).curve[0]
    assert curves["first"][0]["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)


def test_a_rank_that_breaks_alone_does_not_leave_the_others_stuck(
    gang: Gang, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.sweep.gang.GRACE", 1.0)
    gang.run("stuck", Start(work("stuck", tmp_path, fault=1.0)))
    assert gang.run("stuck", Step()) == Failed("FAILED", "RuntimeError: rank 1 broke")
    assert not gang.alive
    assert gang_groups() == set()
