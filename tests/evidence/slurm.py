"""Sweeps as batch jobs of a real Slurm, struck by what Slurm does to jobs: `clusters/slurm.sbatch` and all.

Slurm's daemons run on hosts of their own (``tests.cluster.slurm_daemons``): a login host, on which our
commands are given, and two nodes. They share one folder, the project, as the nodes of such clusters do. Each
job runs a sweep of real, tiny trials; what became of it is judged as in ``tests.evidence.faults``.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.cluster.slurm import OVER
from ablate.ledger import Ledger
from ablate.spec.changes import changed
from ablate.spec.sweep import SweepSpec
from ablate.sweep.driver import LEDGER
from tests.cluster.hosts import Hosts, hosts
from tests.cluster.slurm_daemons import Slurm, missing, slurm, until
from tests.evidence.cluster import WATCHFUL, trained_again
from tests.evidence.fault_sweeps import keep, sweep
from tests.evidence.faults import Case, Cell, Judge, Row, count, written
from tests.evidence.harness import ROOT, Finding, check

PATIENCE = 480.0  # seconds for a job that takes two to four minutes
NODES = ("node-1", "node-2")
GRACE = 30  # seconds between the word of pre-emption and the end
SCRIPT = "clusters/slurm.sbatch"
EPOCHS, EVERY = 80, 30  # of a trial, and from one checkpoint to the next if nobody gives word
PLAIN = sweep(
    "batch",
    resources={"slots": 2, "checkpoint_every": EVERY},
    trials=6,
    sampler={"kind": "random"},
    scheduler={"kind": "none"},
)
BATCH = SweepSpec.model_validate(changed(PLAIN.as_dict(), {"base.optim.epochs": EPOCHS}))
BOTH = ("nodes=2", "cpus-per-task=1")  # one trial at a time on each node
ONE = ("nodes=1", "cpus-per-task=2")


@dataclass
class Going:
    """A job under way, and what was seen of it. ``saved``: seconds from the word to the free nodes."""

    id: str
    runs: Path
    began: float = field(default_factory=time.monotonic)
    struck: float | None = None
    saved: float | None = None
    restarts: int = 0
    state: str = ""

    @property
    def ledger(self) -> Path:
        return self.runs / BATCH.name / LEDGER


@dataclass
class Site:
    net: Hosts
    slurm: Slurm
    project: Path

    def ablate(self, *words: str | Path) -> str:
        return self.slurm.run("ablate", "cluster", *words, cwd=self.project, env=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        caches = {
            "ABLATE_CACHE": "cache",
            "NUMBA_CACHE_DIR": "compiled",
        }  # shared, as an installation would be
        return {**{name: str(self.project / folder) for name, folder in caches.items()}, **WATCHFUL}

    def set_up(self) -> None:
        """What clusters/setup.sh does last: compile the views, before any trial wants them."""
        words = (sys.executable, "-c", "import ablate.data.view_kernel")
        self.slurm.run(*words, cwd=self.project, env=self.environment)

    def submit(self, runs: Path, options: tuple[str, ...]) -> Going:
        given = [word for option in options for word in ("--set-cluster", option)]
        said = self.ablate("submit", SCRIPT, "sweep.yaml", "--no-follow", "--runs", runs, *given)
        found = re.search(r"^(\d+) is sent", said, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"the job has no number: {said}")
        return Going(found[1], runs)

    def make_room(self, nodes: int) -> None:
        """Submit what is more urgent than a sweep, on so many nodes."""
        words = ("sbatch", "--partition=high", f"--nodes={nodes}", "--cpus-per-task=2", "--wrap=sleep 2")
        self.slurm.run(*words, cwd=self.project)

    def limit(self, job: Going) -> None:
        """Have Slurm say at its next look, every half minute, that the time is nearly over."""
        minutes = int(time.monotonic() - job.began) // 60 + 2
        self.slurm.run("scontrol", "update", f"JobId={job.id}", f"TimeLimit={minutes}", cwd=self.project)

    def unlimit(self, job: Going) -> None:
        """The next start has time again."""
        self.slurm.run("scontrol", "update", f"JobId={job.id}", "TimeLimit=60", cwd=self.project)

    def left(self, job: Going) -> list[str]:
        """Of the token, and of Ray's folders and processes on the nodes."""
        nodes = [self.net[name] for name in NODES if self.net[name].running]
        paths = [path for node in nodes for path in node.path("/tmp").glob(f"ablate-{job.id}-*")]
        processes = [p.command[:80] for node in nodes for p in node.processes("ray")]
        return [*map(str, [*paths, *self.project.glob(".slurm-*")]), *processes]

    def nodes(self, job: Going) -> list[str]:
        """On which its trials ran, by what these have logged."""
        logs = (job.runs / BATCH.name / "trials").glob("*/log.txt")
        return sorted({name for log in logs for name in re.findall(r" rank 0 of 1, (\S+) ", log.read_text())})


