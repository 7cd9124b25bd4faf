"""Before any slot starts: what keeps Ray from starting is said in words, and small machines are spared."""

from __future__ import annotations

import logging
from collections import namedtuple
from dataclasses import replace
from typing import Any

import pytest

from ablate.spec.sweep import Resources
from ablate.sweep import ray_backend
from ablate.sweep.autoscaler import Autoscaler, NodeType
from ablate.sweep.desk import SweepError

MIB = 2**20
Usage = namedtuple("Usage", "total used free")


def failing(error: Exception) -> Any:
    def init(**_: Any) -> None:
        raise error

    return init


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        (
            "10.0.0.1:6379",
            ConnectionError("Could not find any\nrunning Ray"),
            "cluster at 10.0.0.1:6379: C",
        ),
        (None, PermissionError(13, "Permission denied", "/tmp/ray"), "set RAY_TMPDIR to one of yours"),
        (None, RuntimeError("no free port"), "cannot start Ray on this machine: no free port"),
    ],
)
def test_why_ray_cannot_be_had_is_an_error_for_the_user(
    monkeypatch: pytest.MonkeyPatch, address: str | None, error: Exception, words: str
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", failing(error))
    with pytest.raises(SweepError) as raised, ray_backend.connected(address):
        pass
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("free", "taken"), [(10_000, 200), (250, 125), (10, 80)])
def test_shared_memory_is_taken_sparingly(monkeypatch: pytest.MonkeyPatch, free: int, taken: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free * MIB))
    assert ray_backend._object_store() == taken * MIB


@pytest.mark.parametrize(("slots", "warns"), [(2, False), (8, True), (100, True)])
def test_more_workers_than_the_memory_holds_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slots: int, warns: bool
) -> None:
    monkeypatch.setattr("ray.available_resources", lambda: {"memory": 2000.0 * MIB})
    monkeypatch.setattr(ray_backend, "cluster_nodes", lambda: [{"CPU": 16.0}])
    with caplog.at_level(logging.WARNING):
        ray_backend._check_memory(Resources(slots=slots), local=True)
    assert ("lower resources.slots" in caplog.text) == warns
    if slots == 100:
        assert "16 worker(s)" in caplog.text  # no more than have a CPU


# --- what fits -------------------------------------------------------------------------------------------

GPUS = Resources(workers=2, cpus=4, gpus=1.0)
A100 = NodeType("a100", {"CPU": 12.0, "GPU": 1.0}, 4)


def check(
    monkeypatch: pytest.MonkeyPatch,
    resources: Resources,
    nodes: list[dict[str, float]],
    autoscaler: Autoscaler | None,
    *,
    local: bool = False,
) -> None:
    monkeypatch.setattr(ray_backend, "JOINING", 0.0)
    monkeypatch.setattr(ray_backend, "cluster_nodes", lambda: nodes)
    monkeypatch.setattr(ray_backend, "find_autoscaler", lambda: autoscaler)
    ray_backend._check_room(resources, local=local)


@pytest.mark.parametrize(
    ("autoscaler", "why"),
    [
        (None, "0 GPUs; lower resources.workers, resources.cpus or resources.gpus, or add nodes"),
        (Autoscaler((NodeType("t4", {"CPU": 2.0, "GPU": 1.0}, 50),)), "brings at most: 50 t4 of 2 CPUs"),
        (Autoscaler((replace(A100, most=1),)), "brings at most: 1 a100 of 12 CPUs and 1 GPUs"),
        (Autoscaler(()), "the autoscaler brings at most: none"),
    ],
)
def test_what_no_node_can_ever_hold_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, autoscaler: Autoscaler | None, why: str
) -> None:
    with pytest.raises(SweepError, match=r"a trial needs 2 worker.* of 4 CPU.* and 1 GPU") as raised:
        check(monkeypatch, GPUS, [{"CPU": 0.0}, {"CPU": 8.0}], autoscaler)
    assert why in str(raised.value)


@pytest.mark.parametrize("autoscaler", [Autoscaler((A100,)), Autoscaler(None)])
def test_nodes_that_an_autoscaler_may_bring_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autoscaler: Autoscaler
) -> None:
    check(monkeypatch, GPUS, [{"memory": 1e9}], autoscaler)
    assert "waiting for nodes" in caplog.text


def test_one_machine_is_told_to_ask_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SweepError, match=r"lower resources\.workers, resources\.cpus or resources\.gpus$"):
        check(monkeypatch, GPUS, [{"CPU": 2.0}], None, local=True)


@pytest.mark.parametrize(("slots", "said"), [(3, False), (8, True)])
def test_more_slots_than_places_are_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slots: int, said: bool
) -> None:
    two = {"CPU": 9.0, "GPU": 2.0}
    nodes = [{"CPU": 0.0}, two, two, {"CPU": 4.0, "GPU": 8.0}, {"CPU": 4.0}]
    check(monkeypatch, Resources(slots=slots, workers=1, cpus=4, gpus=1.0), nodes, None)
    check(monkeypatch, Resources(slots=slots // 3, workers=2, cpus=4, gpus=1.0), nodes, None)
    words = "resources.slots is 8, but the nodes now hold 5 trial(s) at a time of 1 worker(s) of 4 CPU(s)"
    assert (words in caplog.text) == said
    assert len(caplog.records) == said
    if said:
        assert "2 times 9 CPUs and 2 GPUs" in caplog.text


def test_nodes_that_are_just_joining_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([[{"CPU": 0.0}], [{"CPU": 0.0}]])
    monkeypatch.setattr(ray_backend, "TICK", 0.0)
    monkeypatch.setattr(ray_backend, "cluster_nodes", lambda: next(looks, [{"CPU": 0.0}, {"CPU": 4.0}]))
    monkeypatch.setattr(ray_backend, "find_autoscaler", lambda: None)
    ray_backend._check_room(Resources(cpus=4), local=False)
