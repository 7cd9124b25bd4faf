"""Files of trials on a node that does not share the sweep's folder: to the driver's machine and back."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ray.exceptions import ActorUnavailableError

from ablate.ledger import StoreError
from ablate.sweep import parcels
from ablate.sweep.messages import Failed, Finish, NoCheckpoint, Save, SlotPlan, Start, Step, Work
from ablate.sweep.parcels import Done, Order, Parcels, carry_out, folder_served, shares_folder, within_reach
from ablate.sweep.worker import Worker
from ablate.train import World
from ablate.trial import Checkpoint
from tests.sweep.fakes import FakeTrial
from tests.sweep.test_ray_worker import plan, spec


class Machines:
    """The driver's, and a node's, which has another folder where the driver has that of the sweep."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver, self.node = root / "driver", root / "node"
        self.out_of_reach = 0  # how often from now on
        for folder in (self.driver, self.node):
            folder.mkdir()
        monkeypatch.setattr(parcels.Post, "find", lambda _name: self)

    def ask(self, _address: str, order: Order) -> Any:
        if self.out_of_reach > 0:
            self.out_of_reach -= 1
            raise ActorUnavailableError("the network is gone", None)
        return carry_out(self.driver, order)

    @property
    def plan(self) -> SlotPlan:
        return replace(plan(self.node, FakeTrial), scratch=self.node / ".ray-1", carry=True)

    def worker(self) -> Worker:
        """In a process of its own, on the node."""
        return Worker(within_reach(self.plan), World.single(), "slot-0", "node", None)

    def work(self, checkpoint: Checkpoint | None = None) -> Work:
        folder = self.node / "trials" / "t0000"
        return Work("t0000", spec(), "search", "search", folder, checkpoint, 1, hand_out=1)

    def names(self) -> set[str]:
        return {p.relative_to(self.driver).as_posix() for p in self.driver.rglob("*") if p.is_file()}


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path, monkeypatch)


def test_a_node_without_the_folder_has_its_checkpoints_and_artifacts_carried(machines: Machines) -> None:
    first = machines.worker()
    assert first.run(Start(machines.work())) is False
    first.run(Step())
    saved = first.run(Save(machines.work().checkpoints))
    assert saved.path == str(machines.node / "trials/t0000/1-1/epoch-0001.pt"), "as the driver names it"
    assert machines.names() == {"trials/t0000/1-1/epoch-0001.pt"}
    shutil.rmtree(machines.node / "trials")  # the trial goes on on another such node
    second = machines.worker()
    assert second.run(Start(machines.work(saved))) is False
    assert second.run(Step()).metrics["restored"] == 1
    assert second.run(Finish()) != {}
    assert {"trials/t0000/metrics.json", "trials/t0000/log.txt"} <= machines.names()


def test_a_node_that_shares_the_folder_uses_it(machines: Machines) -> None:
    assert not shares_folder(machines.plan)
    machines.plan.scratch.mkdir()
    (machines.plan.scratch / "driver").write_text("another run's")
    assert not shares_folder(machines.plan), "a folder of that name is not yet the same"
    (machines.plan.scratch / "driver").write_text(machines.plan.run)
    assert shares_folder(machines.plan)
    assert within_reach(machines.plan) == machines.plan


def test_a_checkpoint_that_the_driver_does_not_have_is_reported(machines: Machines) -> None:
    gone = Checkpoint(1, str(machines.node / "trials/t0000/1-1/epoch-0001.pt"), "0")
    answer = machines.worker().run(Start(machines.work(gone)))
    assert isinstance(answer, NoCheckpoint)
    assert "is gone" in answer.reason


def test_a_driver_that_cannot_write_halts_the_sweep_and_fails_no_trial(machines: Machines) -> None:
    worker = machines.worker()
    worker.run(Start(machines.work()))
    worker.run(Step())
    (machines.driver / "trials").write_text("in the way")
    failed = worker.run(Save(machines.work().checkpoints))
    assert isinstance(failed, Failed)
    assert failed.state == "HALTED"
    assert "on the driver's machine" in failed.reason


@pytest.mark.parametrize("times", [3, 4])
def test_what_the_driver_cannot_be_reached_for_is_carried_later_or_halts_the_sweep(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(parcels, "PAUSES", (0.0,) * 3)
    machines.out_of_reach = times
    file = machines.node / "a.json"
    file.write_text("{}")
    if times < 4:
        Parcels("post", machines.node).upload([file])
        assert machines.names() == {"a.json"}
    else:
        with pytest.raises(StoreError, match=r"a\.json cannot be carried: ActorUnavailableError"):
            Parcels("post", machines.node).upload([file])


def test_a_parcel_that_is_lost_does_not_stop_the_others(machines: Machines) -> None:
    class Office:
        """Its first message cannot be read, and the answer to the next not be sent."""

        taken = 0
        answers: ClassVar[dict[int, Done]] = {}
        answered = threading.Event()

        def take(self, _address: str, _timeout: float) -> list[tuple[int, Order]]:
            self.taken += 1
            if self.taken == 1:
                raise MemoryError
            large, small = Order("get", "a.pt"), Order("put", "b.json", b"{}")
            return [(6, large), (7, small)] if self.taken == 2 else []

        def answer(self, answers: list[tuple[int, Done]]) -> None:
            for ticket, done in answers:
                if done.data is not None:
                    raise MemoryError
                self.answers[ticket] = done
                if ticket == 7:
                    self.answered.set()

    at_home = replace(machines.plan, scratch=machines.driver / ".ray-1")
    at_home.scratch.mkdir()
    (machines.driver / "a.pt").write_bytes(b"large")
    office = Office()
    with folder_served(at_home, office):  # type: ignore[arg-type]
        assert office.answered.wait(60)
    assert (machines.driver / "b.json").read_text() == "{}"
    assert office.answers == {6: Done("a.pt cannot be sent: MemoryError: "), 7: Done()}


def test_nothing_outside_the_folder_is_read_or_written(machines: Machines) -> None:
    outside = machines.driver.parent / "secret"
    outside.write_text("secret")
    for order in (Order("get", "../secret"), Order("put", "../secret", b"x"), Order("delete", "../secret")):
        done = carry_out(machines.driver, order)
        assert (done.data, "leads out of" in done.problem) == (None, True)
    assert outside.read_text() == "secret"
    with pytest.raises(ValueError, match="not in the subpath"):
        Parcels("post", machines.node).upload([outside])


def test_a_problem_of_the_driver_is_an_error_of_the_store(machines: Machines) -> None:
    file = machines.node / "a.json"
    file.write_text("{}")
    machines.driver.rmdir()
    machines.driver.write_text("in the way")
    with pytest.raises(StoreError, match="on the driver's machine"):
        Parcels("post", machines.node).upload([file])
