"""Sweeps on a real Ray cluster of two CPUs: whatever dies or is stopped, results stay with their trials."""

from __future__ import annotations

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
from ablate.sweep.messages import SlotPlan, Start, Step, Work
from ablate.sweep.post import Post
from ablate.sweep.ray_backend import run_on_ray
from tests.sweep.fakes import FakeTrial, arm, sweep, value

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
        assert metrics["probe.h.val"] == value(specs[event["trial"]], event["epoch"])
        assert metrics["ranks_disagree"] == 0
    for event in of(events, "finished"):
        if event["state"] == "COMPLETE":
            assert event["metrics"]["probe.h.test"] == specs[event["trial"]].optim.lr
            assert event["epochs"] == specs[event["trial"]].optim.epochs
    assert sorted(e["trial"] for e in of(events, "finished")) == sorted(specs)  # each once


def test_two_slots_keep_results_apart_and_survive_what_trials_do(tmp_path: Path, cache: Path) -> None:
    arm(cache, "kill-rank-0")
    spec = sweep("slots", trials=14, faults=(0.0, 1.0, 2.0), slots=2)
    events = finish(Driver(spec, tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    params = {e["trial"]: e["params"] for e in of(events, "asked")}
    ended = {e["trial"]: e for e in of(events, "finished")}
    states = {e["state"] for e in ended.values()}
    assert states == {"COMPLETE", "PRUNED", "FAILED", "COLLAPSED"}
    for trial, event in ended.items():
        if event["state"] == "FAILED":
            assert params[trial]["optim.head_weight_decay"] == 1
            assert event["reason"] == "RuntimeError: it broke"
        if event["state"] == "COLLAPSED":
            assert params[trial]["optim.head_weight_decay"] == 2
    # Two slots, of which one was killed once: three processes ran all the trials.
    assert len({e["metrics"]["pid"] for e in of(events, "reported")}) <= 3
    [abandoned] = of(events, "abandoned")
    assert ended[abandoned["trial"]]["state"] in states
    assert {e["slot"] for e in of(events, "started")} == {"slot-0", "slot-1"}


def test_gangs_of_two_take_turns_and_are_rebuilt(tmp_path: Path, cache: Path) -> None:
    """The cluster fits one gang, two slots want one, and rank 1 of the first is killed amid a trial."""
    arm(cache, "kill-rank-1")
    spec = sweep("gangs", trials=12, faults=(1.0, 0.0), slots=2, workers=2)
    events = finish(Driver(spec, tmp_path), cache)
    check_every_result_belongs_to_its_configuration(events)
    states = Counter(e["state"] for e in of(events, "finished"))
    assert states["PRUNED"] > 0
    assert states["COMPLETE"] > 0
    assert states["FAILED"] > 0
    [abandoned] = of(events, "abandoned")
    trial = abandoned["trial"]
    assert abandoned["epoch"] == 1
    second = [e for e in of(events, "reported") if e["trial"] == trial and e["epoch"] == 2]
    assert [e["metrics"]["restored"] for e in second] == [1.0]
    assert len({e["metrics"]["pid"] for e in of(events, "reported")}) == 2


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
        events = Ledger.read(driver.path)
    check_every_result_belongs_to_its_configuration(events)
    assert max(e["fence"] for e in of(events, "started")) == 2
    assert _outcomes(events) == _outcomes(undisturbed)


def _outcomes(events: Events) -> dict[str, tuple[str, int, float | None]]:
    return {
        e["trial"]: (e["state"], e["epochs"], e["metrics"].get("probe.h.test"))
        for e in of(events, "finished")
    }


def test_a_trial_in_a_used_gang_gives_the_numbers_of_a_fresh_one(tmp_path: Path, cache: Path) -> None:
    def work(trial: str, lr: float, hidden: int) -> Work:
        spec = TrialSpec.model_validate(
            {
                "data": {"kind": "digits", "train": 160, "test": 40},
                "encoder": {"kind": "tiny-resnet", "width": 8, "blocks": [1, 1]},
                "head": {"kind": "mlp", "hidden": hidden, "out": 16},
                "optim": {"kind": "sgd", "epochs": 2, "batch": 32, "lr": lr},
            }
        )
        return Work(trial, spec, "search", "search", tmp_path / trial, None, 1)

    post = Post.open("post-gang")
    plan = SlotPlan(
        post="post-gang",
        sweep="gang",
        run="gang",
        workers=2,
        cpus=1,
        gpus=0,
        checkpoint_every=1,
        cache=cache,
        scratch=tmp_path,
        working_directory=tmp_path,
        make_trial=None,
    )
    gang = Gang(plan, "gang-1")
    group = gang.hello()
    assert gang_groups() == {group}
    curves: dict[str, list[dict[str, float]]] = {}
    for trial, lr, hidden in (("first", 0.3, 32), ("other", 0.9, 48), ("again", 0.3, 32)):
        done = gang.run(trial, Start(work(trial, lr, hidden)))
        curves[trial] = []
        while not done:
            stepped = gang.run(trial, Step())
            done = stepped.done
            curves[trial].append({k: v for k, v in stepped.metrics.items() if k != "views_per_second"})
    gang.close()
    post.close()
    assert not gang.alive
    assert gang_groups() == set()
    assert curves["first"] == curves["again"]
    assert curves["first"] != curves["other"]
    assert len(curves["first"]) == 2
