"""The gang: a Ray Train worker group that a slot holds open and hands trial after trial.

`TorchTrainer(serve).fit()` runs in a thread of the slot for as long as the gang lives; its ranks, instead of
training one thing and returning, take commands at the post office. Lock-step: each command is a question to
every rank, which carries (gang, trial, sequence); the slot waits for the answer of every rank to this very
question before it asks another, and a rank does nothing unasked. So no result can belong to another trial.

A gang dies when its ``fit`` ends. Nobody tells the slot, so it waits for "answers, or fit ended".
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from ablate.sweep.deaths import kills_on, why
from ablate.sweep.messages import (
    Beat,
    Caller,
    Close,
    Command,
    Failed,
    Hello,
    Interrupted,
    NoCheckpoint,
    Noticed,
    Ran,
    Rest,
    Rested,
    Run,
    SlotPlan,
)
from ablate.sweep.post import DESK, Post
from ablate.sweep.preemption import Notices

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between looks at whether fit ended; Ray Train looks at its workers as often
GRACE = 30.0  # seconds that the other ranks have to answer once one has failed
GOODBYE = 10.0  # seconds that ranks have to leave their train loop
NODE_ID = "ray.io/node-id"  # a label that Ray gives every node
_ENVIRONMENT = {  # read in the slot's process, which is to Ray Train what the driver is
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL),
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process that warns `ray.train.report`, which is not used
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it has every line printed twice
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in specs stay what they are
}


class GangDied(Exception):
    """The worker group is gone; the message is Ray Train's reason."""


