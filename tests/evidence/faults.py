"""The fault matrix: what is lost, run twice, decided otherwise or trained otherwise, whatever dies.

Every sweep is of real, tiny trials (``fault_sweeps``), of which all that ended COMPLETE are trained once
more, alone, and compared with what the sweep recorded, bit for bit; only ``views_per_second``, a reading of
a clock, is left out. A child of a population is trained alone too, after its parents. Gangs of two, whose
sums are rounded otherwise than those of one process, are compared with those of an undisturbed gang.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from ablate.ledger import DECISIONS, Event, Ledger
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.spec.yaml_file import dump_yaml
from ablate.sweep.driver import LEDGER
from tests.evidence.checks import ABLATE, NOT_REPEATABLE
from tests.evidence.fault_sweeps import (
    GANGS,
    OPERATED,
    PLAIN,
    POPULATION,
    SERVER,
    TWO_SLOTS,
    Fault,
    Stage,
    alone,
    keep,
    run,
)
from tests.evidence.harness import ROOT, Finding, check
from tests.sweep.small_disk import small_disk

AT_A_TIME = 2
PATIENCE = 300.0  # seconds for a command that takes twenty
DISK, ROOM = 8 * 2**20, 4 * 2**20  # bytes of the small disk, and those that are free again
INTERRUPTED = {1: 1, 2: 130}  # exit status after so many SIGINTs: saved, and abandoned
TAKEN = "once more to abandon them"  # what a driver says at the first
FULL = {  # what a driver says that ends
    "checkpoint": "epoch-",
    "artifacts": "correct.npz",
    "ledger": "ledger.jsonl: cannot be written",
}
SPARSE_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
Metrics = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One sweep that something befell: ``runs`` holds it, and as ``before-N.jsonl`` what each driver that did
    not come to the end left. ``reference`` is the ledger of the same sweep undisturbed."""

    runs: Path
    name: str
    reference: Path
    gang: bool = False


@dataclass
class Cell:
    """A row of the matrix, before it is judged. ``error``: why it could not be had."""

    fault: str
    cases: list[Case] = field(default_factory=list)
    note: str = ""
    error: str = ""


@dataclass
class Row:
    fault: str
    cases: int = 0
    before: int = 0
    lost: int = 0
    twice: int = 0
    finished: int = 0
    decisions: int = 0
    other_decisions: int = 0
    complete: int = 0
    equal: int = 0
    same_sets: int = 0
    note: str = ""
    error: str = ""

    @property
    def held(self) -> bool:
        whole = self.cases > 0 and self.finished > 0 and self.complete > 0 and not self.error
        clean = not (self.lost or self.twice or self.other_decisions)
        return whole and clean and self.equal == self.complete and self.same_sets == self.cases


# --- the cells in one process each ----------------------------------------------------------------------


