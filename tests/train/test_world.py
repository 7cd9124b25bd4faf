"""Two workers with half the batch each are one worker with the whole batch: loss, gradients, statistics."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ablate.data import two_views
from ablate.train import Trainer, World
from ablate.train.criterion import loss_share
from tests.train.synthetic import tiny_data, tiny_trial

CPU = torch.device("cpu")


METHODS = ["simclr", "moco-v2", "moco-v3", "byol", "simsiam", "barlow-twins", "vicreg", "spectral", "supcon",
           "supervised"]  # fmt: skip


INNER = {"steps": 2, "batch": "fresh", "start": "epoch"}
NO_NORM: dict[str, Any] = {
    "encoder": {"kind": "pixels"},
    "head": {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8, "norm": "none"},
    "views": {"size": 8},
}


def _loss_and_gradients(
    world: World, dtype: torch.dtype, batch_stats: str, method: str = "simclr"
) -> dict[str, Any]:
    """One forward and backward of a batch of 32 on fixed views, each worker taking its share."""
    queue = {"queue": 64} if method == "moco-v2" else {}
    spec = tiny_trial(compute={"batch_stats": batch_stats}, method={"kind": method, **queue})
    data = tiny_data()
    trainer = Trainer(spec, data, world, CPU)
    trainer.method.to(dtype)
    trainer.method.train()
    rows = world.share(torch.arange(32))
    v1, v2 = two_views(data.train.images[rows], data.train.ids[rows], spec.views, seed=0, epoch=0)
    embedded = trainer.method(v1.to(dtype), v2.to(dtype))
    loss = loss_share(spec.loss, embedded, data.train.labels[rows], world)
    loss.backward()
    total = loss.detach().clone()
    world.sum_([total])
    grads = [p.grad for p in trainer.method.parameters() if p.grad is not None]
    world.sum_(grads)
    trainer.method.after_step(embedded, 0.5, world.gather)
    state = trainer.method.state_dict()
    stats = {k: v for k, v in state.items() if "running" in k or k == "queue"}
    return {"loss": total, "grads": grads, "stats": stats}


def _train(
    world: World, epochs: int, precision: str = "fp32", microbatch: int | None = None, **sections: Any
) -> dict[str, Any]:
    spec = tiny_trial(compute={"precision": precision, "microbatch": microbatch}, **sections)
    trainer = Trainer(spec, tiny_data(), world, CPU)
    reports = [report for report, _ in zip(trainer.epochs(), range(epochs), strict=False)]
    return {"losses": [r.loss for r in reports], "model": trainer.model.state_dict()}


def _worker(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    world = World.from_process_group()
    found = {
        "double": _loss_and_gradients(world, torch.float64, "global"),
        "single": _loss_and_gradients(world, torch.float32, "global"),
        "local": _loss_and_gradients(world, torch.float64, "local"),
        "trained": _train(world, 2),
        "bf16": _train(world, 2, "bf16"),
        "inner": _train(world, 2, inner=INNER),
        "microbatches": _train(world, 2, microbatch=8, **NO_NORM),
        "normed": _train(world, 2, microbatch=8),
        "methods": {m: _loss_and_gradients(world, torch.float64, "global", m) for m in METHODS},
    }
    torch.save(found, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("world")
    mp.spawn(_worker, args=(2, str(folder)), nprocs=2)
    return [torch.load(Path(folder) / f"rank{rank}.pt") for rank in range(2)]


def _largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    scale = max(float(t.abs().max()) for t in theirs)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / scale


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [
    ("double", torch.float64, 1e-6), ("single", torch.float32, 1e-5),
])  # fmt: skip
def test_two_workers_give_one_workers_loss_and_gradients(
    two_workers: list[dict[str, Any]], name: str, dtype: torch.dtype, tolerance: float
) -> None:
    alone = _loss_and_gradients(World.single(), dtype, "global")
    for found in two_workers:
        assert abs(float(found[name]["loss"] - alone["loss"])) < tolerance
        assert _largest_difference(found[name]["grads"], alone["grads"]) < tolerance


@pytest.mark.parametrize("method", METHODS)
def test_two_workers_give_one_workers_step_under_every_method(
    two_workers: list[dict[str, Any]], method: str
) -> None:
    alone = _loss_and_gradients(World.single(), torch.float64, "global", method)
    for found in two_workers:
        shared = found["methods"][method]
        assert abs(float(shared["loss"] - alone["loss"])) < 1e-6 * max(1.0, abs(float(alone["loss"])))
        assert _largest_difference(shared["grads"], alone["grads"]) < 1e-6
        for key, value in alone["stats"].items():
            assert torch.allclose(shared["stats"][key], value, atol=1e-9), key


def test_running_statistics_are_shared(two_workers: list[dict[str, Any]]) -> None:
    alone = _loss_and_gradients(World.single(), torch.float64, "global")["stats"]
    for found in two_workers:
        assert found["double"]["stats"].keys() == alone.keys()
        for key, value in alone.items():
            assert torch.allclose(found["double"]["stats"][key], value, atol=1e-9)


def test_unsynchronised_statistics_differ(two_workers: list[dict[str, Any]]) -> None:
    alone = _loss_and_gradients(World.single(), torch.float64, "global")
    local = two_workers[0]["local"]
    assert abs(float(local["loss"] - alone["loss"])) > 1e-4
    assert _largest_difference(local["grads"], alone["grads"]) > 1e-3


def test_training_keeps_the_workers_identical_and_close_to_one_worker(
    two_workers: list[dict[str, Any]],
) -> None:
    first, second = (found["trained"] for found in two_workers)
    alone = _train(World.single(), 2)
    assert first["losses"] == second["losses"]
    assert all(torch.equal(first["model"][k], second["model"][k]) for k in alone["model"])
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-4)


def test_two_workers_take_one_workers_inner_steps(two_workers: list[dict[str, Any]]) -> None:
    first, second = (found["inner"] for found in two_workers)
    alone = _train(World.single(), 2, inner=INNER)
    assert all(torch.equal(first["model"][k], second["model"][k]) for k in alone["model"])
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-4)


def test_two_workers_train_in_microbatches_as_one_does_without(two_workers: list[dict[str, Any]]) -> None:
    first, second = (found["microbatches"] for found in two_workers)
    alone = _train(World.single(), 2, **NO_NORM)
    assert all(torch.equal(first["model"][k], second["model"][k]) for k in alone["model"])
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    first, second = (found["normed"] for found in two_workers)  # whose statistics the workers share
    assert first["losses"] == second["losses"]
    assert all(torch.equal(first["model"][k], second["model"][k]) for k in first["model"])


def test_two_workers_train_in_bf16_as_one_does(two_workers: list[dict[str, Any]]) -> None:
    first, second = (found["bf16"] for found in two_workers)
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(_train(World.single(), 2, "bf16")["losses"], abs=0.05)


def test_a_world_of_one_shares_and_sums_nothing() -> None:
    world, rows = World.single(), torch.arange(6.0)
    assert world.share(rows) is rows
    assert world.gather(rows) is rows
    before = copy.deepcopy(rows)
    world.sum_([rows])
    assert torch.equal(rows, before)
