"""A real Slurm on the hosts of ``tests.cluster.hosts``: slurmctld on the first, slurmd on the others.

    with hosts("login", "node-1", "node-2", shared=[folder]) as net, slurm(net, folder) as cluster:
        cluster.run("sbatch", "job.sh")             # on the first host, which runs no jobs
        cluster.wait(7, "COMPLETED")

Nothing is the machine's own: configuration, key and state lie in ``folder``, which all hosts share, sockets
and spool in each host's /run. All daemons, and whatever their jobs leave, end with the hosts. Nodes have two
CPUs and two devices that pass for GPUs. Jobs of partition ``high`` pre-empt those of ``low`` and ``abrupt``,
which are queued again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.cluster.hosts import Host, Hosts
from tests.cluster.hosts import missing as no_hosts

T = TypeVar("T")
PATIENCE = 60.0
CPUS, GPUS = 2, ("/dev/zero", "/dev/full")  # any devices: nothing looks into them
_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")
_SOCKET = "/run/munge.socket"
_CONFIG = """\
ClusterName=ablate
SlurmctldHost={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={socket},cred_expire={again}
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={kill_wait}
SlurmdTimeout=10
ReturnToService=2
MpiDefault=none
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={nodes} CPUs={cpus} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=low Nodes={nodes} Default=YES PriorityTier=1 GraceTime={grace} State=UP
PartitionName=abrupt Nodes={nodes} PriorityTier=1 GraceTime=0 State=UP
PartitionName=high Nodes={nodes} PriorityTier=2 PreemptMode=OFF State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    return no_hosts()


def require_slurm() -> None:
    """Skip the test, with the reason, where there can be no Slurm."""
    if reason := missing():
        pytest.skip(reason)


@dataclass(frozen=True)
class Slurm:
    """``login`` is the host on which commands are given."""

    login: Host
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What a command on the login host prints. Raises RuntimeError with its output if it fails."""
        done = self.login.run(
            *words, env=self.environment | dict(env or {}), cwd=cwd or self.folder, check=check
        )
        return done.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says, by key."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", "--oneliner", job)))

    def wait(self, job: str, *states: str, restarts: int = 0, patience: float = PATIENCE) -> dict[str, str]:
        """Wait until a job that was started so many times again is in one of these states, and return it."""

        def reached() -> dict[str, str] | None:
            found = self.job(job)
            return found if found["JobState"] in states and int(found["Restarts"]) >= restarts else None

        return until(reached, f"job {job} was to be {' or '.join(states)}", patience, self.last_words)

    def last_words(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def until(
    reached: Callable[[], T | None],
    what: str,
    patience: float = PATIENCE,
    last_words: Callable[[], str] = str,
) -> T:
    """What ``reached`` gives once that is something. Raises RuntimeError if it never does."""
    deadline = time.monotonic() + patience
    while not (found := reached()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}, and is not after {patience:g} s\n{last_words()}")
        time.sleep(0.1)
    return found


@contextmanager
def slurm(
    net: Hosts, folder: Path, *, grace: int = 0, kill_wait: int = 30, again: int = 5
) -> Iterator[Slurm]:
    """Slurm on all hosts but the operator's, once all nodes are idle. ``grace``: seconds that a pre-empted
    job of partition ``low`` has, of ``abrupt`` none; ``again``: that a job which is queued again waits."""
    login, *nodes = [host for host in net.values() if host is not net.operator]
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    config = _CONFIG.format(
        controller=login.name, socket=_SOCKET, folder=folder, again=again, grace=grace, kill_wait=kill_wait,
        nodes=",".join(node.name for node in nodes), cpus=CPUS, gpus=len(GPUS),
    )  # fmt: skip
    (folder / "slurm.conf").write_text(config)
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in GPUS))
    cluster = Slurm(login, folder)
    daemons = [_munged(host, folder) for host in (login, *nodes)]
    daemons.append(_daemon(login, cluster, "slurmctld", "-i"))
    daemons += [_daemon(node, cluster, "slurmd") for node in nodes]

    def idle() -> bool:
        ended = [d.args for d in daemons if d.poll() is not None]
        if ended:
            raise RuntimeError(f"a daemon ended: {ended}\n{cluster.last_words()}")
        found = cluster.run("sinfo", "--noheader", "--Node", "--partition=low", "--format=%T", check=False)
        return found.split() == ["idle"] * len(nodes)

    try:
        until(idle, "all nodes were to be idle", PATIENCE, cluster.last_words)
        yield cluster
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()


def _munged(host: Host, folder: Path) -> subprocess.Popen[str]:
    words = ["munged", "--foreground", "--force", f"--key-file={folder / 'munge.key'}"]
    words += [f"--{kind}-file=/run/munged.{kind}" for kind in ("pid", "seed", "log")]
    words.append(f"--socket={_SOCKET}")
    daemon = host.start(*words, log=folder / f"munged-{host.name}.log")
    munge = ["munge", "--no-input", "--output=/dev/null", f"--socket={_SOCKET}"]
    until(lambda: host.run(*munge, check=False).returncode == 0, f"munged was to answer on {host.name}")
    return daemon


def _daemon(host: Host, cluster: Slurm, *words: str) -> subprocess.Popen[str]:
    log = cluster.folder / f"{words[0]}-{host.name}.log"
    return host.start(*words, "-D", log=log, env=cluster.environment)