class Local:
    """The undisturbed sweeps, and what befalls copies of them. ``at_once`` runs several at a time."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.cache = scratch, scratch / "cache"
        self.cache.mkdir()
        self.whole = scratch / "whole"
        for spec in (PLAIN, OPERATED, POPULATION, TWO_SLOTS):
            run(spec, self.whole, self.cache)
        self.played = scratch / "played"
        run(TWO_SLOTS, self.played, self.cache, curves=self.ledger(TWO_SLOTS))

    def ledger(self, spec: SweepSpec) -> Path:
        return self.whole / spec.name / LEDGER

    def killed(self, spec: SweepSpec, kind: str, number: int) -> Case:
        runs = self.scratch / f"{spec.name}-{kind}-{number}"
        run(spec, runs, self.cache, Fault("kill", kind, number))
        run(spec, runs, self.cache)
        return Case(runs, spec.name, self.ledger(spec))

    def kills(self, spec: SweepSpec, kinds: set[str]) -> list[tuple[SweepSpec, str, int]]:
        """After the middle and the last record of each kind."""
        counts = Counter(e["event"] for e in Ledger.read(self.ledger(spec)))
        return [
            (spec, kind, number)
            for kind in sorted(kinds)
            for number in sorted({(counts[kind] + 1) // 2, counts[kind]})
        ]

    def killed_again(self, kind: str) -> Case:
        """After a record that only a resumed sweep has: ``resumed``, or ``abandoned``, where the checkpoint
        to go on from is damaged."""
        runs = self.scratch / f"plain-{kind}"
        run(PLAIN, runs, self.cache, Fault("kill", "checkpointed", 5))
        if kind == "abandoned":
            last = [e for e in Ledger.read(runs / PLAIN.name / LEDGER) if e["event"] == "checkpointed"][-1]
            (runs / PLAIN.name / last["path"]).write_bytes(b"no checkpoint")
        run(PLAIN, runs, self.cache, Fault("kill", kind))
        run(PLAIN, runs, self.cache)
        return Case(runs, PLAIN.name, self.ledger(PLAIN))

    def killed_under_the_clock(self, number: int) -> Case:
        """After record ``number`` of two slots that play recorded curves."""
        runs, curves = self.scratch / f"played-{number}", self.ledger(TWO_SLOTS)
        kinds = [e["event"] for e in Ledger.read(self.played / TWO_SLOTS.name / LEDGER)[:number]]
        fault = Fault("kill", kinds[-1], kinds.count(kinds[-1]))
        run(TWO_SLOTS, runs, self.cache, fault, curves)
        run(TWO_SLOTS, runs, self.cache, None, curves)
        return Case(runs, TWO_SLOTS.name, self.played / TWO_SLOTS.name / LEDGER)

    def full_disk(self, where: str) -> Case:
        folder, kept = self.scratch / f"disk-{where}", self.scratch / f"kept-{where}"
        kept.mkdir()
        with small_disk(folder, DISK) as disk:
            run(PLAIN, folder / "runs", self.cache, Fault("disk", where, disk=folder), kept=kept)
            said = (folder / "runs" / "log.txt").read_text().splitlines()[-1]
            if FULL[where] not in said:
                raise RuntimeError(f"the disk was full for something else: {said}")
            disk.leave(ROOM)
            run(PLAIN, folder / "runs", self.cache)
            # The disk goes away with the mount; what is on it is judged later.
            shutil.copytree(folder / "runs", kept, dirs_exist_ok=True)
        return Case(kept, PLAIN.name, self.ledger(PLAIN))

    def interrupted(self, times: int) -> Case:
        runs = self.scratch / f"interrupted-{times}"
        run(PLAIN, runs, self.cache, Fault("interrupt", "5", times))
        run(PLAIN, runs, self.cache)
        return Case(runs, PLAIN.name, self.ledger(PLAIN))

    def interrupted_command(self, times: int) -> Case:
        """`ablate sweep` on Ray, with signals from outside; then `ablate resume`, inline."""
        runs = self.scratch / f"command-{times}"
        runs.mkdir()
        file = written(PLAIN, runs / "sweep.yaml")
        said, ledger = runs / "said.txt", runs / PLAIN.name / LEDGER
        with said.open("wb") as errors:
            process = subprocess.Popen(
                [ABLATE, "sweep", file, "--runs", runs, "--cache", self.cache],
                cwd=ROOT, env=os.environ | {"PYTHONFAULTHANDLER": "1"},
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            )  # fmt: skip
        _await(process, lambda: count(ledger, "reported") >= 4, "came as far as it was to be interrupted")
        with _standing_still(process) if times == 2 else nullcontext():  # else all may be saved too soon
            process.send_signal(signal.SIGINT)
            if times == 2:  # one that comes before the first was taken would count as the same
                _await(process, lambda: TAKEN in said.read_text(), "took the first signal")
                process.send_signal(signal.SIGINT)
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # tells where each of its threads is
                process.wait()
                print(said.read_text(errors="replace"), flush=True)
                raise RuntimeError("60 s after the signal the command had not ended") from None
        if code != INTERRUPTED[times]:
            raise RuntimeError(f"after {times} signal(s) the command ended with {code}")
        keep(ledger, runs)
        command(["resume", PLAIN.name, "--runs", runs, "--backend", "inline", "--cache", self.cache])
        return Case(runs, PLAIN.name, self.ledger(PLAIN))


@contextmanager
def _standing_still(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Within it the command's slots do nothing, so that no trial can be saved."""
    children = psutil.Process(process.pid).children(recursive=True)
    slots = [c for c in children if "".join(c.cmdline()[:1]).startswith("ray::ResourceTrainable")]
    if not slots:
        raise RuntimeError("the command has no slot")
    for slot in slots:
        slot.suspend()
    try:
        yield
    finally:
        for slot in slots:
            with suppress(psutil.NoSuchProcess):
                slot.resume()


def _await(process: subprocess.Popen[bytes], reached: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"the command never {what}")
        time.sleep(0.05)


