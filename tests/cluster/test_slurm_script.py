"""``clusters/slurm.sbatch`` without Slurm: what it does with signals, the token, ports and failures."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster.slurm_project import SCRIPT, Project

PATIENCE = 30.0
_SLURM = {
    # A job that is over cannot be queued again.
    "scontrol": """
case "$*" in
  "show hostnames "*) tr ' ' '\\n' <<<"$NODES" ;;
  "show node "*) echo "NodeName=$3 NodeAddr=127.0.0.1 State=MIXED" ;;
  "requeue Incomplete "*) [ ! -e over ] && echo "$3" >>requeued ;;
esac
""",
    "srun": """
while [[ "$1" == --* ]]; do shift; done
export SLURMD_NODENAME=node-2 SLURM_PROCID=0 SLURM_JOB_ID=$((SLURM_JOB_ID + 1))  # as if on another machine
exec "$@"
""",
    "scancel": 'echo "$*" >>told',
}


SLOW_TO_SWEEP = f"""#!/bin/sh
case "$*" in *" ablate sweep "*)
  touch waits
  while [ -e slow-python ]; do sleep 0.02; done ;;
esac
exec {sys.executable} "$@"
"""


class Job:
    """The script under way in a project, as Slurm would start it."""

    def __init__(self, project: Project, number: int, nodes: str = "node-1", **environment: str) -> None:
        self.project, self.folder, self.number = project, project.folder, number
        given = {
            "SLURM_JOB_ID": str(number),
            "SLURM_SUBMIT_DIR": str(self.folder),
            "SLURM_JOB_NODELIST": nodes,
            "SLURMD_NODENAME": "node-1",
            "SLURM_CPUS_PER_TASK": "3",
            "NODES": nodes,
        }
        path = f"{self.folder / 'slurm'}:/usr/bin:/bin"
        with (self.folder / "job.log").open("w") as log:
            self.process = subprocess.Popen(
                ["bash", SCRIPT, "sweep.yaml", "--runs", "there"],
                cwd="/", env={"PATH": path, **given, **environment}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return (self.folder / "job.log").read_text()

    def until(self, reached: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"not after {PATIENCE:g} s:\n{self.log}"
            time.sleep(0.02)

    def running(self) -> None:
        self.until(lambda: self.project.said("ablate", "began"))

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def left(self) -> list[Path]:
        """What is still there of the token, and of Ray's folders on the two nodes."""
        places = [Path("/tmp").glob(f"ablate-{number}-*") for number in (self.number, self.number + 1)]
        return [*self.folder.glob(".slurm-*"), *places[0], *places[1]]

    def requeued(self) -> bool:
        return (self.folder / "requeued").exists()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "slurm").mkdir()
    for name, body in _SLURM.items():
        (tmp_path / "slurm" / name).write_text(f"#!/bin/bash\n{body}")
        (tmp_path / "slurm" / name).chmod(0o755)
    return Project(tmp_path)


@pytest.fixture
def start(project: Project) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def begin(nodes: str = "node-1", **environment: str) -> Job:
        jobs.append(Job(project, 10 * os.getpid() + 2 * len(jobs), nodes, **environment))
        return jobs[-1]

    yield begin
    project.finish()
    for job in jobs:
        try:
            job.ends()
        finally:
            job.process.kill()


def options(said: dict[str, list[str]]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in said["words"])


