"""``clusters/slurm.sbatch`` and ``SlurmCluster`` on a real Slurm; `ray` and `ablate` are stand-ins.

With the real ones: `make evidence NAME=slurm`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ablate.cluster.kind import ClusterError
from ablate.cluster.slurm import SlurmCluster
from tests.cluster.hosts import Hosts, hosts
from tests.cluster.slurm_daemons import Slurm, require_slurm, slurm, until
from tests.cluster.slurm_project import SCRIPT, Project

GRACE = 20  # seconds between the word of pre-emption and the end; never waited for


@dataclass(frozen=True)
class Site:
    net: Hosts
    slurm: Slurm

    def project(self, name: str) -> Project:
        return Project(self.slurm.folder / name)

    def submit(self, project: Project, *options: str) -> str:
        words = ("sbatch", "--parsable", *options, SCRIPT, "sweep.yaml")
        return self.slurm.run(*words, cwd=project.folder)

    def began(self, project: Project, who: str, times: int) -> None:
        words = f"{who} was to begin for the {times}. time"
        until(lambda: len(project.said(who, "began")) >= times, words, last_words=self.slurm.last_words)

    def on_nodes(self, job: str) -> list[str]:
        """What is left of the job in /tmp of the nodes."""
        nodes = [host for name, host in self.net.items() if name.startswith("node-")]
        return [path.name for host in nodes for path in host.path("/tmp").glob(f"ablate-{job}-*")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_slurm()
    folder = tmp_path_factory.mktemp("slurm")
    with hosts("login", "node-1", "node-2", shared=[folder]) as net, slurm(net, folder, grace=GRACE) as there:
        yield Site(net, there)


def test_near_its_time_limit_a_job_is_queued_again_and_goes_on(site: Site) -> None:
    project = site.project("limit")
    job = site.submit(project, "--gpus-per-node=1")
    site.began(project, "ablate", 1)
    secret = project.folder / f".slurm-{job}"
    assert secret.is_dir()
    assert len(site.on_nodes(job)) == 1
    site.slurm.run("scancel", "--signal=USR1", "--batch", job)  # as Slurm does near the time limit
    until(lambda: project.said("ablate", "SIGINT"), "the sweep was to be interrupted")
    project.finish()
    site.slurm.wait(job, "COMPLETED", restarts=1)
    assert [said["what"] for said in project.said("ablate")] == ["began", "SIGINT", "began"]
    head = project.said("ray", "began")[0]["words"]
    assert {"--num-cpus=2", "--num-gpus=1"} <= set(head)
    log = (project.folder / f"ablate-{job}.log").read_text()
    assert f"job {job}, start 0, on node-" in log
    assert f"job {job}, start 1, on node-" in log
    assert (project.folder / "token").read_text() not in log
    assert not secret.exists()
    assert not site.on_nodes(job)


def test_a_pre_empted_job_saves_on_all_its_nodes_makes_room_and_goes_on(site: Site) -> None:
    project = site.project("preempted")
    job = site.submit(project, "--nodes=2")
    site.began(project, "ray", 2)
    site.began(project, "ablate", 1)
    began = project.said("ray", "began")
    head, worker = (dict(word.partition("=")[::2] for word in said["words"]) for said in began)
    address = site.net["node-1"].address
    assert (head["--node-ip-address"], worker["--address"]) == (address, f"{address}:{head['--port']}")
    assert worker["--node-ip-address"] == site.net["node-2"].address
    urgent = site.slurm.run("sbatch", "--parsable", "--partition=high", "--nodes=2", "--cpus-per-task=2",
                            "--wrap=true", cwd=project.folder)  # fmt: skip
    site.slurm.wait(urgent, "COMPLETED")
    project.finish()
    site.slurm.wait(job, "COMPLETED", restarts=1)
    assert [said["what"] for said in project.said("ablate")] == ["began", "SIGINT", "began"]
    assert not site.on_nodes(job)


def test_a_time_limit_in_which_nothing_can_be_done_is_refused(site: Site) -> None:
    project = site.project("hasty")
    job = site.submit(project, "--time=4")
    site.slurm.wait(job, "FAILED")
    assert "a time limit of 00:04:00 leaves little" in (project.folder / f"ablate-{job}.log").read_text()
    assert not project.said("ray")
    longer = site.submit(project, "--time=5")
    site.began(project, "ablate", 1)
    project.finish()
    site.slurm.wait(longer, "COMPLETED")


def as_on_login(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """A method of the SlurmCluster of the script, called where Slurm's commands are."""
    program = [
        "from pathlib import Path; from ablate.cluster.kind import Submission",
        "from ablate.cluster.slurm import SlurmCluster",
        f"cluster = SlurmCluster(Path({str(SCRIPT)!r}), ['cpus-per-task=1'])",
        *words,
    ]
    words_ = [sys.executable, "-c", "\n".join(program)]
    return site.net["login"].run(*words_, env=site.slurm.environment, cwd=SCRIPT.parents[1], check=False)