def count(ledger: Path, kind: str) -> int:
    return sum(e["event"] == kind for e in Ledger.read(ledger)) if ledger.exists() else 0


def written(spec: SweepSpec, file: Path) -> Path:
    file.write_text(dump_yaml(spec.as_dict()))
    return file


def command(words: list[str | Path], **environment: str) -> str:
    done = subprocess.run(
        [ABLATE, *words], cwd=ROOT, env=os.environ | environment, timeout=PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"ablate {words[0]} ended with {done.returncode}: {done.stderr[-200:]}")
    return done.stdout + done.stderr


# --- MLflow --------------------------------------------------------------------------------------------


def without_mlflow(local: Local) -> Cell:
    """Its server is not there while the sweep runs; then it is, and two resumes bring it all in, once."""
    runs = local.scratch / "mlflow"
    runs.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    file = written(PLAIN.model_validate({**PLAIN.as_dict(), "tracking": {"uri": uri}}), runs / "sweep.yaml")
    options: list[str | Path] = ["--runs", runs, "--backend", "inline", "--cache", local.cache]
    said = command(["sweep", file, *options], **SPARSE_RETRIES)
    if "lacks a part of this sweep" not in " ".join(said.split()):
        raise RuntimeError("nothing was said of the store that is out of reach")
    keep(runs / PLAIN.name / LEDGER, runs)
    with server(runs, port):
        found = []
        for _ in range(2):
            command(["resume", PLAIN.name, *options], **SPARSE_RETRIES)
            found.append(in_mlflow(uri))
    trials, reports = (count(runs / PLAIN.name / LEDGER, kind) for kind in ("finished", "reported"))
    if found != [(trials + 1, reports)] * 2:
        raise RuntimeError(f"MLflow holds (runs, reports) {found}, the ledger {trials} trials, {reports}")
    note = f"then in MLflow: {trials} trials and their sweep, {reports} reports, each once"
    return Cell("MLflow down", [Case(runs, PLAIN.name, local.ledger(PLAIN))], note)


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    program = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", folder / "store",
    ]  # fmt: skip
    with (folder / "server.txt").open("w") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        until = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no MLflow server: {(folder / 'server.txt').read_text()[-200:]}")
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def in_mlflow(uri: str) -> tuple[int, int]:
    """Runs, and epochs for which they have metrics."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments)
    metric = "probe.h.val"
    points = [
        len(client.get_metric_history(r.info.run_id, metric))
        for r in runs
        if "mlflow.parentRunId" in r.data.tags
    ]
    return len(runs), sum(points)


# --- Ray -----------------------------------------------------------------------------------------------

ON_RAY = {
    "worker": ("worker killed amid a step (ray, one slot)", PLAIN),
    "orphaned": ("driver SIGKILLed, resumed at once while old workers write (ray)", PLAIN),
    "crowded": ("another job holds the CPUs (ray)", PLAIN),
    "rank-1": (
        "rank 1 of a gang of 2 killed amid a step; room for one gang",
        GANGS,
    ),
    "cleaning": ("the same of rank 0, with placement groups cleaned 5 s late", GANGS),
    "node": ("node of a multi-raylet cluster killed (two slots)", TWO_SLOTS),
    "noticed": ("node of a multi-raylet cluster noticed that it will be taken away (two slots)", TWO_SLOTS),
    "noticed-rank": ("the same of the node of a gang's second rank", GANGS),
}


def on_ray(local: Local, chosen: list[str]) -> list[Cell]:
    scratch = local.scratch / "ray"
    scratch.mkdir()
    program = [sys.executable, "-m", "tests.evidence.fault_ray", str(scratch), *chosen]
    with (scratch / "log.txt").open("w") as log:
        code = subprocess.run(program, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    told = json.loads((scratch / "ray.json").read_text()) if (scratch / "ray.json").exists() else {}
    cells = []
    for name, (fault, spec) in ON_RAY.items():
        if chosen and name not in chosen:
            continue
        found = told.get(name, {"note": "", "error": f"its process ended with {code} before it"})
        gang = spec is GANGS
        reference = scratch / "undisturbed-gangs" / spec.name / LEDGER if gang else local.ledger(spec)
        cases = [] if found["error"] else [Case(scratch / name, spec.name, reference, gang)]
        cells.append(Cell(fault, cases, found["note"], found["error"]))
    return cells


# --- judging -------------------------------------------------------------------------------------------


class Judge:
    """Trains each configuration once, alone, whichever cells have it."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._known: dict[tuple[Stage, ...], Metrics] = {}

    def rows(self, cells: list[Cell]) -> list[Row]:
        self._train({s for cell in cells for case in cell.cases if not case.gang for s in _wanted(case)})
        return [self._row(cell) for cell in cells]

    def _train(self, jobs: set[tuple[Stage, ...]]) -> None:
        scratch = self._local.scratch / "alone"
        scratch.mkdir()
        with ProcessPoolExecutor(AT_A_TIME, mp_context=SERVER) as pool:
            ordered = sorted(jobs, key=str)
            count = len(ordered)
            results = pool.map(alone, ordered, [self._local.cache] * count, [scratch] * count)
            self._known = dict(zip(ordered, map(_bare, results), strict=True))

    def _row(self, cell: Cell) -> Row:
        row = Row(cell.fault, note=cell.note, error=cell.error)
        for case in cell.cases:
            try:
                self._judge(row, case)
            except Exception as error:  # a ledger that cannot be read, say: a cell of its own
                row.error = f"{type(error).__name__}: {error}"[:200]
        return row

    def _judge(self, row: Row, case: Case) -> None:
        events, reference = Ledger.read(case.runs / case.name / LEDGER), Ledger.read(case.reference)
        row.cases += 1
        before = _before(case, events)
        row.before += len(before)
        row.lost += sum(e not in events for e in before)
        row.twice += run_twice(events)
        row.finished += sum(e["event"] == "finished" for e in events)
        row.decisions += sum(e["event"] in DECISIONS for e in events)
        try:
            replay(events)
        except Exception as error:
            row.other_decisions += 1
            row.error = str(error)[:200]
        row.same_sets += outcomes(events) == outcomes(reference)
        expected = _of_gang(reference) if case.gang else self._known
        for stages, metrics in _complete(events):
            row.complete += 1
            row.equal += expected.get(stages) == metrics


