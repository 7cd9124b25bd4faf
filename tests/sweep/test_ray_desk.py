"""The desk between slots and driver: who may speak of a trial, who waits, and what a death means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.ledger import Ledger
from ablate.search import MAX_ABANDONED
from ablate.spec.sweep import SweepSpec
from ablate.sweep.capacity import Leases
from ablate.sweep.desk import BARREN, NOTICE, Desk, SweepError
from ablate.sweep.driver import Driver
from ablate.sweep.messages import (
    Beat,
    Caller,
    Checkpointed,
    Ended,
    Lease,
    Noticed,
    Preempted,
    Reply,
    Reported,
    Request,
    SlotUp,
    Unreadable,
    Verdict,
    WantLease,
    WantWork,
    Work,
    Worn,
)
from ablate.trial import Checkpoint
from tests.sweep.fakes import sweep

A, B = Caller("slot-0", "first"), Caller("slot-1", "first")
A2 = Caller("slot-0", "second")
ROOM = Leases(1, 1, 0, nodes=lambda _: [{"CPU": 8.0}], groups=set, remove=lambda _: None)


class Hall:
    """A desk, and the replies of those who wait there."""

    def __init__(self, driver: Driver) -> None:
        self.now, self.ended = 0.0, []  # type: tuple[float, list[str]]
        self.driver = driver
        self.desk = Desk(driver, ROOM, end=self.ended.append, clock=lambda: self.now)
        self.waiting: dict[int, Caller] = {}
        self.arrived: dict[Caller, Reply] = {}
        self._tickets = iter(range(10_000))

    def ask(self, caller: Caller, request: Request) -> Reply | None:
        """The reply, or None if the caller has to wait: then it will be in ``arrived``."""
        ticket = next(self._tickets)
        self.waiting[ticket] = caller
        for number, reply in self.desk.receive(ticket, caller, request) + self.desk.replies():
            self.arrived[self.waiting.pop(number)] = reply
        return self.arrived.pop(caller, None)

    def work(self, caller: Caller) -> Work:
        reply = self.ask(caller, WantWork())
        assert isinstance(reply, Work)
        return reply

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        for number, reply in self.desk.replies():
            self.arrived[self.waiting.pop(number)] = reply

    def events(self, name: str) -> list[dict[str, object]]:
        return [e for e in Ledger.read(self.driver.path) if e["event"] == name]


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with Driver(sweep("desk", trials=2), tmp_path) as driver:
        yield Hall(driver)


def report(work: Work, epoch: int, value: float = 0.5) -> Reported:
    return Reported(work.trial, epoch, {"probe.h.val": value})


def up(hall: Hall, *callers: Caller) -> None:
    """Their processes have started; each is known by its slot's name."""
    for caller in callers:
        assert hall.ask(caller, SlotUp(caller.slot)) is Verdict.GO


def pointer(work: Work, epoch: int) -> Checkpointed:
    path = work.checkpoints / f"{epoch}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Checkpointed(work.trial, work.fence, Checkpoint(epoch, str(path), "digest"))


def test_the_trial_of_a_dead_slot_goes_on_elsewhere_and_the_dead_are_not_heard(hall: Hall) -> None:
    work = hall.work(A)
    assert hall.ask(A, report(work, 1)) is Verdict.GO
    assert hall.ask(A, pointer(work, 1)) is Verdict.GO
    hall.desk.lost("slot-0", "killed")
    again = hall.work(B)
    assert again.trial == work.trial
    assert again.checkpoint.epoch == 1
    assert hall.ask(A, report(work, 2, value=0.9)) is Verdict.LEAVE
    assert hall.ask(A, Ended(work.trial, "COMPLETE", "", {})) is Verdict.LEAVE
    assert hall.ask(A, WantWork()) is Verdict.LEAVE
    assert [e["epoch"] for e in hall.events("reported")] == [1]
    assert hall.ask(B, report(again, 2)) is Verdict.GO