def test_a_sweep_is_submitted_once_followed_and_cancelled(site: Site) -> None:
    project = site.project("cluster")
    sending = [
        f"sent = Submission('stand-in', Path({str(project.folder)!r}), Path('sweep.yaml'), '~/runs')",
        "print(cluster.submit(sent, dry_run=False))",
    ]
    job = as_on_login(site, *sending).stdout.splitlines()[-1]
    again = as_on_login(site, *sending).stderr
    assert f"stand-in: job {job} is " in again
    assert "a sweep has one driver" in again
    site.began(project, "ablate", 1)
    [words] = [said["words"] for said in project.said("ablate", "began")]
    assert words[:4] == ["sweep", "sweep.yaml", "--runs", str(Path.home() / "runs")]
    assert words.count("--resume") == 1
    assert "--num-cpus=1" in project.said("ray", "began")[0]["words"]
    assert f"{job} ablate-stand-in RUNNING" in as_on_login(site, "print(cluster.status())").stdout
    dry = as_on_login(site, "cluster.down(dry_run=True)").stdout
    assert f"would cancel {job} ablate-stand-in" in dry
    as_on_login(site, "cluster.down(dry_run=False)")
    site.slurm.wait(job, "CANCELLED")
    assert [said["what"] for said in project.said("ablate")] == ["began", "SIGINT"]  # saved, not queued again
    followed = as_on_login(site, "for text in cluster.logs('stand-in', follow=True): print(text, end='')")
    assert f"job {job}, start 0" in followed.stdout
    assert f"job {job} was cancelled; submit the sweep again" in followed.stderr
    assert "nothing to cancel" in as_on_login(site, "cluster.down(dry_run=False)").stdout


def test_options_are_those_of_sbatch_but_for_the_name() -> None:
    with pytest.raises(ClusterError, match="only long options of sbatch"):
        SlurmCluster(SCRIPT, ["provider.region=eu"])
    with pytest.raises(ClusterError, match="which sweep the job runs"):
        SlurmCluster(SCRIPT, ["job-name=mine"])


def test_a_dry_run_prints_the_command_and_needs_no_slurm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablate.cluster.kind import Submission

    monkeypatch.setenv("PATH", "")
    (tmp_path / "a b.yaml").touch()
    sent = Submission("digits", tmp_path, Path("a b.yaml"), "/shared/runs", sets=("search.trials=4",))
    SlurmCluster(SCRIPT, ["partition=gpu"]).submit(sent, dry_run=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if "sbatch" in line)
    assert shlex.split(line.partition(": ")[2]) == [
        "sbatch", "--parsable", "--job-name=ablate-digits", "--partition=gpu", str(SCRIPT), "a b.yaml",
        "--runs", "/shared/runs", "--set", "search.trials=4",
    ]  # fmt: skip


def test_without_slurms_commands_it_says_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterError, match="squeue: there is no such command here"):
        SlurmCluster(SCRIPT).down(dry_run=False)