def _wanted(case: Case) -> list[tuple[Stage, ...]]:
    return [stages for stages, _ in _complete(Ledger.read(case.runs / case.name / LEDGER))]


def _complete(events: list[Event]) -> list[tuple[tuple[Stage, ...], Metrics]]:
    """How each COMPLETE trial is trained alone, and what the sweep recorded of it."""
    asked = {e["trial"]: e for e in events if e["event"] == "asked"}

    def stages(trial: str, until: int | None) -> tuple[Stage, ...]:
        own = asked[trial]
        before = stages(own["parent"], own["checkpoint"]["epoch"]) if own["parent"] else ()
        return (*before, (json.dumps(own["spec"], sort_keys=True), until))

    return [
        (stages(e["trial"], None), _bare(e["metrics"]))
        for e in events
        if e["event"] == "finished" and e["state"] == "COMPLETE"
    ]


def _of_gang(reference: list[Event]) -> dict[tuple[Stage, ...], Metrics]:
    return dict(_complete(reference))


def _bare(metrics: Metrics) -> Metrics:
    return {name: value for name, value in metrics.items() if name not in NOT_REPEATABLE}


def _before(case: Case, events: list[Event]) -> list[Event]:
    """What had finished when the last driver was lost, or, under one driver, the last slot."""
    kept = sorted(case.runs.glob("before-*.jsonl"))
    if kept:
        return [e for path in kept for e in Ledger.read(path) if e["event"] == "finished"]
    last = max((e["sequence"] for e in events if e["event"] == "abandoned"), default=0)
    return [e for e in events[:last] if e["event"] == "finished"]


def run_twice(events: list[Event]) -> int:
    """Trials that were handed out, reported or finished after they had finished, without a retry."""
    over: set[str] = set()
    twice: set[str] = set()
    for event in events:
        trial = event.get("trial", "")
        if event["event"] == "retried":
            over.discard(trial)
        elif event["event"] in ("started", "reported", "checkpointed", "finished") and trial in over:
            twice.add(trial)
        if event["event"] == "finished":
            over.add(trial)
    return len(twice)


def outcomes(events: list[Event]) -> dict[str, Any]:
    """What became of each trial: its spec, state, epochs and every number but the clock's."""
    specs = {e["trial"]: e["spec"] for e in events if e["event"] == "asked"}
    return {
        e["trial"]: (specs[e["trial"]], e["state"], e["epochs"], _bare(e["metrics"]))
        for e in events
        if e["event"] == "finished"
    }


# --- the matrix ----------------------------------------------------------------------------------------


