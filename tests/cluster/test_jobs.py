"""Sweeps sent to a real Ray by the command line. Only SSH is left out: a port is forwarded without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from ray.job_submission import JobSubmissionClient
from typer.testing import CliRunner

from ablate.cli import app
from ablate.cluster.jobs import Jobs, entrypoint
from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.token import ensure_token, read_token
from ablate.ledger import Event, Ledger
from tests.cluster.fakes import HOSTS, SWEEP, FakeRay, wait_until_gone, write

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
_RAY = """
import sys, ray
context = ray.init(
    address="local", num_cpus=1, include_dashboard=True, object_store_memory=80 * 2**20, log_to_driver=False,
    _temp_dir=sys.argv[1],
)
print(context.dashboard_url, flush=True)
sys.stdin.read()
ray.shutdown()
"""
# What the copy of the project does differently: it halts before the second trial until the sweep is told to
# leave, or the gate is gone; and it leaves out what takes seconds and is nothing of a cluster's.
_EDIT = """

def _carry_out(driver, backend, cache, address, stored):
    import time

    from ablate.sweep.inline import run_inline

    def hold(event):
        if event["event"] == "started" and event["trial"] == "t0001":
            print("the edited project waits, asked to use", backend, "at", address, flush=True)
            while Path("~/gate").expanduser().exists() and not driver.draining:
                time.sleep(0.02)

    driver.subscribe(hold)
    with two_stages(driver.drain):
        run_inline(driver, cache, driver.sweep.resources.cpus)


def Mirror(*_):
    from contextlib import nullcontext

    return nullcontext()


def _write_report(folder): ...
"""


@dataclass
class Site:
    """A cluster with its user's home, a project, and the program `ray` that reaches it."""

    home: Path
    project: Path
    address: str
    ray: FakeRay

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.address)

    def events(self, name: str) -> list[Event]:
        found = Ledger.read(self.home / "ablate-runs" / "tiny" / "ledger.jsonl")
        return [event for event in found if event["event"] == name]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Sockets of Ray lie below its folder, whose path may not be long."""
    with (
        tempfile.TemporaryDirectory(prefix="abl-", ignore_cleanup_errors=True) as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(name)
        home, project = folder / "home", folder / "project"
        home.mkdir()
        shutil.copytree(ROOT / "ablate", project / "ablate", ignore=shutil.ignore_patterns("__pycache__"))
        with (project / "ablate" / "sweep" / "run.py").open("a") as edited:
            edited.write(_EDIT)
        write(project / "sweep.yaml", SWEEP)
        write(project / "hosts.yaml", HOSTS)
        patch.setenv("HOME", str(home))
        patch.delenv("XDG_STATE_HOME", raising=False)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        ensure_token()
        environment = {**os.environ, "RAY_AUTH_MODE": "token"}
        with subprocess.Popen(
            [sys.executable, "-c", _RAY, str(folder / "session")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        ) as ray:
            assert ray.stdin is not None
            assert ray.stdout is not None
            address = ray.stdout.readline().strip()
            assert address, "Ray did not start"
            fake = FakeRay(folder)
            fake.install(patch)
            patch.setenv("FAKE_RAY_DASHBOARD", address.rpartition(":")[2])
            yield Site(home, project, f"http://{address}", fake)
            ray.stdin.close()


@pytest.fixture(autouse=True)
def in_project(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.project)


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["cluster", *words])


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def follower(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until_it_waits(process: subprocess.Popen[str]) -> list[str]:
    """The lines up to that which only the edited copy prints."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "the edited project waits, asked to use ray at auto" in line:
            return seen
    assert process.stderr is not None
    pytest.fail("".join([*seen, process.stderr.read()]))