Strike = Callable[[Site, Going], object]


@dataclass(frozen=True)
class Fault:
    """``again``: the sweep is submitted once more. ``saves``: no epoch is to be trained again. ``heal``: what
    is done when the job is queued again."""

    words: str
    options: tuple[str, ...]
    strike: Strike | None = None
    requeued: bool = True
    again: bool = False
    saves: bool = True
    heal: Strike | None = None


FAULTS = {
    "none": Fault("undisturbed, on two nodes", BOTH, requeued=False),
    "grace": Fault(
        f"pre-empted on two nodes, {GRACE} s of grace",
        BOTH, lambda site, _: site.make_room(2),
    ),
    "abrupt": Fault(
        "pre-empted without grace",
        (*ONE, "partition=abrupt"), lambda site, _: site.make_room(2),
    ),
    "limit": Fault(
        "its time limit is moved to one to two minutes from then",
        ONE, lambda site, job: site.limit(job), heal=lambda site, job: site.unlimit(job),
    ),
    "cancel": Fault(
        "cancelled (`ablate cluster down`), submitted again",
        ONE, lambda site, _: site.ablate("down", SCRIPT, "--yes"), requeued=False, again=True,
    ),
    "node": Fault(
        "the second node is switched off",
        BOTH, lambda site, _: site.net["node-2"].kill(), requeued=False, saves=False,
    ),
}  # fmt: skip


@contextmanager
def site(scratch: Path) -> Iterator[Site]:
    shared = scratch / "shared"
    project = shared / "project"
    project.mkdir(parents=True)
    (project / ".venv").symlink_to(sys.prefix)
    (project / "clusters").mkdir()
    shutil.copy(ROOT / SCRIPT, project / SCRIPT)
    written(BATCH, project / "sweep.yaml")
    (shared / "slurm").mkdir()
    with hosts("login", *NODES, shared=[shared]) as net, slurm(net, shared / "slurm", grace=GRACE) as cluster:
        here = Site(net, cluster, project)
        here.set_up()
        yield here


def run(site: Site, name: str) -> tuple[Cell, Going]:
    """One sweep that a fault befell, to its end."""
    fault = FAULTS[name]
    runs = site.project / name
    runs.mkdir()
    going, error = site.submit(runs, fault.options), ""
    try:
        follow(site, going, fault.strike, fault.heal)
        if fault.again:
            keep(going.ledger, runs)
            again = site.submit(runs, fault.options)
            again.struck, again.saved = going.struck, going.saved
            going = again
            follow(site, going, None)
        if going.state != "COMPLETED":
            raise RuntimeError(f"job {going.id} ended as {going.state}")
    except RuntimeError as found:  # of this cell; the others are judged all the same
        error = str(found).partition("\n")[0]
        print(f"{name}: {error}\n{log_of(site, going)[-3000:]}", flush=True)
        site.ablate("down", SCRIPT, "--yes")
        until(lambda: site.slurm.job(going.id)["JobState"] in OVER, f"job {going.id} was to leave")
    return Cell(fault.words, [Case(runs, BATCH.name, reference(site))], error=error), going


def reference(site: Site) -> Path:
    """The ledger of the undisturbed sweep."""
    return site.project / "none" / BATCH.name / LEDGER


def log_of(site: Site, going: Going) -> str:
    log = site.project / f"ablate-{BATCH.name}-{going.id}.log"
    return log.read_text(errors="replace") if log.exists() else "it has no log yet"