def test_a_slot_started_anew_replaces_its_earlier_life(hall: Hall) -> None:
    work = hall.work(A)
    assert hall.work(A2).trial == work.trial
    assert hall.ask(A, report(work, 1)) is Verdict.LEAVE
    assert len(hall.events("abandoned")) == 1


def test_a_slot_cannot_speak_of_another_slots_trial(hall: Hall) -> None:
    work, other = hall.work(A), hall.work(B)
    assert hall.ask(A, report(other, 1)) is Verdict.LEAVE
    assert hall.ask(A, Ended(other.trial, "FAILED", "mine", {})) is Verdict.LEAVE
    assert hall.events("reported") == hall.events("finished") == []
    assert hall.ask(A, report(work, 1)) is Verdict.GO


def test_a_checkpoint_of_another_fence_is_not_recorded(hall: Hall) -> None:
    work = hall.work(A)
    hall.ask(A, report(work, 1))
    stale = pointer(work, 1)
    hall.ask(A, Checkpointed(stale.trial, work.fence + 1, stale.checkpoint))
    assert hall.events("checkpointed") == []


def test_slots_wait_for_a_stage_to_end_and_leave_at_the_end(hall: Hall) -> None:
    first, second = hall.work(A), hall.work(B)
    assert hall.ask(A, Ended(first.trial, "FAILED", "it broke", {})) is Verdict.GO
    assert hall.ask(A, WantWork()) is None
    for epoch in (1, 2, 3, 4):
        assert hall.ask(B, report(second, epoch)) is Verdict.GO
    hall.ask(B, Ended(second.trial, "COMPLETE", "", {}))
    confirm = hall.arrived.pop(A)
    assert isinstance(confirm, Work)
    assert confirm.stage == "confirm"
    hall.ask(A, Ended(confirm.trial, "FAILED", "", {}))
    last = hall.work(B)
    assert hall.ask(A, WantWork()) is None
    assert not hall.desk.done
    hall.ask(B, Ended(last.trial, "FAILED", "", {}))
    assert hall.arrived.pop(A) is Verdict.LEAVE
    assert hall.ask(B, WantLease()) is Verdict.LEAVE
    assert hall.desk.done


def test_a_drained_sweep_saves_leaves_and_goes_on_from_there(hall: Hall, tmp_path: Path) -> None:
    work = hall.work(A)
    hall.desk.drain()
    assert hall.ask(B, WantWork()) is Verdict.LEAVE
    assert not hall.desk.done
    assert hall.ask(A, report(work, 1)) is Verdict.SAVE
    assert hall.ask(A, pointer(work, 1)) is Verdict.LEAVE
    hall.tick()
    assert hall.desk.done
    assert not hall.driver.finished
    hall.driver.close()
    with Driver.resume("desk", tmp_path) as resumed:
        assignment = resumed.next("slot-0")
        assert assignment is not None
        assert (assignment.trial, assignment.fence) == (work.trial, 2)
        assert assignment.checkpoint is not None
        assert assignment.checkpoint.epoch == 1


def test_an_error_of_the_driver_ends_the_sweep(hall: Hall) -> None:
    work = hall.work(A)
    hall.driver.close()
    assert hall.ask(A, report(work, 1)) is Verdict.LEAVE
    assert hall.ask(B, WantWork()) is Verdict.LEAVE
    assert hall.desk.done
    assert "closed" in str(hall.desk.error)


def test_slots_that_die_before_they_work_end_the_sweep(hall: Hall) -> None:
    for _ in range(3):
        hall.desk.lost("slot-0", "ModuleNotFoundError: No module named 'torch'")
    hall.tick()
    assert isinstance(hall.desk.error, SweepError)
    assert "No module named 'torch'" in str(hall.desk.error)
    assert hall.desk.done