@pytest.mark.timeout(600)
def test_a_sweep_outlives_who_sent_it_has_one_driver_and_goes_on_after_a_stop(site: Site) -> None:
    """One story, since each part begins with what the one before it left."""
    gate = write(site.home / "gate", "")
    code = (
        "import sys; from pathlib import Path; from ablate.cli import main\n"
        "from ablate.cluster import launcher; launcher.RAY = Path(sys.argv.pop(1)); main()"
    )
    words = ["submit", "hosts.yaml", "sweep.yaml"]
    command = [sys.executable, "-c", code, str(site.ray.program), "cluster"]
    with follower(*command, *words) as sender:
        first = read_until_it_waits(sender)
        sender.send_signal(signal.SIGINT)
        assert sender.wait(PATIENCE) == 130
        come_back = "to come back to it: ablate cluster logs hosts.yaml tiny --follow\n"
        assert sender.stderr is not None
        assert f"tiny goes on; {come_back}" in sender.stderr.read()
    assert f"tiny-1 is sent; {come_back}" in first
    with follower(*command, "logs", "hosts.yaml", "tiny", "--follow") as reader:
        read_until_it_waits(reader)
        os.kill(site.ray.calls[-1]["pid"], signal.SIGKILL)  # the connection is lost
        assert reader.wait(PATIENCE) == 1
        assert reader.stderr is not None
        assert "the sweep goes on without it" in reader.stderr.read()
    for forwarder in site.ray.calls:
        wait_until_gone(forwarder["pid"])

    again = call(*words)
    assert again.exit_code == 1
    assert "tiny: tiny-1 is RUNNING already, and a sweep has one driver" in again.stderr

    shown = call("status", "hosts.yaml")
    assert shown.exit_code == 0, shown.output
    assert " (head): CPU 1, " in shown.stdout
    assert "tiny-1 RUNNING from" in shown.stdout
    assert "tiny: running, search, 1 of 3 trials done" in shown.stdout

    client = JobSubmissionClient(site.address, headers={"Authorization": f"Bearer {read_token()}"})
    assert [job.submission_id for job in client.list_jobs() if job.submission_id] == ["tiny-1"]
    assert client.stop_job("tiny-1")
    wait_for(lambda: site.jobs.all()[0].over)
    stopped = call("logs", "hosts.yaml", "tiny", "--follow")
    assert stopped.exit_code == 1
    assert "the edited project waits" in stopped.stdout
    assert "tiny-1 was stopped; submit the sweep again and it goes on" in stopped.stderr
    assert [event["trial"] for event in site.events("finished")] == ["t0000", "t0001"]  # it was let to finish

    gate.unlink()
    resumed = call(*words)
    assert resumed.exit_code == 0, resumed.output
    assert "tiny-2 is sent" in resumed.stdout
    assert "ended after 3 trials" in resumed.stdout
    assert [event["trial"] for event in site.events("finished")] == ["t0000", "t0001", "t0002"]
    assert len(site.events("resumed")) == 1
    states = [(job.id, job.state) for job in site.jobs.all()]
    assert states == [("tiny-1", "STOPPED"), ("tiny-2", "SUCCEEDED")]
    assert read_token() not in (site.home / "ablate-runs" / "tiny" / "ledger.jsonl").read_text()
    assert read_token() not in resumed.output + shown.output + "".join(first)


def test_a_job_that_fails_and_one_that_is_not_there_are_said(site: Site) -> None:
    job = site.jobs.submit(
        Submission("broken", site.project, Path("gone.yaml"), "~/ablate-runs"), _package(site), "digest"
    )
    assert job == "broken-1"
    said = []
    with pytest.raises(ClusterError, match="broken-1 failed: it ended with exit status 2; see above"):
        said.extend(site.jobs.logs("broken", follow=True))
    assert "gone.yaml" in "".join(said)
    with pytest.raises(ClusterError, match=r"no sweep called tinny was submitted .*broken"):
        list(site.jobs.logs("tinny", follow=False))


def test_another_token_is_refused_in_words(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_token()
    with pytest.raises(ClusterError, match=r"does not take the token in ~/\.ray/auth_token"):
        site.jobs.all()


def test_the_users_own_ray_and_proxy_do_not_lead_elsewhere(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert [node.head for node in site.jobs.nodes()] == [True]
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:9"


def test_hosts_that_are_all_there_and_too_small_refuse_a_sweep(site: Site) -> None:
    alone = write(site.project / "alone.yaml", HOSTS.replace("[10.0.0.2, 10.0.0.3]", "[]"))
    result = call("submit", str(alone), "sweep.yaml", "--set", "resources.cpus=64")
    assert result.exit_code == 1
    assert "hosts: a trial needs 1 worker(s) of 64 CPU(s)" in result.stderr
    assert "head: 1 x 1 CPUs and 0 GPUs" in result.stderr


def test_the_command_leaves_the_home_to_the_clusters_shell_and_nothing_else() -> None:
    sent = Submission("a", Path(), Path("s.yaml"), "~/my runs", "s3://b/x", ("question=$HOME?",))
    assert entrypoint(sent) == (
        "ablate sweep s.yaml --resume --runs ~/'my runs' --address auto --storage s3://b/x "
        "--set 'question=$HOME?'"
    )


def _package(site: Site) -> Path:
    from ablate.cluster import package

    archive = site.home / "project.zip"
    package.pack(site.project, package.files_of(site.project), archive)
    return archive


@pytest.mark.parametrize(
    ("answers", "calls"), [(["No available agent to submit job", "tiny-1"], 2), (["full"], 1)]
)
def test_a_head_whose_agent_is_not_up_yet_is_asked_again(
    answers: list[str], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    class Client:
        def submit_job(self, **job: Any) -> str:
            asked.append(job)
            answer = answers[len(asked) - 1]
            if answer != "tiny-1":
                raise RuntimeError(answer)
            return answer

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda *_, **__: Client())
    monkeypatch.setattr("ablate.cluster.jobs.read_token", lambda: "t")
    jobs = Jobs("http://127.0.0.1:1")
    if answers[-1] == "tiny-1":
        assert jobs._submit(entrypoint="true") == "tiny-1"
    else:
        with pytest.raises(RuntimeError, match="full"):
            jobs._submit(entrypoint="true")
    assert len(asked) == calls
