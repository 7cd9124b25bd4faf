"""Leases: gangs wait for room instead of halving it among themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ablate.sweep.capacity import Leases, places

NODES = [{"CPU": 5.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 2.0}]


class Cluster:
    """Removing a placement group takes effect at the next ``tick``."""

    def __init__(self, *cpus: int) -> None:
        self.nodes = [{"CPU": float(c)} for c in cpus]
        self.groups: set[str] = set()
        self._doomed: set[str] = set()

    def leases(self, workers: int) -> Leases:
        return Leases(workers, 1, 0, lambda: self.nodes, lambda: set(self.groups), self._doomed.add)

    def tick(self) -> None:
        self.groups -= self._doomed
        self._doomed.clear()


def test_a_worker_never_spans_nodes() -> None:
    assert places(NODES, cpus=2, gpus=0) == 3
    assert places(NODES, cpus=4, gpus=0) == 1
    assert places(NODES, cpus=1, gpus=1) == 2
    assert places(NODES, cpus=1, gpus=0.5) == 4
    assert places([{"GPU": 1.0, "CPU": 8.0}], cpus=1, gpus=0.2) == 5


def test_places_return_only_when_the_placement_group_is_gone() -> None:
    cluster = Cluster(2)
    leases = cluster.leases(2)
    assert leases.grant("a")
    assert leases.grant("a")  # asking again costs nothing
    cluster.groups.add("group of a")
    leases.occupy("a", "group of a")
    assert not leases.grant("b")
    assert cluster.groups == {"group of a"}
    leases.release("a")
    assert not leases.grant("b")
    cluster.tick()
    assert leases.grant("b")


def test_the_group_of_a_gang_that_died_while_it_started_is_not_left_behind() -> None:
    cluster = Cluster(4)
    leases = cluster.leases(2)
    assert leases.grant("a")
    assert leases.grant("b")
    cluster.groups |= {"group of a", "group of b"}
    leases.release("a")  # its slot was killed before it could say which group is its own
    assert not leases.grant("c")
    cluster.tick()
    assert cluster.groups == {"group of a", "group of b"}  # b still starts, so either may be b's
    leases.occupy("b", "group of b")
    assert not leases.grant("c")
    cluster.tick()
    assert cluster.groups == {"group of b"}
    assert leases.grant("c")


def test_nodes_may_come_and_go() -> None:
    cluster = Cluster(2)
    leases = cluster.leases(2)
    assert leases.grant("a")
    assert not leases.grant("b")
    cluster.nodes.append({"CPU": 3.0})
    assert leases.grant("b")
    cluster.nodes.clear()
    assert not leases.grant("c")


@given(
    cpus=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    workers=st.integers(1, 4),
    moves=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["ask", "up", "end", "tick"]))),
)
def test_gangs_never_exceed_places_and_are_never_removed_alive(
    cpus: list[int], workers: int, moves: list[tuple[str, str]]
) -> None:
    cluster = Cluster(*cpus)
    leases = cluster.leases(workers)
    alive: dict[str, str] = {}
    for turn, (holder, move) in enumerate(moves):
        if move == "ask" and holder not in alive and leases.grant(holder):
            alive[holder] = f"{holder} {turn}"
            cluster.groups.add(alive[holder])
        elif move == "up" and holder in alive:
            leases.occupy(holder, alive[holder])
        elif move == "end" and holder in alive:
            leases.release(holder)
            del alive[holder]
        elif move == "tick":
            cluster.tick()
        assert workers * len(cluster.groups) <= sum(cpus)
        assert set(alive.values()) <= cluster.groups