def follow(site: Site, going: Going, strike: Strike | None, heal: Strike | None = None) -> None:
    """Until the job is over; strike it when some of its trials are finished and others run. What each go left
    is kept when the job is queued again."""

    def over() -> bool:
        job = site.slurm.job(going.id)
        going.state = job["JobState"]
        if strike and going.struck is None and ready(going.ledger):
            going.struck = time.monotonic()
            strike(site, going)
        if int(job["Restarts"]) > going.restarts and going.state == "PENDING":
            going.restarts += 1
            if going.saved is None and going.struck is not None:
                going.saved = time.monotonic() - going.struck
            if heal:
                heal(site, going)
            keep(going.ledger, going.runs)
        return going.state in OVER

    until(over, f"job {going.id} was to end", PATIENCE, lambda: log_of(site, going)[-3000:])
    if strike and going.struck is None:
        raise RuntimeError(f"job {going.id} ended before it could be struck:\n{log_of(site, going)[-3000:]}")


def ready(ledger: Path) -> bool:
    """Two trials have finished, and another has reported half of its epochs."""
    if not ledger.exists() or count(ledger, "finished") < 2:
        return False
    events = Ledger.read(ledger)
    over = {e["trial"] for e in events if e["event"] == "finished"}
    reached = {e["trial"]: e["epoch"] for e in events if e["event"] == "reported"}
    return any(epoch >= EPOCHS // 2 for trial, epoch in reached.items() if trial not in over)


HEAD = (
    "what befell it", "starts of the job", "finished before", "of them lost", "run twice",
    "finished at the end", "epochs trained again", "COMPLETE equal to `ablate train`",
    "same set as undisturbed", "nodes", "held",
)  # fmt: skip
Found = tuple[Row, dict[str, Any]]


def judged(site: Site, cells: list[Cell], goings: dict[str, Going], scratch: Path) -> list[Found]:
    judge = Judge(Place(scratch, site.project / "cache"))  # type: ignore[arg-type]
    found = []
    for (name, going), row in zip(goings.items(), judge.rows(cells), strict=True):
        again = trained_again(Ledger.read(going.ledger)) if going.ledger.exists() else []
        fault = FAULTS[name]
        more = {
            "starts": going.restarts + 1,
            "epochs_again": max(again, default=0),
            "nodes": site.nodes(going),
            "seconds": round(time.monotonic() - going.began),
            "seconds_to_free_nodes": going.saved and round(going.saved, 1),
        }
        fits = (going.restarts > 0) == fault.requeued
        fits &= more["epochs_again"] <= (0 if fault.saves else EVERY)
        more["held"] = row.held and fits and (fault.options != BOTH or len(more["nodes"]) == 2)
        found.append((row, more))
    return found


@dataclass(frozen=True)
class Place:
    """What the judge needs of the fault matrix's place."""

    scratch: Path
    cache: Path


def table(found: list[Found]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row, more in found:
        cells = (
            row.fault, more["starts"], row.before, row.lost, row.twice, row.finished, more["epochs_again"],
            f"{row.equal} of {row.complete}", "yes" if row.same_sets else "no", len(more["nodes"]),
            "yes" if more["held"] else "**no**",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *(f"- {row.fault}: {row.error}" for row, _ in found if row.error)])


@check("slurm")
def on_slurm(scratch: Path) -> Finding:
    if reason := missing():
        raise SystemExit(f"Slurm cannot be run here: {reason}")
    with site(scratch) as here:
        cells, goings, left = [], {}, []
        for name in FAULTS:
            cell, goings[name] = run(here, name)
            cells.append(cell)
            left += here.left(goings[name])
            print(f"{cell.fault}: {goings[name]}", flush=True)
        found = judged(here, cells, goings, scratch)
    text = table(found)
    print(text, flush=True)
    return Finding(
        "Through `ablate cluster submit`, `clusters/slurm.sbatch` runs a sweep on the nodes of a real Slurm "
        "to its end. Pre-empted with and without a grace time, out of time, cancelled, or with a node "
        "switched off, nothing that finished is lost or run twice; where there is time to save no epoch is "
        "trained again; the job is queued again, or goes on, and ends with the trials of the undisturbed "
        "one. Nothing is left on the nodes.",
        all(more["held"] for _, more in found) and not left,
        {row.fault: {k: v for k, v in vars(row).items() if k != "fault"} | more for row, more in found}
        | {"left": left},
        text,
    )
