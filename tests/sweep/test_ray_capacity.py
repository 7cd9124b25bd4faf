"""Leases: gangs wait for room instead of halving it among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ablate.sweep.capacity import Leases, Room, RoomWatch, places

NODES = [{"CPU": 5.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 2.0}]


class Cluster:
    """Removing a placement group takes effect at the next ``tick``."""

    def __init__(self, *cpus: int) -> None:
        self.nodes = [{"CPU": float(c)} for c in cpus]
        self.groups: set[str] = set()
        self.placed: set[str] = set()
        self.wanted: list[str] = []
        self._doomed: set[str] = set()

    def leases(self, workers: int) -> Leases:
        return Leases(workers, 1, 0, self._living, lambda: set(self.groups), self._doomed.add)

    def leases_that_bring_nodes(self, workers: int) -> Leases:
        gone, placed = self._doomed.add, lambda: set(self.placed)
        return Leases(workers, 1, 0, self._living, lambda: set(self.groups), gone, self._want, placed)

    def _living(self, avoid: Sequence[str]) -> list[dict[str, float]]:
        """Nodes are called "0", "1" and so on."""
        return [node for i, node in enumerate(self.nodes) if str(i) not in avoid]

    def _want(self, workers: int, bundle: Mapping[str, float]) -> str:
        self.wanted.append(f"{workers} times {bundle['CPU']:g} CPU: {len(self.wanted)}")
        self.groups.add(self.wanted[-1])
        return self.wanted[-1]

    def tick(self) -> None:
        self.groups -= self._doomed
        self.placed -= self._doomed
        self._doomed.clear()


def test_a_worker_never_spans_nodes() -> None:
    assert places(NODES, cpus=2, gpus=0) == 3
    assert places(NODES, cpus=4, gpus=0) == 1
    assert places(NODES, cpus=1, gpus=1) == 2
    assert places(NODES, cpus=1, gpus=0.5) == 4
    assert places([{"GPU": 1.0, "CPU": 8.0}], cpus=1, gpus=0.2) == 5


def test_a_share_of_a_gpu_never_spans_two() -> None:
    assert places([{"GPU": 2.0, "CPU": 64.0}], cpus=1, gpus=0.4) == 4
    assert places([{"GPU": 3.0, "CPU": 64.0}], cpus=1, gpus=0.3333) == 9
    assert places([{"GPU": 0.5, "CPU": 64.0}], cpus=1, gpus=0.25) == 2  # what a job was given of one
    assert places([{"GPU": 3.0, "CPU": 64.0}], cpus=1, gpus=2) == 1


def test_of_mixed_nodes_only_those_count_that_have_all_of_it() -> None:
    head, large = {"memory": 1e9}, {"CPU": 8.0, "GPU": 4.0}
    nodes = [head, {"CPU": 64.0}, {"CPU": 2.0, "GPU": 1.0}, large]
    assert places(nodes, cpus=1, gpus=1) == 5
    assert places(nodes, cpus=4, gpus=1) == 2  # both on the large one, whose CPUs are too few for four
    assert places(nodes, cpus=1, gpus=2) == 2
    assert places(nodes, cpus=8, gpus=0) == 9
    assert places([head], cpus=1, gpus=0) == 0


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


def test_an_autoscaler_hears_once_of_every_gang_that_has_no_place() -> None:
    cluster = Cluster()
    leases = cluster.leases_that_bring_nodes(2)
    for _ in range(3):
        assert not leases.grant("a")
        assert not leases.grant("b")
    assert cluster.wanted == ["2 times 1 CPU: 0", "2 times 1 CPU: 1"]
    cluster.nodes.append({"CPU": 2.0})
    cluster.placed.add(cluster.wanted[0])  # Ray put there what stands for a
    assert not leases.grant("b"), "the place is a's, whoever asks first"
    assert leases.grant("a")
    cluster.tick()
    assert cluster.groups == set(), "or Ray would put what stands for b where the gang of a is to start"
    assert not leases.grant("b")
    cluster.groups.add("gang of a")
    leases.occupy("a", "gang of a")
    assert not leases.grant("b")
    assert cluster.groups == {"gang of a", cluster.wanted[2]}
    leases.release("a")
    cluster.groups.remove("gang of a")
    leases.release("b")  # its slot has left
    cluster.tick()
    assert cluster.groups == set()


def test_a_gang_that_finds_room_before_a_node_came_wants_none() -> None:
    cluster = Cluster(2)
    leases = cluster.leases_that_bring_nodes(2)
    assert leases.grant("a")
    assert not leases.grant("b")
    leases.release("a")
    assert leases.grant("b")
    cluster.tick()
    assert cluster.groups == set()


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


class Watched:
    """A RoomWatch over a made-up cluster and clock, and what it said."""

    def __init__(self, lease: dict[str, float]) -> None:
        self.now = 0.0
        self.room = Room({"CPU": 4.0}, {"CPU": 4.0}, {}, {}, 0)
        self.said: list[tuple[float, str]] = []
        self._watch = RoomWatch(
            lease,
            look=lambda: self.room,
            say=self._note,
            clock=lambda: self.now,
        )

    def _note(self, words: str) -> None:
        self.said.append((self.now, words))

    def run(self, seconds: int, *, working: int = 0, refused: int = 0) -> None:
        for _ in range(2 * seconds):
            self.now += 0.5
            self._watch.tick(working=working, refused=refused)


def test_what_another_job_holds_is_said_within_ten_seconds_and_then_each_minute() -> None:
    watched = Watched({"CPU": 1.0})
    watched.room = Room({"CPU": 4.0}, {"CPU": 0.0}, {"CPU": 1.0}, {"CPU": 2.0}, 1)
    watched.run(100)
    assert [at for at, _ in watched.said] == [8.5, 68.5]
    assert watched.said[0][1] == (
        "no trial runs: the sweep waits for room in the cluster: 2 CPU needed, 0 of 4 free, 3 CPU of them "
        "held by other Ray jobs. It goes on by itself when there is room"
    )


def test_nothing_is_said_of_slots_that_soon_have_a_place_nor_of_those_that_wait_for_our_own() -> None:
    watched = Watched({"CPU": 2.0})
    waiting = Room({"CPU": 4.0}, {"CPU": 0.0}, {}, {"CPU": 1.0}, 1)
    settled = Room({"CPU": 4.0}, {"CPU": 0.0}, {"CPU": 4.0}, {}, 0)
    for _ in range(5):
        watched.room = waiting
        watched.run(6)
        watched.room = settled
        watched.run(6, working=1, refused=3)
    assert watched.said == []


def test_where_other_slots_run_it_is_said_once() -> None:
    watched = Watched({"CPU": 1.0})
    watched.room = Room({"CPU": 4.0}, {"CPU": 0.0}, {"CPU": 4.0}, {"CPU": 1.0}, 1)
    watched.run(300, working=4)
    [(at, words)] = watched.said
    assert at == 60.5
    assert words.startswith(
        "4 slots run, another waits for room in the cluster: 1 CPU needed, 0 of 4 free. It"
    )


def test_a_refused_lease_with_nothing_running_and_a_bundle_that_fits_no_node_are_named() -> None:
    watched = Watched({"CPU": 8.0, "GPU": 2.0})
    watched.run(10, refused=2)
    assert "8 CPU needed, 4 of 4 free; 2 GPU needed, 0 of 0 free" in watched.said[0][1]
    watched = Watched({"CPU": 1.0})
    watched.room = Room({"CPU": 4.0}, {"CPU": 4.0}, {}, {"CPU": 3.0, "memory": 2**26}, 1)
    watched.room.total["memory"] = watched.room.free["memory"] = 2.0**30  # type: ignore[index]
    watched.run(10)
    assert "no single node has room for 3 CPU and 64 MiB of memory" in watched.said[0][1]


def test_no_lease_is_given_for_a_gang_that_has_no_place_but_on_nodes_to_avoid() -> None:
    cluster = Cluster(1, 2)
    leases = cluster.leases(workers=2)
    assert not leases.grant("a", avoid=["1"])
    assert leases.grant("a")
    brings = cluster.leases_that_bring_nodes(workers=2)
    assert not brings.grant("b", avoid=["1"])
    cluster.placed = set(cluster.wanted)  # on the node to avoid, for all that is known
    assert not brings.grant("b", avoid=["1"])
    assert brings.grant("b")