def test_it_parses() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_what_is_missing_is_said_before_anything_is_started(project: Project) -> None:
    def refusal(*words: str, **environment: str) -> str:
        given = {"PATH": "/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(project.folder), **environment}
        command = ["bash", SCRIPT, *words]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "this is for Slurm: sbatch" in refusal("sweep.yaml")
    assert "which sweep?" in refusal(SLURM_JOB_ID="1")
    assert "other.yaml: there is no such file in" in refusal("other.yaml", SLURM_JOB_ID="1")
    (project.folder / ".venv/bin/ablate").unlink()
    assert "run clusters/setup.sh" in refusal("sweep.yaml", SLURM_JOB_ID="1")
    assert not project.said("ray")


@pytest.mark.parametrize("status", [0, 3])
def test_the_sweep_runs_on_what_was_granted_and_its_status_is_the_jobs(
    project: Project, start: Callable[..., Job], status: int
) -> None:
    job = start(CUDA_VISIBLE_DEVICES="4,7", RAY_ADDRESS="elsewhere:1", RAY_AUTH_TOKEN="another")
    job.running()
    project.finish(status)
    assert job.ends() == status
    head, sweep = project.said("ray", "began")[0], project.said("ablate", "began")[0]
    given = options(head)
    assert (given["--num-cpus"], given["--num-gpus"]) == ("3", "2")
    assert given["--dashboard-host"] == "127.0.0.1"
    assert sweep["words"] == ["sweep", "sweep.yaml", "--runs", "there", "--resume",
                              f"--address=127.0.0.1:{given['--port']}"]  # fmt: skip
    for said in (head, sweep):
        assert said["environment"]["RAY_AUTH_MODE"] == "token"
        assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN"} & set(said["environment"])
    assert not job.left()
    assert not job.requeued()


@pytest.mark.parametrize("devices", ["", "NoDevFiles"])
def test_gpus_that_were_not_granted_are_not_taken(
    project: Project, start: Callable[..., Job], devices: str
) -> None:
    job = start(CUDA_VISIBLE_DEVICES=devices)
    job.running()
    assert options(project.said("ray", "began")[0])["--num-gpus"] == "0"


def test_the_token_is_in_a_file_of_its_owner_and_nowhere_else(
    project: Project, start: Callable[..., Job]
) -> None:
    job = start(nodes="node-1 node-2")
    job.running()
    job.until(lambda: len(project.said("ray", "began")) == 2)
    token = (project.folder / "token").read_text()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert project.said("ablate", "began")[0]["modes"] == [0o700, 0o600]
    assert token not in (project.folder / "said.jsonl").read_text()  # words and environment of all processes
    project.finish()
    assert job.ends() == 0
    assert token not in job.log
    assert not job.left()


def test_near_the_time_limit_the_sweep_saves_and_the_job_is_queued_again(
    project: Project, start: Callable[..., Job]
) -> None:
    (project.folder / "slow-save").touch()
    job = start()
    job.running()
    job.process.send_signal(signal.SIGUSR1)
    job.until(lambda: project.said("ablate", "SIGINT"))
    for again in (signal.SIGUSR1, signal.SIGTERM):  # a second SIGINT would abandon what is being saved
        job.process.send_signal(again)
        time.sleep(0.1)
    (project.folder / "slow-save").unlink()
    assert job.ends() == 1
    assert len(project.said("ablate", "SIGINT")) == 1
    assert job.requeued()
    assert not job.left()


def test_a_notice_while_ray_starts_is_heard(project: Project, start: Callable[..., Job]) -> None:
    (project.folder / "slow-ray").touch()
    job = start()
    job.until(lambda: project.said("ray", "began"))
    job.process.send_signal(signal.SIGUSR1)
    assert job.ends() == 1
    assert job.requeued()
    assert not project.said("ablate")


def test_a_notice_while_the_sweep_is_started_is_heard(project: Project, start: Callable[..., Job]) -> None:
    python, slow, waits = (project.folder / name for name in (".venv/bin/python", "slow-python", "waits"))
    slow.touch()
    python.unlink()
    python.write_text(SLOW_TO_SWEEP)
    python.chmod(0o755)
    job = start()
    job.until(waits.exists)
    job.process.send_signal(signal.SIGUSR1)
    job.until(lambda: "running trials save" in job.log)
    slow.unlink()
    assert job.ends() in (1, 130)  # it was interrupted, as `ablate` or before it was that
    assert job.requeued()
    assert not job.left()


def test_a_sweep_that_is_terminated_ends_the_job(project: Project, start: Callable[..., Job]) -> None:
    (project.folder / "be-terminated").touch()
    job = start()
    assert job.ends() == 143
    assert not job.left()


@pytest.mark.parametrize("cancelled", [False, True])
def test_sigterm_to_all_processes_lets_the_sweep_save_first(
    project: Project, start: Callable[..., Job], cancelled: bool
) -> None:
    if cancelled:
        (project.folder / "over").touch()
    job = start()
    job.running()
    for process in (*psutil.Process(job.process.pid).children(recursive=True), job.process):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    assert job.ends() == 1
    first = [said["who"] for said in (*project.said("ablate", "SIGINT"), *project.said("ray", "SIGINT"))]
    assert first == ["ablate", "ray"]  # each was interrupted, and none was terminated
    assert job.requeued() is not cancelled
    assert ("submit again" in job.log) is cancelled


def test_a_ray_that_does_not_start_ends_the_job_with_its_words(
    project: Project, start: Callable[..., Job]
) -> None:
    (project.folder / "no-ray").touch()
    job = start()
    assert job.ends() == 1
    assert "Ray does not start: ray: no such luck" in job.log
    assert not job.requeued()
    assert not job.left()


def test_jobs_on_one_node_have_ports_of_their_own(project: Project, start: Callable[..., Job]) -> None:
    first = 20000 + 10 * os.getpid() % 1000 * 10
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        jobs = [start(), start()]
        for job in jobs:
            job.until(lambda: len(project.said("ray", "began")) == len(jobs))
    names = ("--port", "--ray-client-server-port", "--dashboard-port")
    ports = [int(options(said)[name]) for said in project.said("ray", "began") for name in names]
    assert len(set(ports)) == 6
    assert first not in ports


def test_other_nodes_join_and_join_again(project: Project, start: Callable[..., Job]) -> None:
    job = start(nodes="node-1 node-2")
    job.running()
    job.until(lambda: len(project.said("ray", "began")) == 2)
    said = sorted(project.said("ray", "began"), key=lambda ray: "--head" not in ray["words"])
    head, worker = options(said[0]), options(said[1])
    assert worker["--address"] == f"127.0.0.1:{head['--port']}"
    assert (worker["--num-cpus"], worker["--node-ip-address"]) == ("3", "127.0.0.1")
    (project.folder / "die-worker").touch()
    job.until(lambda: "Ray ended; it said: ray: died" in job.log)
    (project.folder / "die-worker").unlink()
    job.until(lambda: len(project.said("ray", "began")) >= 3)
    project.finish()
    assert job.ends() == 0
    assert not job.left()


def test_a_node_that_is_told_of_the_pre_emption_passes_it_on(
    project: Project, start: Callable[..., Job]
) -> None:
    job = start(nodes="node-1 node-2")
    job.running()
    job.until(lambda: len(project.said("ray", "began")) == 2)
    [node] = [p for p in psutil.Process(job.process.pid).children() if p.cmdline()[:2] == ["bash", "-c"]]
    node.send_signal(signal.SIGTERM)
    told = project.folder / "told"
    job.until(lambda: told.exists() and told.read_text().endswith("\n"))
    assert told.read_text() == f"--signal=USR1 --batch {job.number + 1}\n"
    job.until(lambda: len(project.said("ray", "asked")) >= 2)  # it looks each second if the head is there
    assert node.is_running()
    (project.folder / "die-head").touch()
    job.until(lambda: not node.is_running())
    assert not any(Path("/tmp").glob(f"ablate-{job.number + 1}-*"))
