"""Leases: gangs wait for room instead of halving it among themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ablate.sweep.capacity import Leases, places

NODES = [{"CPU": 5.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 2.0}]


def leases(nodes: list[dict[str, float]], workers: int, gone: set[str]) -> Leases:
    return Leases(workers, 1, 0, nodes=lambda: nodes, dissolve=lambda group: group in gone)


def test_a_worker_never_spans_nodes() -> None:
    assert places(NODES, cpus=2, gpus=0) == 3
    assert places(NODES, cpus=4, gpus=0) == 1
    assert places(NODES, cpus=1, gpus=1) == 2
    assert places(NODES, cpus=1, gpus=0.5) == 4
    assert places([{"GPU": 1.0, "CPU": 8.0}], cpus=1, gpus=0.1) == 8  # not 9, whatever 1 / 0.1 is


def test_places_return_only_when_the_placement_group_is_gone() -> None:
    gone: set[str] = set()
    cluster = leases([{"CPU": 2.0}], 2, gone)
    assert cluster.grant("a")
    assert cluster.grant("a")  # asking again costs nothing
    cluster.occupy("a", "group of a")
    assert not cluster.grant("b")
    cluster.release("a")
    assert not cluster.grant("b")
    gone.add("group of a")
    assert cluster.grant("b")


def test_nodes_may_come_and_go() -> None:
    nodes = [{"CPU": 2.0}]
    cluster = leases(nodes, 2, set())
    assert cluster.grant("a")
    assert not cluster.grant("b")
    nodes.append({"CPU": 3.0})
    assert cluster.grant("b")
    nodes.clear()
    assert not cluster.grant("c")


@given(
    cpus=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    workers=st.integers(1, 4),
    moves=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans()), max_size=40),
)
def test_workers_never_exceed_places(
    cpus: list[int], workers: int, moves: list[tuple[str, bool, bool]]
) -> None:
    gone: set[str] = set()
    cluster = leases([{"CPU": float(c)} for c in cpus], workers, gone)
    present: dict[str, str] = {}  # holder -> group, of every gang that still has processes
    for turn, (holder, wants, dies) in enumerate(moves):
        if wants and holder not in present and cluster.grant(holder):
            present[holder] = f"{holder} {turn}"
            cluster.occupy(holder, present[holder])
        elif not wants:
            cluster.release(holder)
            if dies and holder in present:
                gone.add(present.pop(holder))
            elif holder in present:  # its group lingers
                present[f"{holder} {turn}"] = present.pop(holder)
        assert workers * len(present) <= sum(cpus)
