"""``resources.gpus: auto`` in a sweep: measured once, recorded, and never again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from typer.testing import CliRunner

from ablate.cli import app
from ablate.spec.sweep import Resources, SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep import packing
from ablate.sweep.autoscaler import Autoscaler, NodeType
from ablate.sweep.desk import SweepError
from ablate.sweep.driver import Driver, DriverError
from ablate.sweep.messages import Start
from ablate.sweep.packing import most_trials, settle
from ablate.sweep.run import run_sweep, simulate_sweep
from ablate.trial.packing import Measured, Packing, choose, measure_packing
from tests.search.synthetic import LR, sweep
from tests.sweep.fake_trial import FakeTrial
from tests.sweep.test_ray_worker import work as work_on
from tests.sweep.test_ray_worker import worker
from tests.train.synthetic import tiny_trial

AUTO = sweep(resources={"gpus": "auto", "slots": 8})
Settle = Callable[[SweepSpec, Path], SweepSpec]


def made(spec: TrialSpec, *, threads: int, counts: tuple[int, ...], **_: Any) -> Packing:
    """As ``measure_packing``: a GPU on which each trial more is as good as the first."""
    measured = tuple(Measured(n, 100.0 * n, 10**9) for n in counts)
    choice = choose(measured, 10**11)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return Packing(f"GPU {seen}", 10**11, {}, str(spec.optim.batch), threads, 5.0, measured, choice)


def settled(gpus: float, times: list[int]) -> Settle:
    def settle(given: SweepSpec, _: Path) -> SweepSpec:
        times.append(1)
        return sweep(resources={**given.resources.as_dict(), "gpus": gpus})

    return settle


def recorded(folder: Path) -> Any:
    return json.loads((folder / "sweep.json").read_text())["resources"]["gpus"]


# --- how many at most ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "cpus", "nodes", "most"),
    [
        (100, 1, [{"CPU": 64.0, "GPU": 1.0}], 8),
        (3, 1, [{"CPU": 64.0, "GPU": 1.0}], 3),
        (100, 16, [{"CPU": 64.0, "GPU": 1.0}], 4),
        (100, 8, [{"CPU": 64.0, "GPU": 4.0}], 2),
        (6, 1, [{"CPU": 64.0, "GPU": 2.0}, {"CPU": 64.0, "GPU": 2.0}], 2),  # else two GPUs would be idle
        (1, 1, [{"CPU": 64.0, "GPU": 8.0}], 1),
        (100, 4, [{"CPU": 4.0, "GPU": 8.0}], 1),
        (100, 1, [{"CPU": 64.0}, {"CPU": 2.0, "GPU": 1.0}], 2),  # the CPUs of another node do not help
    ],
)
def test_slots_and_cpus_bound_what_a_gpu_is_given(
    slots: int, cpus: int, nodes: list[dict[str, float]], most: int
) -> None:
    assert most_trials(nodes, Resources(slots=slots, cpus=cpus, gpus="auto")) == most


@pytest.mark.parametrize("nodes", [[{"CPU": 64.0}], [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}]])
def test_a_cluster_without_a_gpu_to_measure_on_is_told_at_once(nodes: list[dict[str, float]]) -> None:
    with pytest.raises(SweepError, match=r"no node of the cluster has a GPU.*resources\.gpus=0\.5, or 0"):
        most_trials(nodes, Resources(cpus=4, gpus="auto"))


# --- once, and recorded ----------------------------------------------------------------------------------


def test_the_number_is_what_the_sweep_is_recorded_with_and_a_resumed_one_keeps_it(tmp_path: Path) -> None:
    times: list[int] = []
    options = {"settle": settled(0.25, times)}
    with Driver(AUTO, tmp_path, **options) as driver:
        assert driver.sweep.resources.gpus == 0.25
    assert recorded(driver.folder) == 0.25
    for changes in (None, AUTO):  # as `resume`, and as `resume --file` of the file that still says auto
        with Driver(AUTO, tmp_path, resuming=True, changes=changes, **options) as driver:
            assert driver.sweep.resources.gpus == 0.25
    assert times == [1]
    with pytest.raises(DriverError, match=r"may not change resources\.gpus"):
        Driver(AUTO, tmp_path, resuming=True, changes=sweep(resources={"gpus": 0.5, "slots": 8}), **options)


def test_a_sweep_that_exists_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    Driver(sweep(), tmp_path).close()
    times: list[int] = []
    with pytest.raises(DriverError, match="there is a sweep of this name already"):
        Driver(AUTO, tmp_path, settle=settled(0.25, times))
    assert times == []


def test_a_measurement_that_was_interrupted_is_made_by_resume(tmp_path: Path) -> None:
    def interrupted(*_: Any) -> SweepSpec:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Driver(AUTO, tmp_path, settle=interrupted)
    assert recorded(tmp_path / "s") == "auto"
    stopped = CliRunner().invoke(app, ["stop", "s", "--runs", str(tmp_path)])  # would record it as it is
    assert stopped.exit_code == 1
    assert "has not begun" in stopped.stderr
    assert "ablate resume s" in stopped.stderr
    with Driver.resume("s", tmp_path, settle=settled(0.5, [])) as driver:
        assert driver.sweep.resources.gpus == 0.5
    assert recorded(tmp_path / "s") == 0.5


def test_a_number_instead_of_an_interrupted_measurement_lets_any_backend_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> SweepSpec:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Driver(AUTO, tmp_path, settle=interrupted)
    monkeypatch.setattr("ablate.sweep.run.TrialRun", FakeTrial)
    number = sweep(resources={"gpus": 0, "slots": 8})
    options: dict[str, Any] = {"runs": tmp_path, "cache": tmp_path / "cache", "backend": "inline"}
    run_sweep(AUTO, resume=True, changes=number, **options)
    run_sweep(number, resume=True, changes=AUTO, **options)  # the file that still says auto changes nothing
    assert recorded(tmp_path / "s") == 0


def test_ray_is_started_for_the_measurement_with_the_settings_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise OSError(f"usage {os.environ.get('RAY_USAGE_STATS_ENABLED')}")

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setattr(ray, "init", started)
    with pytest.raises(SweepError, match="usage 0"):
        settle(AUTO, tmp_path, cache=tmp_path)


def test_what_packs_nothing_refuses_auto(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"resources\.gpus is auto.*one trial at a time"):
        run_sweep(AUTO, runs=tmp_path, backend="inline")
    with pytest.raises(DriverError, match=r"resources\.gpus is auto.*trains nothing"):
        simulate_sweep(AUTO, [], runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of one node with two GPUs, in name."""
    monkeypatch.setattr(packing, "connected", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(packing, "supply", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(packing, "cluster_nodes", lambda: [{"CPU": 64.0, "GPU": 2.0}])

    def here(
        spec: TrialSpec, counts: tuple[int, ...], cpus: int, cache: Path, supplied: Any, measure: Any
    ) -> Packing:
        assert (cache.is_dir(), supplied) == (True, None)
        found: Packing = measure(spec, threads=cpus, counts=counts)
        return found

    monkeypatch.setattr(packing, "_on_a_whole_gpu", here)


@pytest.mark.usefixtures("no_ray")
def test_what_was_measured_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"optim.batch": {"choice": [64, 192]}}
    given = sweep(space=space, resources={"gpus": "auto", "slots": 8, "cpus": 2})
    found = settle(given, tmp_path, cache=tmp_path, measure=made)
    assert found.resources == Resources(gpus=0.25, slots=8, cpus=2)
    assert found.as_dict() | {"resources": None} == given.as_dict() | {"resources": None}
    kept = json.loads((tmp_path / "packing.json").read_text())
    assert kept["measured_with"] == "the base trial with optim.batch=192"
    assert (kept["trial"], kept["threads"], kept["choice"]["gpus"]) == ("192", 2, 0.25)
    assert [row["trials"] for row in kept["measured"]] == [1, 2, 4]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("s: resources.gpus 0.25 on GPU")
    assert last.endswith(kept["choice"]["reason"])


@pytest.mark.parametrize(("autoscaler", "counts"), [
    (Autoscaler((NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}, 4),)), (1, 2)),
    (Autoscaler((NodeType("cpu", {"CPU": 8.0}, 4),)), None),
    (Autoscaler(None), None),
    (None, None),
])  # fmt: skip
def test_gpus_that_have_yet_to_come_are_measured_on_once_they_are_there(
    no_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autoscaler: Autoscaler | None,
    counts: tuple[int, ...] | None,
) -> None:
    assert no_ray is None
    monkeypatch.setattr(packing, "cluster_nodes", lambda: [{"CPU": 64.0}])
    monkeypatch.setattr(packing, "find_autoscaler", lambda: autoscaler)
    given = sweep(resources={"gpus": "auto", "slots": 8})
    if counts is None:
        with pytest.raises(SweepError, match="no node of the cluster has a GPU"):
            settle(given, tmp_path, cache=tmp_path, address="10.0.0.1:6379", measure=made)
        return
    settle(given, tmp_path, cache=tmp_path, address="10.0.0.1:6379", measure=made)
    measured = json.loads((tmp_path / "packing.json").read_text())["measured"]
    assert tuple(row["trials"] for row in measured) == counts