def test_a_node_that_takes_its_idle_slots_along_does_not_end_the_sweep(hall: Hall) -> None:
    busy, _ = hall.work(A), hall.work(B)
    idle = [Caller(f"slot-{i}", "first") for i in range(2, 6)]
    assert [hall.ask(caller, WantWork()) for caller in idle] == [None] * 4
    for caller in idle:
        hall.desk.lost(caller.slot, "its node was taken back")
    hall.tick()
    assert hall.desk.error is None
    assert hall.ask(A, report(busy, 1)) is Verdict.GO


def test_the_dead_are_not_given_the_work_they_waited_for(hall: Hall) -> None:
    first, second = hall.work(A), hall.work(B)
    hall.ask(A, Ended(first.trial, "FAILED", "", {}))
    assert hall.ask(A, WantWork()) is None
    hall.desk.lost("slot-0", "killed")
    hall.tick()
    hall.ask(B, Ended(second.trial, "FAILED", "", {}))
    assert hall.arrived.pop(A) is Verdict.LEAVE
    assert [e["slot"] for e in hall.events("started")] == ["slot-0", "slot-1"]


def test_a_trial_that_stands_still_is_given_to_another_slot_and_its_process_ended(tmp_path: Path) -> None:
    with Driver(sweep("stalls", trials=2, stall_minutes=5.0), tmp_path) as driver:
        hall = Hall(driver)
        up(hall, A, B)
        stuck, moving = hall.work(A), hall.work(B)
        for minute in range(1, 9):
            hall.ask(B, Beat(moving.trial, minute))
            hall.ask(A, Beat(stuck.trial, 1))  # alive, but no step more
            hall.tick(60)
            assert hall.ended == ([] if minute < 6 else ["slot-0"])
        [abandoned] = hall.events("abandoned")
        assert (abandoned["trial"], abandoned["reason"]) == (
            stuck.trial,
            "stall: no step of training for 5 minutes",
        )
        assert hall.ask(A, report(stuck, 1)) is Verdict.LEAVE
        hall.desk.lost("slot-0", "crash: killed by `ray.kill`")
        assert hall.work(A2).trial == stuck.trial
        assert hall.desk.error is None


def test_reports_are_signs_of_life_and_beats_of_others_are_not(tmp_path: Path) -> None:
    with Driver(sweep("stalls", trials=2, epochs=8, stall_minutes=5.0), tmp_path) as driver:
        hall = Hall(driver)
        up(hall, A)
        work = hall.work(A)
        for epoch in range(1, 5):
            hall.tick(200)
            assert hall.ask(A, report(work, epoch)) is Verdict.GO
        hall.tick(200)
        hall.ask(B, Beat(work.trial, 7))
        hall.ask(A, Beat("t0001", 8))
        hall.tick(200)
        assert hall.ended == ["slot-0"]


def test_a_trial_that_runs_too_long_has_failed_however_often_it_moved(tmp_path: Path) -> None:
    with Driver(sweep("long", trials=2, stall_minutes=60.0, trial_hours=0.5), tmp_path) as driver:
        hall = Hall(driver)
        up(hall, A)
        work = hall.work(A)
        hall.tick(1000)
        hall.ask(A, report(work, 1))
        hall.desk.lost("slot-0", "killed")  # the time before counts too
        hall.tick()
        again = hall.work(A2)
        assert again.trial == work.trial
        hall.tick(700)
        assert hall.events("finished") == []
        hall.tick(200)
        [finished] = hall.events("finished")
        assert (finished["state"], finished["reason"]) == (
            "FAILED",
            "time-out: after 0.528 h (resources.trial_hours 0.5)",
        )
        assert hall.ask(A2, report(again, 2)) is Verdict.LEAVE


def test_a_slot_that_renews_its_process_is_not_a_slot_that_cannot_start(hall: Hall) -> None:
    for life in range(BARREN + 2):
        caller = Caller("slot-0", f"life {life}")
        up(hall, caller)
        assert hall.ask(caller, Worn("it has run 10000 trials")) is Verdict.GO
        hall.desk.lost("slot-0", "SlotWorn")
        hall.tick()
    assert hall.desk.error is None
    assert isinstance(hall.ask(B, WantWork()), Work)