class Gang:
    """``plan.workers`` ranks under the unique ``name``, held by ``caller``, on none of the nodes ``avoid``.
    Not thread-safe: one slot, one question at a time. What ``notices`` gives (nodes that will be taken away,
    and why) is passed on to the ranks, who know of their own."""

    def __init__(
        self,
        plan: SlotPlan,
        name: str,
        caller: Caller,
        *,
        avoid: Sequence[str] = (),
        notices: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._plan, self._name, self._caller = plan, name, caller
        self._avoid, self._notices = avoid, notices
        self._post = Post.find(plan.post)
        self._sequence = 0
        self._passed_on = self._interrupted = False
        self._death, self._ended = "its ranks returned", False
        self._kills: dict[str, int] = {}  # node of a rank -> processes killed there for want of memory
        self._fit = threading.Thread(target=self._hold_open, name=name, daemon=True)
        self._fit.start()

    @property
    def alive(self) -> bool:
        return self._fit.is_alive() and not self._ended

    @property
    def usable(self) -> bool:
        """Whether it is alive, and none of its nodes is to be taken away."""
        return self.alive and not self._interrupted

    def hello(self) -> str:
        """Wait until every rank is up. Returns the id of their placement group. Raises GangDied."""
        group: str = self.run("", Hello())
        self.rest()
        return group

    def rest(self) -> int:
        """Let every rank forget its trial. Returns the most bytes that one still holds. Raises GangDied."""
        ranks: list[Rested] = list(self._ask_all("", Rest()).values())
        self._kills = {rank.node: rank.kills for rank in ranks}
        return max(rank.memory for rank in ranks)

    def run(self, trial: str, command: Command) -> Any:
        """Rank 0's answer to a command that every rank has carried out, or a rank's Failed or NoCheckpoint;
        of Interrupted what all of them know.

        Raises GangDied if the worker group died under it. Where one rank failed and another is stuck, waiting
        for it in a collective, the answer is the Failed and the gang is dead afterwards.
        """
        answers = self._ask_all(trial, command)
        failures = [a for _, a in sorted(answers.items()) if isinstance(a, Failed)]
        if not failures:
            unread = [a for _, a in sorted(answers.items()) if isinstance(a, NoCheckpoint)]
            return unread[0] if unread else self._together(answers)
        if len(answers) < self._plan.workers:
            log.warning("%s: %s left other ranks stuck; the gang is ended", self._name, failures[0])
            self.end()
        elif trial:
            # A rank that was killed makes the others fail a moment before Ray Train says so.
            self._ask_all("", Hello())
        return failures[0]

    def _together(self, answers: dict[int, Any]) -> Any:
        told = [answer for answer in answers.values() if isinstance(answer, Interrupted)]
        if not told:
            return answers[0]
        self._interrupted = True
        return replace(told[0], notices={node: why for a in told for node, why in a.notices.items()})

    def close(self) -> None:
        """Let the ranks return, or end them. The placement group is gone afterwards, if all goes well."""
        if self.alive:
            for rank in range(self._plan.workers):
                self._ask(rank, "", Close())
            self._fit.join(GOODBYE)
        self.end()
        addresses = [a for r in range(self._plan.workers) for a in _addresses(self._name, r)]
        self._post.forget(addresses)

    def end(self) -> None:
        """End every rank at once, also one that is stuck."""
        if self.alive:
            for rank in range(self._plan.workers):
                self._post.send(_addresses(self._name, rank)[1], Close())
            self._fit.join(GOODBYE)
        self._ended = True

    def _ask(self, rank: int, trial: str, command: Command) -> Any:
        run = Run(self._name, trial, self._sequence, command)
        return self._post.send(_addresses(self._name, rank)[0], run)

    def _ask_all(self, trial: str, command: Command) -> dict[int, Any]:
        """Each rank's answer; some are missing only if one of the others is Failed."""
        self._sequence += 1
        asked = {self._ask(rank, trial, command): rank for rank in range(self._plan.workers)}
        answers: dict[int, Any] = {}
        deadline = float("inf")
        while asked and time.monotonic() < deadline:
            alive = self.alive  # before looking for answers: the last ones may come just before the end
            self._pass_on_notices()
            for ref in ray.wait(list(asked), num_returns=len(asked), timeout=POLL)[0]:
                rank, ran = asked.pop(ref), self._post.read(ref)
                if (ran.gang, ran.trial, ran.sequence) != (self._name, trial, self._sequence):
                    log.error("%s: discarded %s from rank %d", self._name, ran, rank)
                    self.end()
                    raise GangDied(f"rank {rank} is out of step")
                answers[rank] = ran.answer
                if isinstance(ran.answer, Failed):
                    deadline = min(deadline, time.monotonic() + GRACE)
            if asked and not alive:
                raise GangDied(self._why())
        return answers

    def _pass_on_notices(self) -> None:
        """One rank that knows is enough."""
        if not self._passed_on and (notices := self._notices()):
            self._passed_on = True
            self._post.tell(_addresses(self._name, 0)[1], Noticed(notices))

    def _why(self) -> str:
        killed = any((kills_on(node) or 0) > before for node, before in self._kills.items())
        return why(self._death, killed_by_kernel=killed)

    def _hold_open(self) -> None:
        try:
            # Ray Train checks that it can write where it is told to; it is never asked to keep anything.
            with tempfile.TemporaryDirectory(prefix="ablate-gang-", ignore_cleanup_errors=True) as folder:
                self._trainer(folder).fit()
        except Exception as error:
            failures = getattr(error, "worker_failures", {}).values()
            self._death = "\n".join(f"{type(e).__name__}: {e}" for e in (*failures, error))

    def _trainer(self, folder: str) -> Any:
        import ray.train
        from ray.train.torch import TorchTrainer

        from ablate.sweep.rendezvous import OwnAddress

        os.environ |= {k: os.environ.get(k, v) for k, v in _ENVIRONMENT.items()}
        plan = self._plan
        return TorchTrainer(
            serve,
            train_loop_config={"plan": plan, "name": self._name, "caller": self._caller},
            scaling_config=ray.train.ScalingConfig(
                num_workers=plan.workers,
                use_gpu=plan.gpus > 0,
                resources_per_worker={"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})},
                label_selector={NODE_ID: f"!in({','.join(self._avoid)})"} if self._avoid else None,
            ),
            # Later than a stall: a collective in vain is the sign of a rank that stands still.
            torch_config=OwnAddress(timeout_s=int(2 * plan.stall) + 60),
            run_config=ray.train.RunConfig(
                name=self._name,
                storage_path=folder,
                # Or else, where Ray drains a node, new ranks would wait for commands that the old ones took.
                failure_config=ray.train.FailureConfig(max_failures=0, max_preemption_failures=0),
            ),
        )


def serve(config: dict[str, Any]) -> None:
    """The train loop of a rank: take a command, carry it out, answer, until told to close."""
    import ray.train
    from ray.util import get_current_placement_group

    from ablate.sweep.parcels import within_reach
    from ablate.sweep.worker import Worker
    from ablate.train import World

    plan, name, caller = within_reach(config["plan"]), config["name"], config["caller"]
    world = World.from_process_group()
    rank = ray.train.get_context().get_world_rank()
    commands, out_of_turn = _addresses(name, rank)
    post = Post.find(plan.post)
    node = ray.get_runtime_context().get_node_id()
    notices = Notices.of(node)

    def beat(beat: Beat) -> None:
        post.tell(DESK, (caller, beat))

    threading.Thread(target=_listen, args=(post, out_of_turn, notices), daemon=True).start()
    with contextlib.suppress(FileNotFoundError):  # another machine may not have it
        os.chdir(plan.working_directory)
    # One rank that stands still holds up all of them, so the first speaks for all.
    worker = Worker(plan, world, caller.slot, node, beat if rank == 0 else None, notices.standing)
    while True:
        [(ticket, run)] = post.take(commands)
        match run.command:
            case Close():
                return
            case Hello():
                answer = get_current_placement_group().id.hex()
            case _:
                answer = worker.run(run.command)
        post.answer([(ticket, Ran(run.gang, run.trial, run.sequence, answer))])


def _listen(post: Post, address: str, notices: Notices) -> None:
    """Hear of notices; end this process when the slot says so, or when the driver process, and with it the
    post, is gone."""
    try:
        while True:
            for _, said in post.take(address):
                if not isinstance(said, Noticed):
                    return
                notices.hear(said.notices)
    finally:
        os._exit(1)


def _addresses(gang: str, rank: int) -> tuple[str, str]:
    """Where a rank takes commands, and where it listens all the time."""
    return f"{gang}/{rank}", f"{gang}/{rank}/out-of-turn"
