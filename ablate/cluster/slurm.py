"""Sweeps as batch jobs of Slurm: the cluster is there already, and a script says what to take of it.

Slurm's own commands are all that is asked, on a machine that has them; its accounting is not needed. A
sweep's job is called ``ablate-<sweep>``, which is how it is found again, and is queued from the project's
folder, which the nodes see as well: nothing is copied.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.cluster.kind import ClusterError, Submission

_PREFIX = "ablate-"  # of the names of jobs
_OPTION = re.compile(r"[a-z][a-z-]*")
OVER = (  # states of jobs that come to no other
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "TIMEOUT",
)  # fmt: skip
_FORGOTTEN = "FORGOTTEN"  # Slurm keeps jobs for some minutes after their end
_LOOK = 2.0  # seconds between looks at what a job has printed
_PATIENCE = 60.0  # seconds for an answer of Slurm
_FORMAT = "%i|%j|%T|%M|%D|%R|%o"


@dataclass(frozen=True)
class Job:
    """``where``: its nodes, or, in brackets, why it waits. ``command``: the script's path and arguments."""

    id: int
    name: str
    state: str
    elapsed: str
    nodes: str
    where: str
    command: str

    @property
    def over(self) -> bool:
        return self.state in OVER

    def __str__(self) -> str:
        return f"{self.id} {self.name} {self.state} {self.elapsed} on {self.nodes} node(s) {self.where}"


class SlurmCluster:
    """The jobs that come from the batch script ``path``; ``sets`` are long options of sbatch, KEY=VALUE.

    Methods raise ClusterError.
    """

    def __init__(self, path: Path, sets: Sequence[str] = ()) -> None:
        self.path, self._options = path, [_option(value) for value in sets]

    def up(self, *, dry_run: bool) -> None:  # noqa: ARG002  (there is nothing that could be done)
        print(
            f"nothing to bring up: Slurm's nodes are there. `ablate cluster submit {self.path} FILE` queues "
            "a sweep, whose nodes go back to Slurm when it has ended."
        )

    def down(self, *, dry_run: bool) -> None:
        jobs = [job for job in _jobs() if f"{job.command} ".startswith(f"{self.path.resolve()} ")]
        if not jobs:
            print(f"no job of {self.path} is queued or running: there is nothing to cancel")
            return
        for job in jobs:
            print(f"{'would cancel' if dry_run else 'cancels'} {job}")
        if not dry_run:
            _ask("scancel", *(str(job.id) for job in jobs))
            print("running trials save, if Slurm's KillWait lets them; submitting again goes on")

    def status(self) -> str:
        jobs = [job for job in _jobs("--states=all") if job.name.startswith(_PREFIX)]
        lines = [_ask("sinfo", "--format=%12P %6D %11T %8c %20G").rstrip(), ""]
        return "\n".join([*lines, *map(str, jobs)] if jobs else [*lines, "no sweep is queued or running"])

    def submit(self, submission: Submission, *, dry_run: bool) -> str:
        """See ``Cluster.submit``; a job's name is its number."""
        project, name = submission.project.resolve(), f"{_PREFIX}{submission.name}"
        if not (project / submission.file).is_file():
            raise ClusterError(f"{project / submission.file}: there is no such file")
        words = ["sbatch", "--parsable", f"--job-name={name}", *self._options, str(self.path.resolve())]
        words += _words(submission)
        if dry_run:
            print(f"in {project}: {shlex.join(words)}\nnothing is copied: the nodes have to see this folder")
            return name
        if running := _jobs(f"--name={name}"):
            raise ClusterError(
                f"{submission.name}: job {running[-1].id} is {running[-1].state}, and a sweep has one "
                f"driver; see it with `ablate cluster logs {self.path} {submission.name} --follow`"
            )
        number = _ask(*words, cwd=project).strip().partition(";")[0]  # after ";" the name of the cluster
        print(f"nothing is copied: the nodes read and write {project}, which all of them have to see")
        return number

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """See ``Cluster.logs``; pieces of text as they come, over all the times that the job was started."""
        jobs = _jobs("--states=all", f"--name={_PREFIX}{name}")
        if not jobs:
            raise ClusterError(
                f"Slurm knows no job of a sweep called {name}, or no more; what one printed is in "
                f"{_PREFIX}{name}-JOB.log in the folder that it was submitted from"
            )
        job = max(jobs, key=lambda job: job.id)
        file, decoder, read = _output(job), codecs.getincrementaldecoder("utf-8")("replace"), 0
        while True:
            state = job.state if job.over else _state(job.id)  # first: the last words come before the end
            if file.exists():
                with file.open("rb") as output:
                    output.seek(read)
                    said = output.read()
                read += len(said)
                yield decoder.decode(said)
            if state in (*OVER, _FORGOTTEN) or not follow:
                break
            time.sleep(_LOOK)
        if state == "CANCELLED":
            raise ClusterError(f"job {job.id} was cancelled; submit the sweep again and it goes on")
        if state == _FORGOTTEN:
            raise ClusterError(f"Slurm has forgotten how job {job.id} ended; see `ablate status {name}`")
        if state in OVER and state != "COMPLETED":
            raise ClusterError(f"job {job.id} ended as {state}; its last words are above, and in {file}")


def _option(value: str) -> str:
    """An option of sbatch that was given as KEY=VALUE. Raises ClusterError for what is none."""
    key, equals, _ = value.partition("=")
    if not equals or not _OPTION.fullmatch(key):
        raise ClusterError(
            f"--set {value}: of a Slurm script only long options of sbatch can be set, such as "
            "partition=NAME, nodes=4 or gpus-per-node=2"
        )
    if key == "job-name":
        raise ClusterError(f"--set {value}: the name says which sweep the job runs, and cannot be set")
    return f"--{value}"


def _words(submission: Submission) -> list[str]:
    """The script's arguments: the sweep's file and the options of `ablate sweep`. It adds --resume itself."""
    words = [word for word in submission.command(address=None)[2:] if word != "--resume"]
    words[words.index("--runs") + 1] = os.path.expanduser(submission.runs)  # no shell will
    return words


def _jobs(*options: str) -> list[Job]:
    """This user's jobs that Slurm knows and that wait or run; or as the options of squeue say."""
    found = _ask("squeue", "--me", "--noheader", f"--format={_FORMAT}", *options)
    rows = [line.split("|", _FORMAT.count("|")) for line in found.splitlines()]
    return [Job(int(row[0]), *row[1:]) for row in rows if row[0].isdecimal()]  # not those of an array


def _state(job: int) -> str:
    known = [each.state for each in _jobs("--states=all") if each.id == job]
    return known[0] if known else _FORGOTTEN


def _output(job: Job) -> Path:
    """The file that a job prints to, as Slurm has it."""
    found = re.search(r"^\s*StdOut=(.+)$", _ask("scontrol", "show", "job", str(job.id)), re.MULTILINE)
    if found is None:
        raise ClusterError(f"Slurm does not say where job {job.id} prints to")
    return Path(found[1])


def _ask(*words: str, cwd: Path | None = None) -> str:
    """What a command of Slurm's prints. Raises ClusterError."""
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False
        )
    except FileNotFoundError:
        raise ClusterError(
            f"{words[0]}: there is no such command here; do this where Slurm's are, say on a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{words[0]} has not answered within {_PATIENCE:g} seconds") from None
    if done.returncode:
        raise ClusterError(f"{words[0]} says: {' '.join(done.stderr.split())[-600:]}")
    return done.stdout
