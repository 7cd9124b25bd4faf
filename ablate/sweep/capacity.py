"""Leases on the cluster's workers: a gang starts only when all its workers have a place.

Ray Train reserves a placement group of its own for every worker group, so two gangs that each hold half of
what they need would wait for each other for ever. The driver process therefore counts: a lease is granted
while the cluster's nodes have places left, and those of a gang that ended are free only when its placement
group is gone. Ray Train leaves the groups of gangs that died with their slot to a cleaner, which is late, or
gives up (it does where several Ray clusters run on one machine); so whatever belongs to no one is removed
here. Waiting for a lease is a state of a slot, not an error and not a time-out.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

log = logging.getLogger(__name__)

Nodes = Sequence[Mapping[str, float]]  # the resources of each living node


def places(nodes: Nodes, *, cpus: int, gpus: float) -> int:
    """How many workers of ``cpus`` and ``gpus`` each fit; none spans nodes, nor a share of a GPU two GPUs."""
    total = 0
    for node in nodes:
        fits = node.get("CPU", 0.0) // cpus
        if gpus:
            fits = min(fits, _shares(node.get("GPU", 0.0), gpus))
        total += int(fits)
    return total


def _shares(present: float, gpus: float) -> float:
    """How many times ``gpus`` can be had: what is less than one is a part of a single one."""
    if gpus >= 1:
        return present // gpus
    return present // 1 * ((1 + 1e-9) // gpus) + (present % 1 + 1e-9) // gpus


def cluster_nodes(avoid: Sequence[str] = ()) -> list[dict[str, float]]:
    """The resources of every living node of the connected cluster, but for those with the ids ``avoid``."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in avoid]


def groups() -> dict[str, dict[str, Any]]:
    """This Ray job's placement groups that wait or are there, as Ray describes them, by id."""
    job = ray.get_runtime_context().get_job_id()
    table = placement_group_table()
    return {g: entry for g, entry in table.items() if g.endswith(job) and entry["state"] != "REMOVED"}


def gang_groups() -> set[str]:
    """Placement groups of this Ray job's gangs, waiting or there; slots of gangs have none with CPUs."""
    return {group for group, entry in groups().items() if "CPU" in entry["bundles"][0]}


def placed_groups() -> set[str]:
    """Placement groups of this Ray job that have their place."""
    return {group for group, entry in groups().items() if entry["state"] == "CREATED"}


def want_group(workers: int, bundle: Mapping[str, float]) -> str:
    """Ask for a placement group, and so the autoscaler for nodes to put it on; its id, at once."""
    return str(placement_group([dict(bundle)] * workers).id.hex())


def remove_group(group: str) -> None:
    """Remove a placement group and whatever still runs in it."""
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))


@dataclass
class Leases:
    """Who may hold a gang of ``workers``. Holders are any hashable names.

    Where there is an autoscaler (``want``: see ``want_group``), it has to hear of gangs that have no place,
    or it never brings nodes for them. So for whoever is refused a placement group waits in its stead; when
    that one has found its place it is removed, and its holder has the lease. Until the holder's gang is up
    no other stands in wait: Ray would put it on the place that has just been granted.
    """

    workers: int
    cpus: int
    gpus: float
    nodes: Callable[[Sequence[str]], Nodes] = cluster_nodes
    groups: Callable[[], set[str]] = gang_groups
    remove: Callable[[str], None] = remove_group
    want: Callable[[int, Mapping[str, float]], str] | None = None
    placed: Callable[[], set[str]] = placed_groups
    _held: dict[Any, str | None] = field(default_factory=dict)  # holder -> its group, None until it is known
    _wanted: dict[Any, str] = field(default_factory=dict)  # who was refused -> the group in his stead

    def grant(self, holder: Any, avoid: Sequence[str] = ()) -> bool:
        """Whether ``holder`` has a lease now: there is room for its gang on other nodes than ``avoid``."""
        if holder in self._held:
            return True
        placed = self.placed() if self._wanted else set()
        if avoid or self._wanted.get(holder) not in placed:
            others = {group for other, group in self._wanted.items() if other != holder}
            if not self._has_room(reserved=len(others & placed), avoid=avoid):
                if self.want is not None and holder not in self._wanted and not self._starting:
                    self._wanted[holder] = self.want(self.workers, self._bundle)
                return False
        for other in [other for other, group in self._wanted.items() if group not in placed]:
            self._unwant(other)
        self._unwant(holder)
        self._held[holder] = None
        return True

    def occupy(self, holder: Any, group: str) -> None:
        """The gang of ``holder`` runs in this placement group."""
        self._held[holder] = group

    def release(self, holder: Any) -> None:
        """``holder`` has no gang any more, and wants none."""
        self._held.pop(holder, None)
        self._unwant(holder)

    def _has_room(self, reserved: int, avoid: Sequence[str]) -> bool:
        starting = self._starting
        others = self.groups() - set(self._held.values()) - set(self._wanted.values())
        if not starting:  # else some of them may be those of the gangs that are starting
            for group in others:
                self.remove(group)
        taken = self.workers * (len(self._held) + reserved + max(0, len(others) - starting))
        return places(self.nodes(avoid), cpus=self.cpus, gpus=self.gpus) - taken >= self.workers

    @property
    def _starting(self) -> int:
        """How many have a lease whose gang is not up yet."""
        return sum(group is None for group in self._held.values())

    def _unwant(self, holder: Any) -> None:
        if (group := self._wanted.pop(holder, None)) is not None:
            self.remove(group)

    @property
    def _bundle(self) -> dict[str, float]:
        return {"CPU": float(self.cpus), **({"GPU": self.gpus} if self.gpus else {})}


