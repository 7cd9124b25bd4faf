"""Leases on the cluster's workers: a gang starts only when all its workers have a place.

Ray Train reserves a placement group of its own for every worker group, so two gangs that each hold half of
what they need would wait for each other for ever. The driver process therefore counts: a lease is granted
while the cluster's nodes have places left, and those of a gang that ended are free only when its placement
group is gone. Ray Train leaves the groups of gangs that died with their slot to a cleaner, which is late, or
gives up (it does where several Ray clusters run on one machine); so whatever belongs to no one is removed
here. Waiting for a lease is a state of a slot, not an error and not a time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

Nodes = Sequence[Mapping[str, float]]  # the resources of each living node


def places(nodes: Nodes, *, cpus: int, gpus: float) -> int:
    """How many workers of ``cpus`` and ``gpus`` each fit; a worker never spans nodes."""
    total = 0
    for node in nodes:
        fits = node.get("CPU", 0.0) // cpus
        if gpus:
            fits = min(fits, (node.get("GPU", 0.0) + 1e-9) // gpus)
        total += int(fits)
    return total


def cluster_nodes() -> list[dict[str, float]]:
    """The resources of every living node of the connected cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def gang_groups() -> set[str]:
    """Placement groups of this Ray job's gangs, waiting or there; slots of gangs have none with CPUs."""
    job = ray.get_runtime_context().get_job_id()
    return {
        group
        for group, entry in placement_group_table().items()
        if group.endswith(job) and entry["state"] != "REMOVED" and "CPU" in entry["bundles"][0]
    }


def remove_group(group: str) -> None:
    """Remove a placement group and whatever still runs in it."""
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


@dataclass
class Leases:
    """Who may hold a gang of ``workers``. Holders are any hashable names."""

    workers: int
    cpus: int
    gpus: float
    nodes: Callable[[], Nodes] = cluster_nodes
    groups: Callable[[], set[str]] = gang_groups
    remove: Callable[[str], None] = remove_group
    _held: dict[Any, str | None] = field(default_factory=dict)  # holder -> its group, None until it is known

    def grant(self, holder: Any) -> bool:
        """Whether ``holder`` has a lease now."""
        if holder in self._held:
            return True
        starting = sum(group is None for group in self._held.values())
        others = self.groups() - set(self._held.values())
        if not starting:  # else some of them may be those of the gangs that are starting
            for group in others:
                self.remove(group)
        taken = self.workers * (len(self._held) + max(0, len(others) - starting))
        if places(self.nodes(), cpus=self.cpus, gpus=self.gpus) - taken < self.workers:
            return False
        self._held[holder] = None
        return True

    def occupy(self, holder: Any, group: str) -> None:
        """The gang of ``holder`` runs in this placement group."""
        self._held[holder] = group

    def release(self, holder: Any) -> None:
        """``holder`` has no gang any more."""
        self._held.pop(holder, None)