# --- with Ray --------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[None]:
    """Of one GPU, in name: Ray only counts it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def on_the_cpu(spec: TrialSpec, *, device: torch.device, counts: tuple[int, ...], **options: Any) -> Packing:
    """Measures in earnest, in processes of its own, but not on the GPU that there is not."""
    assert device.type == "cuda"
    found = measure_packing(spec, device=torch.device("cpu"), counts=counts[:1], seconds=0.1, **options)
    return replace(found, device=f"GPU {os.environ['CUDA_VISIBLE_DEVICES']} of {counts}")


@pytest.mark.usefixtures("cluster")
def test_it_is_measured_in_a_task_that_holds_one_whole_gpu(tmp_path: Path) -> None:
    base = tiny_trial(data={"kind": "digits", "train": 200, "test": 100}).as_dict()
    given = SweepSpec.model_validate({**AUTO.as_dict(), "base": base, "space": LR})
    with Driver(given, tmp_path, settle=partial(settle, cache=tmp_path, measure=on_the_cpu)) as driver:
        assert driver.sweep.resources.gpus == 1
    kept = json.loads((driver.folder / "packing.json").read_text())
    assert kept["device"] == "GPU 0 of (1, 2)"  # two CPUs, so that no more would find a place
    assert kept["measured"][0]["views_per_second"] > 0


# --- what a slot records ---------------------------------------------------------------------------------


def test_a_slot_tells_the_trial_the_share_that_it_runs_with(tmp_path: Path) -> None:
    told: list[Any] = []

    class Telling(FakeTrial):
        def __init__(self, spec: TrialSpec, **words: Any) -> None:
            super().__init__(spec, **words)
            told.append(words["gpus"])

    worker(tmp_path, Telling).run(Start(work_on(tmp_path, AUTO.base)))
    assert told == [0]
