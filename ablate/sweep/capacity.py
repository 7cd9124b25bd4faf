"""Leases on the cluster's workers: a gang starts only when all its workers have a place.

Ray Train reserves a placement group of its own for every worker group, so two gangs that each hold half of
what they need would wait for each other for ever. The driver process therefore counts: a lease is granted
while the cluster's nodes have places left, and is taken back only when the placement group of its gang is
really gone. Waiting for a lease is a state of a slot, not an error and not a time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util import placement_group_table, remove_placement_group

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


def dissolve(group: Any) -> bool:
    """Remove a placement group, with everything in it; whether it is gone already."""
    state = placement_group_table(group).get("state", "REMOVED")
    if state != "REMOVED":
        remove_placement_group(group)
    return bool(state == "REMOVED")


@dataclass
class Leases:
    """Who may hold a gang of ``workers``. Holders are any hashable names."""

    workers: int
    cpus: int
    gpus: float
    nodes: Callable[[], Nodes] = cluster_nodes
    dissolve: Callable[[Any], bool] = dissolve
    _groups: dict[Any, Any] = field(default_factory=dict)  # holder -> placement group, None while unknown
    _leaving: list[Any] = field(default_factory=list)  # groups whose places are not free yet

    def grant(self, holder: Any) -> bool:
        """Whether ``holder`` has a lease now."""
        if holder in self._groups:
            return True
        self._leaving = [group for group in self._leaving if not self.dissolve(group)]
        taken = self.workers * (len(self._groups) + len(self._leaving))
        if places(self.nodes(), cpus=self.cpus, gpus=self.gpus) - taken < self.workers:
            return False
        self._groups[holder] = None
        return True

    def occupy(self, holder: Any, group: Any) -> None:
        """The gang of ``holder`` runs in this placement group."""
        self._groups[holder] = group

    def release(self, holder: Any) -> None:
        """``holder`` has no gang any more; its places return when its placement group is gone."""
        group = self._groups.pop(holder, None)
        if group is not None:
            self._leaving.append(group)
