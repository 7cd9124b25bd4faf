"""``resources.gpus: auto``: measured once, before the first trial, on one whole GPU of the cluster.

What was measured and chosen is in ``<sweep>/packing.json``; the number is what the sweep is recorded with, so
that a resumed one never measures again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from ablate.data import DataError
from ablate.durable import sync, write_durably
from ablate.spec.changes import with_changes
from ablate.spec.sweep import Resources, SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.autoscaler import find_autoscaler
from ablate.sweep.beton_depot import supply
from ablate.sweep.capacity import Nodes, cluster_nodes, places
from ablate.sweep.datasets import NotDelivered, Supply
from ablate.sweep.deaths import why
from ablate.sweep.desk import SweepError
from ablate.sweep.ray_backend import connected
from ablate.trial.heaviest import heaviest
from ablate.trial.packing import MOST, Packing, PackingError, counts_to, measure_packing

PACKING = "packing.json"
Measure = Callable[..., Packing]  # has the signature of ``measure_packing``


def settle(
    sweep: SweepSpec,
    folder: Path,
    *,
    cache: Path,
    address: str | None = None,
    measure: Measure = measure_packing,
) -> SweepSpec:
    """``sweep``, whose ``resources.gpus`` is auto, with the number that was measured on the cluster.

    ``address``: see ``run_on_ray``. Waits until a whole GPU is free. Raises SweepError if the cluster has
    none, or a trial cannot run there.
    """
    spec, what = heaviest(sweep)
    cpus = sweep.resources.cpus
    with connected(address), supply(cache, threads=cpus, local=address is None) as supplied:
        counts = counts_to(most_trials(_reachable(sweep.resources, local=address is None), sweep.resources))
        print(
            f"{sweep.name}: measures how many trials share a GPU, {', '.join(map(str, counts))} at a time: a "
            "minute or two, once a whole GPU is free"
        )
        packing = _on_a_whole_gpu(spec, counts, cpus, cache, supplied, measure)
    _write(folder / PACKING, packing, what)
    choice = packing.choice
    print(f"{sweep.name}: resources.gpus {choice.gpus:g} on {packing.device}, by {what}: {choice.reason}")
    return with_changes(sweep, {"resources.gpus": choice.gpus})


def most_trials(nodes: Nodes, resources: Resources) -> int:
    """How many trials at a time one GPU can be given at most.

    Its share of the slots, for more would leave other GPUs idle, and of its node's CPUs. Raises SweepError if
    no node has a whole GPU and the CPUs of a worker.
    """
    fit = [n for n in nodes if n.get("GPU", 0.0) >= 1 and n.get("CPU", 0.0) >= resources.cpus]
    if not fit:
        raise SweepError(
            "resources.gpus is auto, but no node of the cluster has a GPU and the "
            f"{resources.cpus} CPU(s) of a worker, to measure on. Write a number, such as "
            "--set resources.gpus=0.5, or 0 to train on CPUs."
        )
    by_slots = math.ceil(resources.slots / sum(int(n["GPU"]) for n in fit))
    by_cpus = max(int(n["CPU"] // (resources.cpus * int(n["GPU"]))) for n in fit)
    return max(1, min(MOST, by_slots, by_cpus))


def _reachable(resources: Resources, *, local: bool) -> Nodes:
    """The nodes; or, where none of them will do, those that the autoscaler can bring."""
    nodes = cluster_nodes()
    if local or places(nodes, cpus=resources.cpus, gpus=1):
        return nodes
    autoscaler = find_autoscaler()
    return nodes if autoscaler is None else [*nodes, *autoscaler.bring()]


def _on_a_whole_gpu(
    spec: TrialSpec,
    counts: tuple[int, ...],
    cpus: int,
    cache: Path,
    supplied: Supply | None,
    measure: Measure,
) -> Packing:
    task = ray.remote(num_gpus=1, num_cpus=cpus * counts[-1], max_retries=0)(_measured)
    try:
        found = ray.get(task.remote(spec, counts, cpus, cache.absolute(), supplied, Path.cwd(), measure))
    except RayError as error:
        reason = why(str(error), killed_by_kernel=False)
        raise SweepError(
            f"the packing could not be measured: {reason}. Write a number for resources.gpus."
        ) from error
    if isinstance(found, str):
        raise SweepError(found)
    assert isinstance(found, Packing)
    return found


def _measured(
    spec: TrialSpec,
    counts: tuple[int, ...],
    cpus: int,
    cache: Path,
    supplied: Supply | None,
    working_directory: Path,
    measure: Measure,
) -> Packing | str:
    """On the node: what was measured, or why it could not be."""
    with contextlib.suppress(FileNotFoundError):  # another machine may not have it
        os.chdir(working_directory)
    data: dict[str, Any] = {"cache": cache}
    try:
        if supplied is not None:
            data = {"beton": supplied.bring(spec.data), "cache": supplied.cache_here()}
        return measure(spec, device=torch.device("cuda"), threads=cpus, counts=counts, **data)
    except (PackingError, NotDelivered, DataError) as error:
        return str(error)


def _write(path: Path, packing: Packing, what: str) -> None:
    content = {"measured_with": what, **asdict(packing)}
    try:
        write_durably(path, (json.dumps(content, indent=2) + "\n").encode(), reserve=0)
        sync(path.parent)
    except OSError as error:
        raise SweepError(f"{path}: cannot be written: {error.strerror}") from error
