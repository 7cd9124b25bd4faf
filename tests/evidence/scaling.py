"""How well slots are kept busy, from one to as many as the machine can host, and what the driver pays for it.

Simulated nodes: one Ray cluster of several raylets on this machine. Its trials do nothing but sleep, so that
its cores do not matter; all the rest (driver, ledger with fsync, desk, post, Tune, slots, checkpoints) is as
in any sweep. Slots come up one by one; each one's first trial waits for the others, and what comes before is
start-up and left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from ablate.ledger import Event
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import Driver
from ablate.sweep.ray_backend import run_on_ray
from ablate.trial import Checkpoint, EpochReport
from ablate.trial.checkpoint import load_checkpoint, save_checkpoint
from tests.evidence.harness import ROOT, Finding, check

SLOTS = (1, 2, 4, 8, 16, 24)
PER_NODE = 4  # slots
TRIALS = 2  # a slot
EPOCHS, SECONDS = 2, 8.0  # of a trial, of an epoch
MEMORY = 650 * 2**20  # bytes that a slot's process takes, with its share of its node's Ray
LEAST = 0.95  # efficiency
PATIENCE = 300.0  # seconds that a slot waits for the others


class SleepingTrial:
    """Has the seam of ``ablate.trial.TrialRun``; an epoch is a sleep. ``cache`` is where slots meet, and its
    name how many."""

    def __init__(self, spec: TrialSpec, *, cache: Path, **_: Any) -> None:
        self.spec, self.epoch, self.progress = spec, 0, 0
        meet(cache)

    @property
    def done(self) -> bool:
        return self.epoch >= self.spec.optim.epochs

    def advance(self, pause: Callable[[], bool]) -> EpochReport:  # noqa: ARG002
        time.sleep(SECONDS)
        self.epoch += 1
        self.progress += 1
        return EpochReport(self.epoch, {"probe.h.val": self.spec.optim.lr * self.epoch})

    def save(self, folder: Path) -> Checkpoint:
        return save_checkpoint({"epoch": self.epoch}, self.epoch, folder)

    def restore(self, checkpoint: Checkpoint) -> None:
        import torch

        self.epoch = load_checkpoint(checkpoint, torch.device("cpu"))["epoch"]

    def finish(self, folder: Path, **_: Any) -> dict[str, float]:
        folder.mkdir(parents=True, exist_ok=True)
        return {"probe.h.test": self.spec.optim.lr}


def meet(place: Path) -> None:
    """Wait until every slot is here; once in each process."""
    mine = place / str(os.getpid())
    if mine.exists():
        return
    mine.touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(place.iterdir())) < int(place.name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all slots came up within {PATIENCE:g} s")
        time.sleep(0.01)


def sleeping(slots: int) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": f"sleeping-{slots}",
            "question": "Are all slots kept busy?",
            "base": {
                "data": {"kind": "digits"},
                "head": {"kind": "mlp"},
                "optim": {"kind": "sgd", "epochs": EPOCHS, "warmup_epochs": 0.0},
            },
            "space": {"optim.lr": {"float": [0.01, 1.0]}},
            "search": {
                "trials": TRIALS * slots,
                "sampler": {"kind": "random"},
                "scheduler": {"kind": "none"},
            },
            "resources": {"slots": slots},
        }
    )


class Meter:
    """What the driver process had spent when each event was recorded."""

    def __init__(self) -> None:
        self.seen: list[tuple[Event, float]] = []

    def __call__(self, event: Event) -> None:
        self.seen.append((event, time.process_time()))

    def cost(self) -> dict[str, float]:
        """Of the time from the first report to the last end."""
        kinds = [event["event"] for event, _ in self.seen]
        first, last = kinds.index("reported"), len(kinds) - 1 - kinds[::-1].index("finished")
        (began, cpu_before), (ended, cpu_after) = self.seen[first], self.seen[last]
        seconds, events = ended["time"] - began["time"], last - first
        return {
            "events_per_second": events / seconds,
            "driver_cpu_share": (cpu_after - cpu_before) / seconds,
            "driver_cpu_ms_per_event": 1000 * (cpu_after - cpu_before) / events,
        }


def run(slots: int, folder: Path) -> dict[str, float]:
    """One sweep on so many slots, on the cluster that this process is connected to."""
    place = folder / str(slots)
    place.mkdir()
    meter, began = Meter(), time.time()
    with Driver(sleeping(slots), folder) as driver:
        driver.subscribe(meter)
        run_on_ray(driver, cache=place, make_trial=SleepingTrial)
        if not driver.finished:
            raise RuntimeError(f"the sweep on {slots} slots did not come to its end")
    events = [event for event, _ in meter.seen]
    met = max(path.stat().st_mtime for path in place.iterdir())
    ends = [event["time"] for event in events if event["event"] == "finished"]
    failed = [
        event["reason"] for event in events if event["event"] == "finished" and event["state"] != "COMPLETE"
    ]
    if failed or len({event["slot"] for event in events if event["event"] == "started"}) != slots:
        raise RuntimeError(f"on {slots} slots: {failed or 'not every slot took part'}")
    slept = SECONDS * sum(event["event"] == "reported" for event in events)
    return {
        "slots": slots,
        "trials": len(ends),
        "start_up_seconds": met - began,
        "seconds": max(ends) - met,
        "efficiency": slept / (slots * (max(ends) - met)),
        **meter.cost(),
    }


def room() -> tuple[int, ...]:
    """The counts of slots that this machine has memory for now."""
    return tuple(count for count in SLOTS if count * MEMORY < psutil.virtual_memory().available)


def main(folder: Path) -> None:
    counts = room()
    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**small, "num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(-(-max(counts) // PER_NODE)):
            cluster.add_node(**small, num_cpus=PER_NODE)
        ray.init(address=cluster.address, log_to_driver=False)
        rows = []
        for count in counts:
            rows.append(run(count, folder))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        print(json.dumps({"rows": rows, "nodes": len([n for n in ray.nodes() if n["Alive"]]) - 1}))
    finally:
        ray.shutdown()
        cluster.shutdown()


@check("scaling")
def scaling(scratch: Path) -> Finding:
    words = [sys.executable, "-m", "tests.evidence.scaling", str(scratch)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the sweeps ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    rows: list[dict[str, float]] = found["rows"]
    cost = linear_regression(
        [row["events_per_second"] for row in rows], [row["driver_cpu_share"] for row in rows]
    )
    figures = {
        "nodes": found["nodes"],
        "by_slots": {str(row["slots"]): {k: round(v, 4) for k, v in row.items()} for row in rows},
        "driver_cpu_ms_per_further_event": round(1000 * cost.slope, 2),
        "driver_cpu_share_at_rest": round(cost.intercept, 4),
    }
    return Finding(
        f"Trials that sleep keep the slots of simulated nodes busy for at least {LEAST:.0%} of the time "
        f"after start-up, from one slot to {max(row['slots'] for row in rows)}.",
        len(rows) > 3 and all(row["efficiency"] >= LEAST for row in rows),
        figures,
        f"{_table(rows)}\n\n{_words(found['nodes'], cost.slope, cost.intercept)}",
    )


COLUMNS = (
    ("slots", "{slots}"), ("trials", "{trials}"), ("start-up, s (left out)", "{start_up_seconds:.1f}"),
    ("after it, s", "{seconds:.1f}"), ("efficiency", "{efficiency:.4f}"),
    ("ledger events/s", "{events_per_second:.2f}"), ("driver's share of a core", "{driver_cpu_share:.3f}"),
    ("its CPU, ms an event", "{driver_cpu_ms_per_event:.1f}"),
)  # fmt: skip


def _table(rows: Sequence[dict[str, float]]) -> str:
    lines = [f"| {' | '.join(name for name, _ in COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join(
        [*lines, *(f"| {' | '.join(form.format(**row) for _, form in COLUMNS)} |" for row in rows)]
    )


def _words(nodes: int, slope: float, at_rest: float) -> str:
    return f"""\
{nodes} nodes of {PER_NODE} CPUs and a head without any, all on this machine. A trial is {EPOCHS} epochs of
{SECONDS:g} s of sleep, each reported, all but the last checkpointed; {TRIALS} trials a slot. Efficiency:
seconds slept / (slots x seconds from the moment when all slots were up to the end of the last trial).

The driver's CPU is that of its whole process, Tune and Ray's threads among it, from the first report to the
last end. A straight line through the rows: {at_rest:.3f} of a core at rest, {1000 * slope:.1f} ms for each
further event. Events come seldom here, so that most of what a row says of one event is the rest.
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