def by_kind(kills: list[tuple[SweepSpec, str, int]], local: Local) -> list[tuple[str, Callable[[], Case]]]:
    return [
        (f"driver SIGKILLed after `{kind}`", partial(local.killed, spec, kind, number))
        for spec, kind, number in kills
    ]


def local_cells(local: Local) -> list[Cell]:
    kinds = {e["event"] for e in Ledger.read(local.ledger(OPERATED))}
    tasks = by_kind(local.kills(OPERATED, kinds) + local.kills(POPULATION, {"asked", "paused"}), local)
    records = len(Ledger.read(local.played / TWO_SLOTS.name / LEDGER))
    tasks += [
        *((f"driver SIGKILLed after `{k}`", partial(local.killed_again, k))
          for k in ("resumed", "abandoned")),
        *(("driver SIGKILLed; two slots, virtual clock", partial(local.killed_under_the_clock, n))
          for n in range(1, records + 1, 8)),
        *((f"disk full: {w}", partial(local.full_disk, w)) for w in FULL),
        *((f"SIGINT {w} (inline)", partial(local.interrupted, n)) for n, w in ((1, "once"), (2, "twice"))),
    ]  # fmt: skip
    cells: dict[str, Cell] = {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for fault, done in zip((f for f, _ in tasks), pool.map(attempt, (t for _, t in tasks)), strict=True):
            cell = cells.setdefault(fault, Cell(fault))
            if isinstance(done, Case):
                cell.cases.append(done)
            else:
                cell.error = done
    return [cells[fault] for fault in sorted(cells, key=str.casefold)]


def attempt(task: Callable[[], Case]) -> Case | str:
    """One failing cell is a row of the matrix, not the end of it."""
    try:
        return task()
    except pytest.skip.Exception as skipped:
        return f"not run: {skipped}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:700]}"


def command_cells(local: Local) -> list[Cell]:
    cells = []
    for times, word in ((1, "once"), (2, "twice")):
        fault = f"SIGINT {word} (`ablate sweep` on ray)"
        done = attempt(partial(local.interrupted_command, times))
        cells.append(Cell(fault, [done]) if isinstance(done, Case) else Cell(fault, error=done))
    try:
        cells.append(without_mlflow(local))
    except Exception as error:
        cells.append(Cell("MLflow down", error=" ".join(str(error).split())[:200]))
    return cells


def matrix(scratch: Path) -> list[Row]:
    local = Local(scratch)
    return Judge(local).rows([*local_cells(local), *command_cells(local), *on_ray(local, [])])


HEAD = (
    "fault", "sweeps", "finished before it", "of them lost", "run twice", "finished at the end",
    "decisions replayed", "COMPLETE equal to `ablate train`", "same set as undisturbed", "held",
)  # fmt: skip


NOTES = (
    "- A gang of two is compared with an undisturbed gang of two, not with `ablate train`: one process.",
    "- Under the virtual clock nothing is trained: the numbers are those that a real sweep recorded.",
    "- MLflow down: the sweep comes to its end all the same; what finished before is what was then resumed.",
)


def table(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for r in rows:
        replayed = f"{r.decisions} of {r.decisions}" if not r.other_decisions else "no"
        equal, same = f"{r.equal} of {r.complete}", f"{r.same_sets} of {r.cases}"
        cells = (r.cases, r.before, r.lost, r.twice, r.finished, replayed, equal, same)
        held = "yes" if r.held else "**no**"
        lines.append(f"| {r.fault} | {' | '.join(map(str, cells))} | {held} |")
    notes = [*NOTES, *(f"- {r.fault}: {r.error or r.note}" for r in rows if r.error or r.note)]
    return "\n".join([*lines, "", *notes])


@check("faults")
def fault_matrix(scratch: Path) -> Finding:
    rows = matrix(scratch)
    text = table(rows)
    print(text, flush=True)
    kinds = sum(row.fault.startswith("driver SIGKILLed after") for row in rows)
    return Finding(
        f"Whatever dies, and whenever (SIGKILL after each of {kinds} kinds of record among others), nothing "
        "that finished is lost or run twice, the ledger replays to the same decisions, every completed trial "
        "equals the same spec trained alone (a gang: the same gang undisturbed) bit for bit, and the set of "
        "finished trials is that of the undisturbed sweep.",
        all(row.held for row in rows),
        {row.fault: {k: v for k, v in vars(row).items() if k != "fault"} for row in rows},
        text,
    )
