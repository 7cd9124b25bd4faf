"""On a cluster whose head trains nothing, each node has its data set brought to a cache of its own, once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

import tests.sweep.fakes
from ablate.data import build, load
from ablate.spec.trial import TrialSpec
from ablate.sweep import ray_backend
from ablate.sweep.autoscaler import find_autoscaler
from ablate.sweep.datasets import Betons
from ablate.sweep.desk import SweepError
from ablate.sweep.driver import Driver
from ablate.sweep.ray_backend import run_on_ray
from tests.sweep.fakes import FakeTrial, sweep

SMALL = {"object_store_memory": 80 * 2**20}


class ReadingTrial(FakeTrial):
    """Reads its data, too."""

    def __init__(self, spec: TrialSpec, *, cache: Path, beton: str, **seam: Any) -> None:
        super().__init__(spec, cache=cache, **seam)
        data = load(spec.data, seed=0, cache=cache, device=torch.device("cpu"), threads=1, beton=beton)
        print(f"{len(data.train.labels)} images from {cache}")


@pytest.fixture
def caches(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("driver", "one", "two")]


@pytest.fixture
def cluster(caches: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("ABLATE_CACHE", str(caches[0]))
    for module in (tests.sweep.fakes, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    found = Cluster(initialize_head=True, head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False})
    ray.init(address=found.address, log_to_driver=False)
    for cache in caches[1:]:
        found.add_node(num_cpus=1, env_vars={"ABLATE_CACHE": str(cache)}, **SMALL)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.mark.timeout(600)
def test_each_node_fetches_it_once_from_the_drivers(
    cluster: Cluster, caches: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sweep("data", trials=4, epochs=3, slots=2)
    with Driver(plan, tmp_path) as driver:
        options: dict[str, Any] = {"make_trial": ReadingTrial, "betons": Betons()}
        run_on_ray(driver, cache=caches[0], address=cluster.address, **options)
        assert driver.finished
        text = "".join(log.read_text() for log in driver.folder.glob("trials/*/log.txt"))
    digest = build(plan.base.data, caches[0]).digest
    for cache in caches[1:]:
        for file in (caches[0] / digest).iterdir():
            assert (cache / digest / file.name).read_bytes() == file.read_bytes()
        assert f"images from {cache}" in text
    assert text.count("fetched from the driver's node") == 2
    assert f"images from {caches[0]}" not in text

    # Nothing ever brings this cluster a larger node, so that waiting for one would be in vain.
    assert find_autoscaler() is None
    monkeypatch.setattr(ray_backend, "JOINING", 0.0)
    large = sweep("large", trials=1, cpus=64)
    with (
        Driver(large, tmp_path) as driver,
        pytest.raises(SweepError, match=r"of 64 CPU.*the nodes of the cluster have: .*or add nodes"),
    ):
        run_on_ray(driver, cache=caches[0], address=cluster.address, make_trial=FakeTrial)