@dataclass(frozen=True)
class Room:
    """The cluster at one moment, in Ray's resource names: ``total``, ``free``, what this job holds
    (``mine``), and what one of its placement groups without a place asks for (``wanted``; {}: none waits)."""

    total: Mapping[str, float]
    free: Mapping[str, float]
    mine: Mapping[str, float]
    wanted: Mapping[str, float]
    waiting: int


def look_around() -> Room:
    """The room that the connected cluster has now."""
    mine: Counter[str] = Counter()
    waiting = []
    for entry in groups().values():
        amounts: Counter[str] = Counter()
        for bundle in entry["bundles"].values():
            amounts.update(bundle)
        if entry["state"] == "CREATED":
            mine.update(amounts)
        else:
            waiting.append(amounts)
    first = waiting[0] if waiting else {}
    return Room(ray.cluster_resources(), ray.available_resources(), mine, first, len(waiting))


class RoomWatch:
    """Says which resource is missing when slots wait for a place; the waiting itself has no end.

    The first word comes when nothing has run for ``PATIENCE`` seconds and something waits, then each
    ``AGAIN`` seconds; where other slots run, only once, after ``AGAIN``.
    """

    LOOK, PATIENCE, AGAIN = 2.0, 8.0, 60.0

    def __init__(
        self,
        lease: Mapping[str, float],
        *,
        look: Callable[[], Room] = look_around,
        say: Callable[[str], None] = log.warning,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``lease``: what a slot that waits for a lease needs."""
        self._lease, self._look, self._say, self._clock = lease, look, say, clock
        self._next_look = self._since = self._next_word = clock()
        self._mentioned = False

    def tick(self, *, working: int, refused: int) -> None:
        """``working`` slots hold a trial, ``refused`` slots wait for a lease."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + self.LOOK
        room = self._look()
        if not room.waiting and (working or not refused):
            self._since, self._mentioned = now, False
            return
        if working and self._mentioned:
            return
        patience = self.AGAIN if working else self.PATIENCE
        if now - self._since >= patience and now >= self._next_word:
            self._next_word, self._mentioned = now + self.AGAIN, True
            self._say(self._words(room, working, room.wanted or self._lease))

    def _words(self, room: Room, working: int, wanted: Mapping[str, float]) -> str:
        missing = [self._missing(room, name, wanted[name]) for name in sorted(wanted)]
        known = [words for words in missing if words] or [
            f"enough is free in all, but no single node has room for {_amounts(wanted)}"
        ]
        who = f"{working} slots run, another waits" if working else "no trial runs: the sweep waits"
        return f"{who} for room in the cluster: {'; '.join(known)}. It goes on by itself when there is room"

    def _missing(self, room: Room, name: str, wanted: float) -> str:
        total, free = room.total.get(name, 0.0), room.free.get(name, 0.0)
        if wanted <= free:
            return ""
        others = max(0.0, total - free - room.mine.get(name, 0.0))
        held = f", {_amount(name, others)} of them held by other Ray jobs" if others else ""
        return f"{_amount(name, wanted)} needed, {free:g} of {total:g} free{held}"


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(_amount(name, resources[name]) for name in sorted(resources))


def _amount(name: str, value: float) -> str:
    return f"{value / 2**20:.0f} MiB of memory" if name == "memory" else f"{value:g} {name}"
