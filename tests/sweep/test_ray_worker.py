"""The worker of a slot, without Ray: one process, one trial after another, nothing left of any of them."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ablate.spec.trial import TrialSpec
from ablate.sweep.messages import (
    Beat,
    Failed,
    Finish,
    NoCheckpoint,
    Rest,
    Rested,
    Save,
    SlotPlan,
    Start,
    Step,
    Work,
)
from ablate.sweep.slot import Wear
from ablate.sweep.worker import Worker
from ablate.train import World
from ablate.trial import Checkpoint
from tests.sweep.fakes import FakeTrial

Make = Callable[..., Any]


def plan(folder: Path, make_trial: Make | None, **limits: Any) -> SlotPlan:
    whole = SlotPlan(
        post="post",
        sweep="worker",
        run="run",
        workers=1,
        cpus=1,
        gpus=0,
        checkpoint_every=1,
        stall=600.0,
        max_trials=3,
        max_growth=1000,
        cache=folder,
        scratch=folder,
        working_directory=folder,
        make_trial=make_trial,
    )
    return replace(whole, **limits)


def worker(folder: Path, make_trial: Make | None = FakeTrial, rank: int = 0) -> Worker:
    return Worker(plan(folder, make_trial), World(rank, 1), "slot-0", "node", None)


def spec(**changes: Any) -> TrialSpec:
    whole = {
        "data": {"kind": "digits", "train": 160, "test": 40},
        "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
        "measure": {"probe_l2": [0.1]},
        "head": {"kind": "mlp", "hidden": 32, "out": 16},
        "optim": {"kind": "sgd", "epochs": 2, "batch": 32, "lr": 0.3},
    }
    return TrialSpec.model_validate({**whole, **changes})


def optim(**changes: Any) -> dict[str, Any]:
    return {"optim": {"kind": "sgd", "epochs": 2, "batch": 32, "lr": 0.3, **changes}}


def work(folder: Path, trial: TrialSpec, name: str = "t0000", **fields: Any) -> Work:
    return Work(name, trial, "search", "search", folder / name, fields.pop("checkpoint", None), 1, **fields)


# --- state leaks -----------------------------------------------------------------------------------------


def fingerprint(of: Worker, folder: Path, name: str) -> str:
    """Of every number the subject gives and of the weights it ends with."""
    task = work(folder, spec(), name)
    assert of.run(Start(task)) is False
    numbers: list[Any] = []
    done = False
    while not done:
        stepped = of.run(Step())
        done = stepped.done
        numbers.append({k: v for k, v in stepped.metrics.items() if k != "views_per_second"})
    numbers.append(of.run(Finish()))
    weights = [
        hashlib.sha256((task.folder / f"{part}.pt").read_bytes()).hexdigest() for part in ("encoder", "head")
    ]
    return json.dumps([numbers, weights], sort_keys=True)


def run(program: str, folder: Path) -> str:
    """What a fresh process prints that runs ``program``."""
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root, check=True).stdout


FRESH = """
    import sys
    from pathlib import Path
    from tests.sweep.test_ray_worker import fingerprint, worker
    folder = Path(sys.argv[1])
    print(fingerprint(worker(folder, None), folder, "fresh"))
"""


def test_a_trial_after_any_other_is_bit_identical_to_one_in_a_fresh_process(tmp_path: Path) -> None:
    fresh = run(FRESH, tmp_path).strip()
    used = worker(tmp_path, None)
    before: dict[str, tuple[TrialSpec, int, str | None]] = {  # spec, steps, how the last one ends
        "finished": (spec(head={"kind": "mlp", "hidden": 48, "out": 16}, **optim(lr=0.9)), 2, None),
        "left midway": (spec(seed=5), 1, None),
        "other precision": (spec(compute={"precision": "bf16"}), 1, None),
        "other data": (spec(data={"kind": "digits", "train": 320, "test": 40}), 1, None),
        "diverged": (spec(**optim(lr=1e30, warmup_epochs=0.0)), 1, "FAILED"),
        "impossible": (spec(**optim(batch=2048)), 0, "FAILED"),
    }
    for name, (other, steps, end) in before.items():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        answer = used.run(Start(work(tmp_path, other, name)))
        for _ in range(steps):
            answer = used.run(Step())
        assert (answer.state if isinstance(answer, Failed) else None) == end, answer
        assert fingerprint(used, tmp_path, f"after {name}") == fresh, name


# --- logs ------------------------------------------------------------------------------------------------


class Talkative(FakeTrial):
    """Says which trial it is, in every way a process can."""

    def step(self) -> Any:
        name = f"{self.spec.optim.lr}"
        print("print", name)
        subprocess.run(["sh", "-c", f"echo child {name} >&2"], check=True)
        logging.getLogger("anything").warning("logging %s", name)
        warnings.warn(f"warning {name}", stacklevel=1)
        return super().step()


TALKS = """
    import sys
    from pathlib import Path
    from ablate.sweep.messages import Rest, Save, Start, Step
    from tests.sweep.test_ray_worker import Talkative, optim, spec, work, worker
    folder = Path(sys.argv[1])
    process = worker(folder, Talkative)
    for name, lr in (("t0000", 0.25), ("t0001", 0.5)):
        process.run(Start(work(folder, spec(**optim(lr=lr)), name)))
        process.run(Step())
        print("between trials")
    breaks = spec(**optim(head_weight_decay=1.0, epochs=4))
    process.run(Start(work(folder, breaks, "t0002")))
    process.run(Step())
    saved = process.run(Save(folder / "t0002/1"))
    process.run(Step())
    process.run(Start(work(folder, breaks, "t0002", checkpoint=saved)))
    process.run(Rest())