def test_slots_that_a_lost_node_takes_while_they_start_do_not_end_the_sweep(hall: Hall) -> None:
    for slot in range(BARREN + 2):
        hall.desk.lost(f"slot-{slot}", "lost node", with_node=True)
    hall.tick()
    assert hall.desk.error is None


def test_a_damaged_checkpoint_is_set_aside_and_the_trial_starts_again(hall: Hall) -> None:
    work = hall.work(A)
    hall.ask(A, report(work, 1))
    damaged = pointer(work, 1)
    hall.ask(A, damaged)
    hall.desk.lost("slot-0", "killed")
    again = hall.work(B)
    path = damaged.checkpoint.path
    assert again.checkpoint.path == path
    assert hall.ask(B, Unreadable(again.trial, path, "digest 0, expected 1")) is Verdict.GO
    assert not Path(path).exists()
    assert Path(f"{path}.damaged").exists()
    third = hall.work(B)
    assert (third.trial, third.checkpoint) == (work.trial, None)
    assert hall.ask(B, report(third, 1)) is Verdict.GO
    assert hall.events("abandoned")[-1]["reason"] == "checkpoint: digest 0, expected 1"


def test_an_operator_who_cancels_a_trial_or_pauses_the_sweep_is_obeyed_at_the_next_report(hall: Hall) -> None:
    first, second = hall.work(A), hall.work(B)
    hall.driver.cancel(first.trial)
    assert hall.ask(A, report(first, 1)) is Verdict.STOP
    hall.driver.drain()
    hall.tick(1)
    assert hall.ask(A, WantWork()) is Verdict.LEAVE
    assert hall.ask(B, report(second, 1)) is Verdict.SAVE
    assert hall.ask(B, pointer(second, 1)) is Verdict.LEAVE
    hall.tick(1)
    assert hall.desk.done


def test_a_trial_that_pauses_leaves_its_slot_once_it_is_saved(tmp_path: Path) -> None:
    spec = sweep("pauses", trials=4).as_dict()
    spec["search"] |= {"scheduler": {"kind": "pbt", "every": 2, "mutate": ["optim.lr"]}}
    with Driver(SweepSpec.model_validate(spec), tmp_path) as driver:
        hall = Hall(driver)
        work = hall.work(A)
        assert hall.ask(A, report(work, 1)) is Verdict.GO
        assert hall.ask(A, report(work, 2)) is Verdict.PAUSE
        assert hall.ask(A, pointer(work, 2)) is Verdict.STOP
        assert [e["trial"] for e in hall.events("paused")] == [work.trial]
        assert hall.work(A).trial != work.trial


# --- nodes that are cut off, or will be taken away -------------------------------------------------------

GOING = {"node-a": "host-a: AWS will terminate it"}


def test_a_slot_that_was_cut_off_writes_elsewhere_and_what_it_says_late_is_not_recorded(hall: Hall) -> None:
    """Its node comes back after the trial was given to another slot of the same driver."""
    work = hall.work(A)
    hall.ask(A, report(work, 1))
    hall.ask(A, pointer(work, 1))
    hall.desk.lost("slot-0", "lost node", with_node=True)
    again = hall.work(B)
    assert (again.trial, again.fence) == (work.trial, work.fence)
    assert again.checkpoints != work.checkpoints
    hall.ask(B, report(again, 2))
    hall.ask(B, mine := pointer(again, 2))
    late = pointer(work, 2)
    assert hall.ask(A, report(work, 2, value=0.9)) is Verdict.LEAVE
    assert hall.ask(A, late) is Verdict.LEAVE
    assert hall.ask(A, Preempted(work.trial, GOING)) is Verdict.LEAVE
    assert Path(mine.checkpoint.path).exists()
    assert hall.events("checkpointed")[-1]["digest"] == mine.checkpoint.digest
    assert len(hall.events("checkpointed")) == 2
    assert hall.ask(B, report(again, 3)) is Verdict.GO