"""


def test_each_trial_of_a_process_has_a_log_with_its_own_words_and_nobody_elses(tmp_path: Path) -> None:
    said = run(TALKS, tmp_path)  # in a process of its own, whose streams pytest has not replaced
    one, two = ((tmp_path / name / "log.txt").read_text() for name in ("t0000", "t0001"))
    for text, mine, other in ((one, "0.25", "0.5"), (two, "0.5", "0.25")):
        for word in ("print", "child", "logging", "warning"):
            assert f"{word} {mine}" in text
        assert f" {other}" not in text
        assert "between" not in text
    assert one.startswith("--- ")
    assert "t0000 from the beginning, slot-0 rank 0 of 1" in one.splitlines()[0]
    assert said == "between trials\nbetween trials\n"
    # A failure leaves its stack, and a trial that goes on adds to what there is.
    first, again = (tmp_path / "t0002/log.txt").read_text().split("--- ")[1:]
    assert "FAILED: RuntimeError: it broke" in first
    assert 'fakes.py", line' in first
    assert "t0002 after epoch 1, slot-0" in again


def test_a_further_rank_has_a_log_of_its_own(tmp_path: Path) -> None:
    process = Worker(plan(tmp_path, FakeTrial), World(1, 2), "slot-0", "node", None)
    process.run(Start(work(tmp_path, spec())))
    assert "rank 1 of 2" in (tmp_path / "t0000/log-rank-1.txt").read_text()
    assert not (tmp_path / "t0000/log.txt").exists()


# --- outcomes and checkpoints ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        (1.0, "FAILED", "RuntimeError: it broke"),
        (2.0, "COLLAPSED", "no spread"),
        (3.0, "FAILED", "out of memory: "),
    ],
)
def test_what_a_trial_raises_is_its_outcome_and_the_worker_goes_on(
    tmp_path: Path, fault: float, state: str, reason: str
) -> None:
    process = worker(tmp_path)
    process.run(Start(work(tmp_path, spec(**optim(head_weight_decay=fault)))))
    process.run(Step())
    failed = process.run(Step())
    assert isinstance(failed, Failed)
    assert (failed.state, failed.reason[: len(reason)]) == (state, reason)
    assert process.run(Start(work(tmp_path, spec(), "t0001"))) is False


def test_a_checkpoint_that_is_not_the_one_written_is_reported_not_used(tmp_path: Path) -> None:
    process = worker(tmp_path, None)
    process.run(Start(work(tmp_path, spec())))
    process.run(Step())
    saved: Checkpoint = process.run(Save(tmp_path / "t0000/1"))
    Path(saved.path).write_bytes(Path(saved.path).read_bytes()[:-1] + b"?")
    answer = process.run(Start(work(tmp_path, spec(), checkpoint=saved)))
    assert isinstance(answer, NoCheckpoint)
    assert (answer.path, "digest" in answer.reason) == (saved.path, True)
    assert process.run(Start(work(tmp_path, spec()))) is False


# --- signs of life, and wear -----------------------------------------------------------------------------


class Slow(FakeTrial):
    """Takes a step when it is let, within one epoch."""

    let = threading.Semaphore(0)

    def step(self) -> Any:
        for _ in range(3):
            assert self.let.acquire(timeout=60)
            self.progress += 1
        return super().step()


def test_steps_within_an_epoch_are_signs_of_life_and_a_stall_leaves_its_stack(tmp_path: Path) -> None:
    beats: list[Beat] = []
    arrived = threading.Condition()

    def beat(beat: Beat) -> None:
        with arrived:
            beats.append(beat)
            arrived.notify_all()

    process = Worker(plan(tmp_path, Slow, stall=0.4), World.single(), "slot-0", "node", beat)
    process.run(Start(work(tmp_path, spec())))
    thread = threading.Thread(target=process.run, args=(Step(),))
    thread.start()
    last = 0
    for step in range(3):
        if step == 2:
            _wait_for("in step", tmp_path / "t0000/log.txt")  # where it stands, before it goes on
        Slow.let.release()
        with arrived:
            assert arrived.wait_for(lambda last=last: bool(beats) and beats[-1].count > last, timeout=60)
            last = beats[-1].count
    thread.join()
    assert {b.trial for b in beats} == {"t0000"}


def _wait_for(words: str, file: Path) -> None:
    deadline = time.monotonic() + 60
    while words not in file.read_text():
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.02)


def test_between_trials_a_worker_says_what_it_holds(tmp_path: Path) -> None:
    rested = worker(tmp_path).run(Rest())
    assert isinstance(rested, Rested)
    assert (rested.node, rested.memory > 10 * 2**20, rested.kills >= 0) == ("node", True, True)


def test_a_process_is_worn_by_many_trials_or_by_memory_that_does_not_come_back(tmp_path: Path) -> None:
    wear = Wear(plan(tmp_path, None))
    assert [wear.after_trial(5000), wear.after_trial(6000)] == ["", ""]
    assert wear.after_trial(5000) == "it has run 3 trials"
    wear = Wear(plan(tmp_path, None, max_trials=100, max_growth=2**20))
    assert [wear.after_trial(2**30), wear.after_trial(2**30 + 2**20)] == ["", ""]
    assert wear.after_trial(2**30 + 2**21) == "it holds 1026 MiB, 1024 MiB after its first trial"