def test_a_preempted_trial_goes_on_elsewhere_and_nothing_starts_where_it_was(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    def given(caller: Caller, node: str) -> Work:
        reply = hall.ask(caller, WantWork(node))
        assert isinstance(reply, Work)
        return reply

    work = given(A, "node-a")
    within = Checkpointed(work.trial, work.fence, pointer(work, 0).checkpoint)
    assert hall.ask(A, within) is Verdict.GO
    assert hall.ask(A, Preempted(work.trial, GOING)) is Verdict.GO
    assert hall.ask(A, Noticed(GOING)) is Verdict.GO
    idle = Caller("slot-2", "first")  # beside it on the node, and does not know yet
    assert hall.ask(idle, WantWork("node-a")) is None
    assert given(B, "node-b").trial == work.trial
    [abandoned] = hall.events("abandoned")
    assert (abandoned["reason"], abandoned["preempted"]) == (
        "preemption notice: host-a: AWS will terminate it",
        True,
    )
    hall.tick(NOTICE / 2)
    assert idle not in hall.arrived
    hall.tick(NOTICE)  # and the node is still there: it was left alone after all
    assert isinstance(hall.arrived.pop(idle), Work)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("host-a: AWS will terminate it. Nothing new starts there (Ray node node-a)") == 1
    assert f"{work.trial} waits for another place, from its last checkpoint on: {GOING['node-a']}" in said


def test_preemptions_are_not_counted_as_deaths(hall: Hall) -> None:
    for _ in range(MAX_ABANDONED + 2):
        work = hall.work(A)
        assert hall.ask(A, Preempted(work.trial, GOING)) is Verdict.GO
    assert hall.work(A).trial == work.trial
    assert hall.events("finished") == []


def test_gangs_are_told_where_not_to_start(hall: Hall) -> None:
    assert hall.ask(A, WantLease()) == Lease(())
    work = hall.work(A)
    hall.ask(A, Preempted(work.trial, GOING))
    assert hall.ask(B, WantLease()) == Lease(("node-a",))
    hall.tick(NOTICE + 1)
    assert hall.ask(Caller("slot-2", "first"), WantLease()) == Lease(())


def test_slots_that_sit_out_leave_with_the_rest(hall: Hall) -> None:
    work = hall.work(A)
    hall.ask(A, Preempted(work.trial, GOING))
    assert hall.ask(A, Noticed(GOING)) is Verdict.GO
    hall.desk.drain()
    hall.tick()
    assert hall.ask(A, Noticed(GOING)) is Verdict.LEAVE
    hall.tick()
    assert hall.desk.done
    assert hall.desk.error is None


def test_slots_that_a_noticed_node_takes_along_do_not_end_the_sweep(hall: Hall) -> None:
    for life in range(4):
        caller = Caller("slot-0", str(life))
        assert hall.ask(caller, SlotUp("process", ())) is Verdict.GO
        assert hall.ask(caller, Noticed(GOING)) is Verdict.GO
        hall.desk.lost("slot-0", "its process was killed")
        hall.tick()
    assert hall.desk.error is None


def test_what_a_slot_remarks_of_its_node_is_said_once(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    for caller in (A, B):
        assert hall.ask(caller, SlotUp(caller.slot, ("host-a does not share the folder",))) is Verdict.GO
    assert [record.getMessage() for record in caplog.records] == ["host-a does not share the folder"]


def test_a_slow_trial_is_not_a_stalled_one(tmp_path: Path) -> None:
    """One step each four minutes, where a step usually takes seconds, and stall_minutes is five."""
    with Driver(sweep("slow", trials=2, stall_minutes=5.0), tmp_path) as driver:
        hall = Hall(driver)
        up(hall, A)
        work = hall.work(A)
        for step in range(100):
            hall.tick(240)
            hall.ask(A, Beat(work.trial, step + 1))
        assert hall.ended == []
        assert hall.ask(A, report(work, 1)) is Verdict.GO
